"""Rows for people: tables of plain mappings, whatever their fields are. Drawn by `bench`."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table


def tables(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """A table for each run of rows with the same fields."""
    lines = [line for _, alike in groupby(rows, key=tuple) for line in ("", table(list(alike)))]
    return Group(*lines[1:])


def sheet(row: Mapping[str, Any]) -> RenderableType:
    """One row, a line for each field."""
    lines = Table(box=None, pad_edge=False, show_header=False)
    for field, value in row.items():
        lines.add_row(field, _cell(value))
    return lines


def table(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """A line per row, a column per field; numbers to the right."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    drawn = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        numeric = all(isinstance(row.get(column), int | float | None) for row in rows)
        drawn.add_column(column, justify="right" if numeric else "left")
    for row in rows:
        drawn.add_row(*(_cell(row.get(column)) for column in columns))
    return drawn


def _cell(value: Any) -> str:
    if isinstance(value, Mapping):
        inner = any(isinstance(entry, Mapping) for entry in value.values())
        return ("\n" if inner else ", ").join(f"{key}: {_cell(entry)}" for key, entry in value.items())
    if isinstance(value, list):
        return _list(value)
    if isinstance(value, float):
        return f"{value:.4g}"
    return "–" if value is None else str(value)


def _list(values: list[Any]) -> str:
    """A few values side by side, texts below each other; of a series, where it ends."""
    if all(isinstance(entry, str) for entry in values):
        return "\n".join(values) or "–"
    return " ".join(map(_cell, values)) if len(values) <= 8 else f"… {_cell(values[-1])} ({len(values)} values)"
