"""The demo's stories on a terminal: the menu, the step that is told, a command that looks at the end."""

import asyncio
import os
import textwrap
from collections.abc import Mapping
from typing import Any

import typer
from rich.console import RenderableType
from rich.text import Text

from cli import api_client, output
from cli.output import Format
from simulator.scenarios.scenario import Scenario
from simulator.scenarios.storyteller import Storyteller


def show_menu(scenarios: Mapping[str, Scenario], form: Format) -> None:
    """Print the stories that there are."""

    def rows() -> list[dict[str, Any]]:
        return [{"name": each.name, "title": each.title, "text": each.text} for each in scenarios.values()]

    def table() -> RenderableType:
        drawn = output.table("SCENARIO", "WHAT IT SHOWS")
        for each in scenarios.values():
            drawn.add_row(each.name, f"{each.title}. {each.text}")
        return drawn

    output.show(form, rows, table)


def lines(teller: Storyteller | None, width: int) -> list[Text]:
    """What the story is at, for a screen; nothing where none is told."""
    if teller is None or teller.running is None:
        return []
    at = "the end" if teller.done else "paused" if teller.paused else f"speed {teller.speed:g}"
    head = f"{teller.running.title}   step {teller.step + 1} of {len(teller.running.steps)}, {at}"
    text = teller.problem or teller.running.steps[teller.step].text
    return [Text(head, style="bold"), *(Text(f"{line}") for line in textwrap.wrap(text, max(20, width)))]


def tell(scenario: Scenario, step: int) -> None:
    """Print a step that is over, where there is no screen to be drawn anew."""
    typer.echo(f"{step + 1}/{len(scenario.steps)}  {scenario.steps[step].text}")


async def look(command: str, api_url: str) -> int:
    """Run a shell command that may ask the API of the demo; its exit code."""
    process = await asyncio.create_subprocess_shell(command, env={**os.environ, api_client.VARIABLE: api_url})
    try:
        return await process.wait()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
