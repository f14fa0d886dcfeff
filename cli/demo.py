"""`migsched demo`: the scheduler on a simulated cluster, in one process."""

import asyncio
import contextlib
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group
from rich.live import Live
from rich.text import Text

from cli import api_client, demo_picture, output
from cli import flags as setting_flags
from cli.output import Format
from scheduler.settings import Settings
from simulator import demo as demos
from simulator import resting
from simulator.demo import Demo
from simulator.picture import Picture
from simulator.scheduling_mode import SchedulingMode
from simulator.workloads.translation import EXAMPLES_MODEL

_REFRESH_SECONDS = 0.2


def demo(
    nodes: Annotated[int, typer.Option(help="Simulated nodes.")] = 4,
    gpus: Annotated[int, typer.Option(help="GPUs per node.")] = 8,
    model: Annotated[str, typer.Option(help="GPU model, such as a100-40gb or h100-80gb.")] = EXAMPLES_MODEL,
    seed: Annotated[int, typer.Option(help="The same seed gives the same picture.")] = 0,
    examples: Annotated[
        Path | None, typer.Option(help="File or folder of manifests to apply.", show_default="deploy/examples")
    ] = None,
    policy: Annotated[str | None, typer.Option(help="How placements are scored.", show_default="mfi")] = None,
    extender_port: Annotated[
        int, typer.Option(help="Port of the extender on 127.0.0.1; 0 takes a free one.")
    ] = setting_flags.default(Settings, "extender_port"),
    api_host: Annotated[str, typer.Option(help="Address of the capacity API.")] = "127.0.0.1",
    api_port: Annotated[
        int, typer.Option(help="Port of the capacity API; 0 takes a free one.")
    ] = setting_flags.default(Settings, "api_port"),
    mode: Annotated[
        SchedulingMode,
        typer.Option(help="queue: pods name no scheduler; extender: pods name a kube-scheduler that asks migsched."),
    ] = SchedulingMode.QUEUE,
    once: Annotated[bool, typer.Option("--once", help="Print the picture and exit.")] = False,
    form: Annotated[Format, typer.Option("--output", "-o", help="How to print.")] = Format.TABLE,
    svg: Annotated[Path | None, typer.Option(hidden=True, help="Write the picture here, too, and exit.")] = None,
) -> None:
    """Try migsched without a GPU: Triton and Dynamo pods land on simulated MIG slices.

    Kubernetes and the GPUs are simulated in this process. The scheduler service is the real one, and so are the node
    agents, beside simulated kubelets; with more than 16 nodes stand-ins take their place. Pods wait in migsched's queue
    and are bound by an ordinary kube-scheduler; with `--mode extender` that one asks migsched over HTTP instead. It
    keeps serving until Ctrl-C, so that `migsched top` and `migsched explain` can be tried beside it.

    Example: migsched demo --nodes 2 --model h100-80gb
    """
    from config import logs

    logs.configure("console", "error")
    options = demos.DemoOptions(nodes, gpus, model, seed, examples, policy, extender_port, api_host, api_port, mode)
    if not asyncio.run(_run(options, form, svg, once=once or svg is not None)):
        raise typer.Exit(1)


async def _run(options: demos.DemoOptions, form: Format, svg: Path | None, *, once: bool) -> bool:
    """Serve until told to stop. Returns whether the cluster came to rest in time, where that was waited for."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with demos.start(options) as running:
        if not once and form is Format.TABLE and sys.stdout.isatty():
            await _live(running, options, stop)
            return True
        rested = await _rest(running, stop)
        picture = running.picture(rested=rested)
        head, coloured = _head(running, options, picture, once=once), output.coloured()
        output.show(form, picture.document, lambda: demo_picture.whole(picture, head, coloured=coloured))
        if svg is not None:
            output.save_svg(svg, "make demo", demo_picture.whole(picture, head, coloured=True))
        if not once:
            await stop.wait()
        return rested or not once


async def _rest(running: Demo, stop: asyncio.Event) -> bool:
    """Until everything is placed or refused. False if nothing happens any more, or it takes too long."""
    stopped = asyncio.create_task(stop.wait())
    rested = asyncio.create_task(resting.comes_to_rest(running))
    _, rest = await asyncio.wait((stopped, rested), return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
    await asyncio.wait((stopped, rested))
    return not rested.cancelled() and rested.result()


async def _live(running: Demo, options: demos.DemoOptions, stop: asyncio.Event) -> None:
    """Redraw while things change."""
    shown, console = None, output.console()
    with Live(console=console, auto_refresh=False) as live:
        while not stop.is_set():
            picture, size = running.picture(), console.size
            if (picture, size) != shown:
                head = _head(running, options, picture, once=False)
                lines = demo_picture.screen(picture, head, size.width, size.height - 1, coloured=output.coloured())
                live.update(Group(*lines), refresh=True)
                shown = picture, size
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_REFRESH_SECONDS):
                    await stop.wait()


def _head(running: Demo, options: demos.DemoOptions, picture: Picture, *, once: bool) -> list[Text]:
    """Title and addresses, and unless it ends at once what to try, as it can be copied."""
    service, ends = running.cluster.service, "" if once else " Ctrl-C stops it."
    fleet = f"{output.number(options.nodes, 'node')} × {output.number(options.gpus, 'GPU')} {options.model}, simulated."
    lines = [
        Text.assemble(("migsched demo", "bold"), f"   {fleet} Agents: {running.agents}.{ends}"),
        Text.assemble(("API ", "dim"), f"{service.api_url}/", ("   mode ", "dim"), options.mode.words),
    ]
    if once:
        return lines
    hints = [f"{output.program()} top --watch"]
    if service.api_url != api_client.LOCAL_URL:  # short lines: what a small terminal cuts cannot be copied
        hints.insert(0, f"export {api_client.VARIABLE}={service.api_url}")
    if picture.pods:
        pod = next((pod for pod in picture.pods if pod.reason), picture.pods[0])
        name = pod.name if pod.namespace == "default" else f"{pod.namespace}/{pod.name}"
        hints.append(f"{output.program()} explain {name}")
    return [*lines, Text("In another terminal:", style="dim"), *(Text(f"  {hint}") for hint in hints)]
