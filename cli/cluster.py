"""`migsched cluster`: a genuine Kubernetes control plane with simulated GPU nodes, scheduled by migsched."""

import asyncio
import contextlib
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from allocator import errors
from cli import checkout, output
from cli import flags as setting_flags
from scheduler.settings import Settings
from simulator.scheduling_mode import SchedulingMode

if TYPE_CHECKING:
    from simulator.cluster.local_cluster import LocalCluster, LocalClusterOptions

_APPLY = {  # an example, as the mode needs it
    SchedulingMode.QUEUE: "kubectl apply -f deploy/examples/triton-1g.yaml",
    SchedulingMode.EXTENDER: "sed 's/^    spec:$/&\\n      schedulerName: migsched/' deploy/examples/triton-1g.yaml "
    "| kubectl apply -f -",
}


def cluster(
    nodes: Annotated[int, typer.Option(help="Simulated nodes.")] = 4,
    gpus: Annotated[int, typer.Option(help="GPUs per node.")] = 8,
    model: Annotated[str, typer.Option(help="GPU model, such as a100-40gb or h100-80gb.")] = "a100-40gb",
    seed: Annotated[int, typer.Option(help="The same seed gives the same GPU UUIDs.")] = 0,
    policy: Annotated[str | None, typer.Option(help="How placements are scored.", show_default="mfi")] = None,
    directory: Annotated[
        Path | None,
        typer.Option(help="Keep data and logs here; the cluster comes back as it was left.", show_default="temporary"),
    ] = None,
    extender_port: Annotated[
        int, typer.Option(help="Port of the extender on 127.0.0.1; 0 takes a free one.")
    ] = setting_flags.default(Settings, "extender_port"),
    api_port: Annotated[
        int, typer.Option(help="Port of the capacity API; 0 takes a free one.")
    ] = setting_flags.default(Settings, "api_port"),
    job_seconds: Annotated[
        float | None, typer.Option(help="Pods of Jobs succeed after this long.", show_default="never")
    ] = None,
    mode: Annotated[
        SchedulingMode,
        typer.Option(help="queue: pods name no scheduler; extender: pods name a kube-scheduler that asks migsched."),
    ] = SchedulingMode.QUEUE,
) -> None:
    """Run etcd, kube-apiserver, kube-controller-manager and kube-scheduler here, with simulated GPU nodes.

    The control plane is the genuine one, built on first use (minutes). Pods that ask for slices wait in migsched's
    queue and are bound by the unmodified kube-scheduler. With `--mode extender` pods need `schedulerName: migsched`,
    and that kube-scheduler asks migsched. Ctrl-C stops everything.

    Example: migsched cluster --nodes 2 --gpus 4 --model h100-80gb
    """
    checkout.require("cluster", "make cluster")
    from config import logs
    from simulator.cluster.local_cluster import LocalClusterOptions

    logs.configure("console", "warning")
    with contextlib.nullcontext(directory) if directory else temporary() as place:
        options = LocalClusterOptions(
            place, nodes, gpus, model, seed, policy, extender_port, api_port, job_seconds, mode
        )
        asyncio.run(_run(options))


@contextlib.contextmanager
def temporary() -> Iterator[Path]:
    """A folder that goes at the end. After an error that is not the user's it stays if there are logs to read."""
    place = Path(tempfile.mkdtemp(prefix="migsched-cluster-"))
    try:
        yield place
    except BaseException as error:
        if isinstance(error, errors.InputError) or not (place / "logs").exists():
            shutil.rmtree(place, ignore_errors=True)
        raise
    shutil.rmtree(place, ignore_errors=True)


async def _run(options: "LocalClusterOptions") -> None:
    """Until a signal. One that comes while the cluster is still starting breaks that off."""
    from simulator.cluster import local_cluster  # not in the installed package

    stop, starting, task = asyncio.Event(), True, asyncio.current_task()

    def on_signal() -> None:
        stop.set()
        if starting and task is not None:
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    try:
        async with local_cluster.start(options, _tell) as running:
            starting = False
            output.console().print(_summary(running, options), soft_wrap=True)  # commands stay whole
            ended = await local_cluster.until_stopped(running, stop)
            _tell("stopping")
            if ended:
                log = running.control_plane.log_directory / f"{ended}.log"
                raise errors.ClusterError(f"{ended} ended by itself; see the end of {log}")
    except asyncio.CancelledError:
        if not stop.is_set():
            raise


def _tell(line: str) -> None:
    print(line, file=sys.stderr)  # noqa: T201 - progress, for people


def _summary(running: "LocalCluster", options: "LocalClusterOptions") -> Text:
    plane = running.control_plane
    return Text.assemble(
        ("migsched cluster", "bold"),
        f"   {output.number(options.nodes, 'node')} × {output.number(options.gpus, 'GPU')} {options.model}, simulated.",
        " Ctrl-C stops it.\n\n",
        f"export KUBECONFIG={plane.kubeconfig}\n",
        f"export PATH={running.kubectl.parent}:$PATH\n\n",
        ("logs      ", "dim"),
        f"{plane.log_directory}\n",
        ("mode      ", "dim"),
        f"{options.mode.words}\n",
        ("web page  ", "dim"),
        f"{running.service.api_url}/\n",
        ("agents    ", "dim"),
        f"{running.agents}\n\n",
        ("Try: ", "dim"),
        f"{_APPLY[options.mode]}; kubectl get pods -o wide; kubectl get mn\n",
        f"     {output.program()} top --watch --api-url {running.service.api_url}",
    )
