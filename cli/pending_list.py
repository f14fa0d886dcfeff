"""The pods that wait, as a document from the API and as a table. Used by `migsched pending` and `migsched explain`."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cli import api_client, output

Namespace = Annotated[str, typer.Option("--namespace", "-n", help="Only this namespace.")]

_FIELDS = ("pending", "placed", "left_out", "cut_by", "groups", "pods")
LIMIT = 500
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3_600, 86_400


def ask(api_url: api_client.Address, *, namespace: str = "", service: str = "", limit: int = LIMIT) -> dict[str, Any]:
    """The pending pods of a namespace and an owner, of all where these are empty."""
    asked = {"namespace": namespace, "service": service, "limit": str(limit)}
    query = {name: value for name, value in asked.items() if value}
    return api_client.get(api_url, "/api/v1/pending", _fields, **query)


def _fields(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: answer[name] for name in _FIELDS} | answer


def table(answer: dict[str, Any], whose: str) -> RenderableType:
    """A block for each reason, the one with the oldest pod first."""
    if not answer["pending"]:
        return Text(f"no pod of {whose} waits; {output.number(answer['placed'], 'pod')} have a node")
    parts: list[RenderableType] = []
    now = datetime.now(UTC)
    for group in answer["groups"]:
        parts.append(
            Text.assemble((f"{output.number(group['pods'], 'pod')}: {group['code']}", "bold"), f", {group['reason']}")
        )
        parts.append(_pods([pod for pod in answer["pods"] if _is_of(pod, group)], now))
    if answer["left_out"]:
        why = "more time" if answer["cut_by"] == "time" else f"a larger --limit than {len(answer['pods'])}"
        parts.append(Text(f"and {output.number(answer['left_out'], 'younger pod')}, which would take {why}"))
    return Group(*parts)


def _is_of(pod: dict[str, Any], group: dict[str, Any]) -> bool:
    return (pod["code"], pod["reason"]) == (group["code"], group["reason"])


def _pods(pods: list[dict[str, Any]], now: datetime) -> Table:
    rows = Table(box=None, pad_edge=False, header_style="dim")
    queued = any(pod.get("queue_position") is not None for pod in pods)
    for column in ("AGE", *(("BEFORE IT",) if queued else ()), "POD", "ASKS FOR"):
        rows.add_column(column, justify="left" if column in ("POD", "ASKS FOR") else "right")
    for pod in pods:
        position = pod.get("queue_position")
        before = ("" if position is None else str(position),) if queued else ()
        rows.add_row(age(pod["since"], now), *before, f"{pod['namespace']}/{pod['pod']}", pod["request"])
    return rows


def age(since: str, now: datetime) -> str:
    """How long ago a point in time was, as kubectl writes it: `45s`, `12m`, `3h`, `9d`; `?` if it is no time."""
    try:
        began = datetime.fromisoformat(since)
    except ValueError:
        return "?"
    seconds = max(0, int((now - began.replace(tzinfo=began.tzinfo or UTC)).total_seconds()))
    for unit_s, letter in ((_DAY_S, "d"), (_HOUR_S, "h"), (_MINUTE_S, "m")):
        if seconds >= 2 * unit_s:
            return f"{seconds // unit_s}{letter}"
    return f"{seconds}s"
