"""`migsched demo`: the scheduler on a simulated cluster, in one process."""

import asyncio
import contextlib
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cli import api_client, output, slot_map
from cli import flags as setting_flags
from cli.output import Format
from scheduler.settings import Settings
from simulator import demo as demos
from simulator.demo import Demo
from simulator.picture import Picture, PodRow
from simulator.workloads.translation import EXAMPLES_MODEL

_SETTLING_SECONDS = 120.0  # `--once` does not wait longer for the last pod
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
    once: Annotated[bool, typer.Option("--once", help="Print the picture and exit.")] = False,
    form: Annotated[Format, typer.Option("--output", "-o", help="How to print.")] = Format.TABLE,
    svg: Annotated[Path | None, typer.Option(hidden=True, help="Write the picture here, too, and exit.")] = None,
) -> None:
    """Try migsched without a GPU: Triton and Dynamo pods land on simulated MIG slices.

    Kubernetes, the GPUs and the node agents are simulated in this process; the scheduler extender is the real one and
    is called over HTTP. It keeps serving until Ctrl-C, so that `migsched top` and `migsched explain` can be tried
    beside it.

    Example: migsched demo --nodes 2 --model h100-80gb
    """
    from config import logs

    logs.configure("console", "error")
    options = demos.DemoOptions(nodes, gpus, model, seed, examples, policy, extender_port, api_host, api_port)
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
        picture = running.picture()
        output.show(form, picture.document, lambda: _render(running, options, picture))
        if svg is not None:
            output.save_svg(svg, "make demo", _render(running, options, picture))
        if not once:
            await stop.wait()
        return rested or not once


async def _rest(running: Demo, stop: asyncio.Event) -> bool:
    """Until everything is placed or refused. False if that took too long."""
    stopped = asyncio.create_task(stop.wait())
    settled = asyncio.create_task(running.settled())
    done, rest = await asyncio.wait((stopped, settled), timeout=_SETTLING_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
    return settled in done


async def _live(running: Demo, options: demos.DemoOptions, stop: asyncio.Event) -> None:
    """Redraw while things change."""
    shown = None
    with Live(console=output.console(), auto_refresh=False) as live:
        while not stop.is_set():
            picture = running.picture()
            if picture != shown:
                live.update(_render(running, options, picture), refresh=True)
                shown = picture
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_REFRESH_SECONDS):
                    await stop.wait()


def _render(running: Demo, options: demos.DemoOptions, picture: Picture) -> RenderableType:
    service = running.cluster.service
    head = Text.assemble(
        ("migsched demo", "bold"),
        f"   {output.number(options.nodes, 'node')} × {output.number(options.gpus, 'GPU')} {options.model}, simulated.",
        " Ctrl-C stops it.\n",
        ("extender ", "dim"),
        f"{service.extender_url}/v1",
        ("   API ", "dim"),
        f"{service.api_url}/openapi.json\n",
        (f"In another terminal: migsched top{_url_flag(service.api_url)}, migsched explain POD", "dim"),
    )
    parts: list[RenderableType] = [head, "", slot_map.draw(picture.nodes), ""]
    waiting = [pod for pod in picture.pods if pod.reason]
    if waiting:  # before the others: the end is what a small terminal does not show
        parts += [_waiting(waiting), ""]
    parts.append(_placed(picture))
    skipped = ", ".join(sorted({manifest.kind for manifest in running.skipped}))
    if skipped:
        parts += ["", Text(f"Applied as well, but makes no pods: {skipped}", style="dim")]
    return Group(*parts)


def _url_flag(api_url: str) -> str:
    return "" if api_url == api_client.LOCAL_URL else f" --api-url {api_url}"


def _placed(picture: Picture) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("POD", "PHASE", "NODE", "GPU", "PROFILE"):
        table.add_column(column, overflow="fold")
    table.add_column("START", justify="right")
    index = {gpu.uuid: gpu.index for node in picture.nodes for gpu in node.gpus}
    colour = slot_map.colours(occupant.pod for node in picture.nodes for gpu in node.gpus for occupant in gpu.occupants)
    for pod in sorted((pod for pod in picture.pods if pod.node), key=lambda pod: pod.name):
        name = Text(pod.name, style=colour.get(slot_map.workload(pod.name), ("", ""))[0])
        where = [
            (f"{index[hold.gpu]}  {hold.gpu[:12]}", hold.placement.profile, str(hold.placement.start))
            for hold in pod.slices
        ] or [("", "–", "")]
        for row, (gpu, profile, start) in enumerate(where):
            first = (name, pod.phase, pod.node) if row == 0 else ("", "", "")
            table.add_row(*first, gpu, profile, start)
    return table


def _waiting(pods: list[PodRow]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("PENDING", style="bold red", no_wrap=True)
    table.add_column("WHY")
    for pod in pods:
        table.add_row(pod.name, pod.reason)
    return table
