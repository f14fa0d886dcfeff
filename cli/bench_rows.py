"""Rows of one benchmark as `migsched bench NAME` prints them: each with the bounds that are about it."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import ranges
from cli import output, row_tables
from cli.output import Format


def show(part: str, rows: Sequence[Mapping[str, Any]], form: Format) -> None:
    """Print the rows of one benchmark, each with the bounds that are about it."""
    judged = _judged(part, rows)
    output.show(form, lambda: {"rows": judged}, lambda: row_tables.tables(judged))


def show_one(part: str, row: Mapping[str, Any], form: Format) -> None:
    """Print the only row of a benchmark, with the bounds that are about it."""
    (judged,) = _judged(part, [row])
    output.show(form, lambda: judged, lambda: row_tables.sheet(judged))


def _judged(part: str, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    bounds = [bound for bound in ranges.load() if bound.measure == part]
    return [{**row, "bounds": _bounds(bounds, row)} for row in rows]


def _bounds(bounds: Sequence[ranges.Range], row: Mapping[str, Any]) -> list[str]:
    measured = {bound.measure: [row] for bound in bounds}
    return [
        f"{verdict.range.field} {verdict.range.text}" + ("" if verdict.ok else " BROKEN")
        for verdict in ranges.judge([bound for bound in bounds if bound.matches(row)], measured)
        if verdict.ok is not None
    ]
