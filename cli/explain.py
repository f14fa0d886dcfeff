"""`migsched explain POD`: where a pod's slices are, or why it is pending."""

from collections import Counter
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cli import api_client, output
from cli.output import Format

_FIELDS = ("namespace", "pod", "uid", "request", "phase", "node", "reason", "nodes", "slices")


def explain(
    pod: Annotated[str, typer.Argument(help="Pod: name, namespace/name or UID.")],
    api_url: api_client.ApiUrl = api_client.DEFAULT_URL,
    form: Annotated[Format, typer.Option("--output", "-o", help="How to print.")] = Format.TABLE,
) -> None:
    """Say in plain words why a pod is pending, or where its slices are. Exit code 1 if it has no place.

    Example: migsched explain default/cannot-fit
    """
    answer = api_client.get(api_url, "/api/v1/explain", _fields, pod=pod)
    output.show(form, lambda: answer, lambda: _table(answer))
    if answer["phase"] != "bound":
        raise typer.Exit(1)


def _fields(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: answer[name] for name in _FIELDS}


def _table(answer: dict[str, Any]) -> RenderableType:
    head = Text.assemble(
        (f"{answer['namespace']}/{answer['pod']}", "bold"),
        f" asks for {answer['request'] or '?'}: ",
        (answer["phase"], "green" if answer["phase"] == "bound" else "bold red"),
        f" on {answer['node']}" if answer["node"] else "",
        f", {answer['reason']}" if answer["reason"] else "",
    )
    parts: list[RenderableType] = [head]
    if answer["slices"]:
        parts.append(_slices(answer["slices"]))
    if answer["nodes"]:
        parts.append(_nodes(answer["nodes"]))
    return Group(*parts)


def _slices(slices: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("CONTAINER", "PROFILE", "GPU", "START", "SIZE"):
        table.add_column(column, justify="right" if column in ("START", "SIZE") else "left")
    for slice_ in slices:
        table.add_row(slice_["container"], slice_["profile"], slice_["gpu"], str(slice_["start"]), str(slice_["size"]))
    return table


def _nodes(nodes: dict[str, str]) -> Table:
    """Refused nodes by reason: thousands of them may share one."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("NODES", justify="right")
    table.add_column("REASON")
    table.add_column("SUCH AS")
    for reason, number in Counter(nodes.values()).most_common():
        table.add_row(str(number), reason, next(name for name, why in nodes.items() if why == reason))
    return table
