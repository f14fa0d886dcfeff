"""Tables: the numbers of the report, beside values measured elsewhere, and what fell short. Called by `page`.

A cell has a mark where a bound is about it: `ok`, `short` or, where nothing could be judged, none.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.results import BenchmarkResult, RecordedVerdict, Results

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Cell:
    """What stands in a cell, a remark below it, and `ok`, `short` or nothing."""

    text: str
    note: str = ""
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table with its title; the first column heads the rows."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]


def of_part(results: Results, name: str) -> list[Table]:
    """The tables of a part: pivoted where there are references for each cell, else the rows as they are."""
    made = _PIVOTS[name](results) if name in _PIVOTS else []
    shown = [row for row in results.rows(name) if name != "planning" or row["what"] != "plan"]
    if name in ("policies", "fragmentation") or not shown:
        return made
    kinds = list(dict.fromkeys(row.get("what", "") for row in shown))
    plain = (_plain(str(kind), [row for row in shown if row.get("what", "") == kind]) for kind in kinds)
    return [*made, *plain]


def bounds(verdicts: Iterable[RecordedVerdict]) -> Table:
    """Bounds with what became of them."""
    rows = [
        (
            Cell(f"{verdict.measure}: {verdict.field.replace('_', ' ')}", _where(verdict)),
            Cell(verdict.bound.replace(" ", "\N{NO-BREAK SPACE}"), _beyond(verdict)),
            Cell("not judged" if verdict.value is None else number(verdict.value), mark=_mark(verdict.ok)),
            Cell(verdict.why, verdict.source),
        )
        for verdict in verdicts
    ]
    return Table("", ("what", "bound", "measured", "why it matters, and where the bound comes from"), rows)


def _beyond(verdict: RecordedVerdict) -> str:
    """How far beyond its bound a value may lie."""
    return f"±\N{NO-BREAK SPACE}{number(verdict.slack)}" if verdict.slack else ""


def number(value: Any) -> str:
    """A value as people read it."""
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {number(entry)}" for key, entry in value.items())
    if isinstance(value, list):
        return ", ".join(map(number, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return "–" if value is None else str(value)


def unmarked(part: BenchmarkResult) -> str:
    """Why a part has no numbers; nothing if it has."""
    return part.failed or ("" if part.rows else "nothing was measured")


def _mark(ok: bool | None) -> str:
    return {True: "ok", False: "short", None: ""}[ok]


def _where(verdict: RecordedVerdict) -> str:
    return ", ".join(f"{key} {number(value)}" for key, value in verdict.where.items())


def _policies(results: Results) -> list[Table]:
    """Acceptance by policy and mix, a table per number of profiles and load."""
    rows = results.rows("policies")
    tables = []
    for profiles, load in dict.fromkeys((row["profiles"], row["load"]) for row in rows):
        here = [row for row in rows if (row["profiles"], row["load"]) == (profiles, load)]
        tables.append(
            _pivot(
                f"Accepted compute at load {load:g}, {profiles} profiles, {here[0]['runs']} runs",
                "policies",
                here,
                ("contender", "mix"),
                ("gpc_acceptance", "gpc_ci95"),
                results.verdicts,
                "{:.4f}",
            )
        )
    return tables


def _planning(results: Results) -> list[Table]:
    """GPUs over the lower bound by method and mix, a table per number of slices."""
    rows = [row for row in results.rows("planning") if row["what"] == "plan"]
    return [
        _pivot(
            f"GPUs over the lower bound in percent, {slices:,} slices",
            "planning",
            [row for row in rows if row["slices"] == slices],
            ("method", "mix"),
            ("over_percent", "over_ci95"),
            results.verdicts,
            "{:.2f}",
        )
        for slices in dict.fromkeys(row["slices"] for row in rows)
    ]


def _decisions(results: Results) -> list[Table]:
    """Cost of a decision and what a core decides, over all GPU models."""
    rows = results.rows("decisions")
    made = []
    for name in dict.fromkeys(row["contender"] for row in rows):
        here = [row for row in rows if row["contender"] == name]
        made.append([Cell(name), *(Cell(_range([row[key] for row in here])) for key in _COSTS)])
    return [Table("From the cheapest GPU model to the dearest", ("policy", *_COSTS.values()), made)] if rows else []


_COSTS = {"us_per_decision": "µs per decision", "placements_per_s": "placements per second", "tables_ms": "tables, ms"}


def _range(values: Sequence[float]) -> str:
    low, high = number(min(values)), number(max(values))
    return low if low == high else f"{low} – {high}"


def _fragmentation(results: Results) -> list[Table]:
    """Unusable and stranded memory by policy and mix, means over the second half of the time."""
    rows = results.rows("fragmentation")
    mixes = list(dict.fromkeys(row["mix"] for row in rows))
    made = []
    for name in dict.fromkeys(row["contender"] for row in rows):
        here = {row["mix"]: row for row in rows if row["contender"] == name}
        cells = [Cell(f"{_late(here[mix]['unusable'])} % / {_late(here[mix]['stranded'])} %") for mix in mixes]
        made.append([Cell(name), *cells])
    title = "Unusable / stranded share of the memory, mean over the second half of the time"
    return [Table(title, ("policy", *mixes), made)] if rows else []


def _late(shares: Sequence[float]) -> str:
    """The mean of the second half of a series, in percent."""
    late = shares[len(shares) // 2 :]
    return f"{100 * sum(late) / len(late):.1f}"


def _pivot(
    title: str,
    measure: str,
    rows: Sequence[Row],
    by: tuple[str, str],
    fields: tuple[str, str],
    verdicts: Sequence[RecordedVerdict],
    form: str,
) -> Table:
    """Rows × columns by two fields; a cell is a value ± its interval, with its reference and whether they agree."""
    (line, column), (value, interval) = by, fields
    columns = list(dict.fromkeys(row[column] for row in rows))
    about = [verdict for verdict in verdicts if verdict.measure == measure and verdict.field == value]
    made = []
    for name in dict.fromkeys(row[line] for row in rows):
        cells = [Cell(str(name))]
        for head in columns:
            row = next(row for row in rows if row[line] == name and row[column] == head)
            judged = [verdict for verdict in about if all(row.get(key) == here for key, here in verdict.where.items())]
            text = form.format(row[value]) + (f" ± {form.format(row[interval])}" if row[interval] else "")
            marks = {_mark(verdict.ok) for verdict in judged}
            note = "; ".join(verdict.bound for verdict in judged)
            cells.append(Cell(text, note, "short" if "short" in marks else "ok" if "ok" in marks else ""))
        made.append(cells)
    return Table(title, (line.replace("contender", "policy"), *map(str, columns)), made)


def _plain(title: str, rows: Sequence[Row]) -> Table:
    columns = [column for column in dict.fromkeys(key for row in rows for key in row) if column != "what"]
    made = [[Cell(number(row.get(column))) for column in columns] for row in rows]
    return Table(title, [column.replace("_", " ") for column in columns], made)


_PIVOTS: Mapping[str, Callable[[Results], list[Table]]] = {
    "policies": _policies,
    "fragmentation": _fragmentation,
    "decisions": _decisions,
    "planning": _planning,
}
