"""Quoted tables of the queue: how long pods wait in it, and what a cycle costs. Used by `quoted`."""

from collections.abc import Mapping
from typing import Any

from benchmarks.report.markdown import table
from benchmarks.results import Results

_DEFAULT = ("reserve", 1.0, 1)
_DISCIPLINES = {  # (discipline, patience, reservations) → how the docs head it
    ("queue", 0.0, 0): "no reservation",
    _DEFAULT: "**1, after a lifetime**",
    ("reserve", 1.0, 4): "4, after a lifetime",
    ("fifo", 0.0, 0): "strict order",
    ("easy", 0.0, 0): "EASY, told all ends",
}
_SITUATIONS = {  # what has happened before a cycle → how the docs head it
    "all looked at for the first time": "all for the first time",
    "nothing has changed": "nothing has changed",
    "room arose on one GPU": "room arose on one GPU",
    "500 pods find places": "500 more find places",
}


def waits(recorded: Results) -> str:
    """The longest wait of a whole GPU, the mean wait of all and the utilisation, by mix and discipline."""
    rows = {(row["mix"], *_discipline(row)): row for row in recorded.rows("queue")}
    mixes = dict.fromkeys(row["mix"] for row in recorded.rows("queue"))
    return table(
        ["mix", *_DISCIPLINES.values()],
        ([mix, *(_waits(rows[mix, *discipline]) for discipline in _DISCIPLINES)] for mix in mixes),
    )


def cycles(recorded: Results) -> str:
    """Processor time and longest step of a cycle by size and situation, and the memory of the process."""
    rows = {(row["nodes"], row["what"]): row for row in recorded.rows("cycle")}
    sizes = dict.fromkeys(row["nodes"] for row in recorded.rows("cycle"))
    lines = []
    for nodes in sizes:
        here = [rows[nodes, what] for what in _SITUATIONS]
        times = (f"{row['cpu_ms'] / 1e3:.2f} s, {row['longest_step_ms']:.0f} ms" for row in here)
        lines.append([f"{nodes:,}", *times, f"{here[-1]['rss_mib']} MiB"])
    return table(["nodes", *_SITUATIONS.values(), "memory"], lines)


def _waits(row: Mapping[str, Any]) -> str:
    text = f"{row['longest_largest']:.1f} / {row['mean']:.2f}, {row['utilisation']:.1%}".replace("%", " %")
    return f"**{text}**" if _discipline(row) == _DEFAULT else text


def _discipline(row: Mapping[str, Any]) -> tuple[str, float, int]:
    return row["discipline"], row["patience"], row["reservations"]
