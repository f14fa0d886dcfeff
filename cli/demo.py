"""`migsched demo`: the scheduler on a simulated cluster, in one process."""

import asyncio
import contextlib
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group
from rich.live import Live
from rich.text import Text

from allocator import errors
from cli import api_client, demo_animation, demo_picture, demo_story, output
from cli import flags as setting_flags
from cli.demo_animation import StoryFrame
from cli.output import Format
from scheduler.settings import Settings
from simulator import demo as demos
from simulator import resting
from simulator.demo import Demo
from simulator.picture import Picture
from simulator.scenarios import shelf
from simulator.scenarios.storyteller import MAX_SPEED, PAUSE_S
from simulator.scheduling_mode import SchedulingMode
from simulator.workloads.translation import EXAMPLES_MODEL

_REFRESH_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class _Wish:
    """How it is shown, and until when it runs: `once` until everything is at rest, or else until it is stopped."""

    form: Format
    once: bool
    speed: float = 1.0
    svg: Path | None = None
    animation: Path | None = None
    then: str | None = None


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
    scenario: Annotated[
        str | None, typer.Option(help="Tell this story instead; --list-scenarios names them.", show_default=False)
    ] = None,
    speed: Annotated[
        float, typer.Option(min=0.05, max=MAX_SPEED, help="How fast the pauses of a story pass; 2 is twice as fast.")
    ] = 1.0,
    list_scenarios: Annotated[bool, typer.Option("--list-scenarios", help="Print the stories and exit.")] = False,
    once: Annotated[
        bool, typer.Option("--once", help="Print the picture and exit; a story is told without pauses.")
    ] = False,
    then: Annotated[
        str | None,
        typer.Option(
            help="Run this shell command once everything is at rest, with MIGSCHED_API_URL set, and exit with its "
            "exit code.",
            show_default=False,
        ),
    ] = None,
    form: Annotated[Format, typer.Option("--output", "-o", help="How to print.")] = Format.TABLE,
    svg: Annotated[Path | None, typer.Option(hidden=True, help="Write the picture here, too, and exit.")] = None,
    animation: Annotated[Path | None, typer.Option(hidden=True, help="Draw the story here, and exit.")] = None,
) -> None:
    """Try migsched without a GPU: Triton and Dynamo pods land on simulated MIG slices.

    Kubernetes and the GPUs are simulated in this process. The scheduler service is the real one, and so are the node
    agents, beside simulated kubelets; with more than 16 nodes stand-ins take their place. Pods wait in migsched's queue
    and are bound by an ordinary kube-scheduler; with `--mode extender` that one asks migsched over HTTP instead. It
    keeps serving until Ctrl-C, so that the page, `migsched top` and `migsched explain` can be tried beside it. The page
    has a menu of stories (docs/demo.md).

    Example: migsched demo --scenario fix --nodes 2 --gpus 4
    """
    from config import logs

    if list_scenarios:
        demo_story.show_menu(shelf.shipped(), form)
        return
    logs.configure("console", "error")
    ends = once or svg is not None or animation is not None or then is not None
    if animation is not None and scenario is None:
        raise errors.SettingsError("animation", str(animation), "name the story to draw by --scenario")
    options = demos.DemoOptions(
        nodes, gpus, model, seed, examples, policy, extender_port, api_host, api_port, mode,
        scenario, pause_s=0.0 if ends else PAUSE_S,
    )  # fmt: skip
    code = asyncio.run(_run(options, _Wish(form, ends, speed, svg, animation, then)))
    if code:
        raise typer.Exit(code)


async def _run(options: demos.DemoOptions, wish: _Wish) -> int:
    """Serve until told to stop. Returns the exit code: 1 if the cluster did not come to rest where that counts."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with demos.start(options) as running:
        if running.teller is not None:
            running.teller.speed = wish.speed
        if not wish.once and wish.form is Format.TABLE and sys.stdout.isatty():
            await _live(running, options, stop)
            return 0
        rested = await _told(running, options, wish, stop)
        if not wish.once:
            await stop.wait()
        elif wish.then is not None and not stop.is_set():
            return await demo_story.look(wish.then, running.cluster.service.api_url)
        return 0 if rested or not wish.once else 1


async def _told(running: Demo, options: demos.DemoOptions, wish: _Wish, stop: asyncio.Event) -> bool:
    """Wait for rest, print the picture and draw what is to be drawn; whether everything came to rest."""
    frames: list[StoryFrame] = []
    teller = running.teller
    if teller is not None and wish.animation is not None:
        teller.listeners.append(lambda told, at: frames.append(StoryFrame(told.steps[at].text, running.picture())))
    elif teller is not None and wish.form is Format.TABLE:
        teller.listeners.append(demo_story.tell)
    rested = await _rest(running, stop)
    picture = running.picture(rested=rested)
    head, coloured = _head(running, options, picture, once=wish.once), output.coloured()
    if wish.animation is not None and frames and teller is not None and teller.running is not None:
        output.save_text(wish.animation, "animation", demo_animation.draw(teller.running.title, frames))
    output.show(wish.form, picture.document, lambda: demo_picture.whole(picture, head, coloured=coloured))
    if wish.svg is not None:
        output.save_svg(wish.svg, "make demo", demo_picture.whole(picture, head, coloured=True))
    return rested


async def _rest(running: Demo, stop: asyncio.Event) -> bool:
    """Until everything is placed or refused. False if nothing happens any more, or it takes too long."""
    stopped = asyncio.create_task(stop.wait())
    rested = asyncio.create_task(_comes_to_rest(running))
    _, rest = await asyncio.wait((stopped, rested), return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
    await asyncio.wait((stopped, rested))
    return not rested.cancelled() and rested.result()


async def _comes_to_rest(running: Demo) -> bool:
    """Until the story is told, if there is one, and nothing is under way."""
    teller = running.teller
    if teller is not None and teller.running is not None:
        await teller.over()
        if teller.problem:
            typer.echo(f"migsched: {teller.problem}", err=True)
            return False
    return await resting.comes_to_rest(running)


async def _live(running: Demo, options: demos.DemoOptions, stop: asyncio.Event) -> None:
    """Redraw while things change."""
    shown, console = None, output.console()
    with Live(console=console, auto_refresh=False) as live:
        while not stop.is_set():
            picture, size = running.picture(), console.size
            story = demo_story.lines(running.teller, size.width)
            if (picture, size, story) != shown:
                head = [*_head(running, options, picture, once=False), *story]
                lines = demo_picture.screen(picture, head, size.width, size.height - 1, coloured=output.coloured())
                live.update(Group(*lines), refresh=True)
                shown = picture, size, story
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_REFRESH_SECONDS):
                    await stop.wait()


def _head(running: Demo, options: demos.DemoOptions, picture: Picture, *, once: bool) -> list[Text]:
    """Title and addresses, and unless it ends at once what to try, as it can be copied."""
    service, ends = running.cluster.service, "" if once else " Ctrl-C stops it."
    fleet = f"{output.number(options.nodes, 'node')} × {output.number(options.gpus, 'GPU')} {options.model}, simulated."
    lines = [
        Text.assemble(("migsched demo", "bold"), f"   {fleet} Agents: {running.agents}.{ends}"),
        Text.assemble(
            ("API " if once else "Page ", "dim"), f"{service.api_url}/", ("   mode ", "dim"), options.mode.words
        ),
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
