"""Quoted: the tables that docs/policies.md shows of the recorded full run. Called by `make recorded`.

    python -m benchmarks.report.quoted

A table follows the line `<!-- recorded: NAME -->` and is written anew from benchmarks/results/full.json; the pictures
beside it are drawn anew. A test checks that this changes nothing.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from benchmarks import results
from benchmarks.report import plots, tables
from benchmarks.results import Results

ROOT = Path(__file__).parents[2]
FILE = ROOT / "benchmarks" / "results" / "full.json"
PAGE = ROOT / "docs" / "policies.md"
IMAGES = ROOT / "docs" / "images"
PICTURES = {"acceptance-1": "acceptance.png", "fragmentation": "fragmentation.png"}  # plot → its name there

_TABLE = re.compile(r"(<!-- recorded: (?P<name>[\w.-]+) -->\n\n)(?:\|.*\n)*")


def page(text: str, recorded: Results) -> str:
    """A page with the tables of these results. Raises KeyError for a name that stands for no table."""
    return _TABLE.sub(lambda found: found[1] + _TABLES[found["name"]](recorded), text)


def _policies(recorded: Results, profiles: int, load: float) -> str:
    """Acceptance by policy and mix, references in brackets."""
    rows = [row for row in recorded.rows("policies") if (row["profiles"], row["load"]) == (profiles, load)]
    mixes = list(dict.fromkeys(row["mix"] for row in rows))
    references = {
        (one.where["contender"], one.where["mix"]): f" ({one.bound.removeprefix('≈ ')})"
        for one in recorded.verdicts
        if one.measure == "policies" and one.bound.startswith("≈")
        if (one.where["profiles"], one.where["load"]) == (profiles, load)
    }
    by_name: dict[str, list[str]] = {}
    for row in rows:
        value = f"{row['gpc_acceptance']:.4f} ± {row['gpc_ci95']:.4f}"
        by_name.setdefault(row["contender"], []).append(value + references.get((row["contender"], row["mix"]), ""))
    return _markdown(["policy", *mixes], ([name, *cells] for name, cells in by_name.items()))


def _decisions(recorded: Results) -> str:
    """Cost of a decision by policy, from the cheapest GPU model to the dearest."""
    rows = recorded.rows("decisions")
    lines = []
    for name in dict.fromkeys(row["contender"] for row in rows):
        here = [row for row in rows if row["contender"] == name]
        cost = [row["us_per_decision"] for row in here]
        placed = [row["placements_per_s"] for row in here]
        lines.append([name, f"{min(cost):.0f}–{max(cost):.0f}", f"{min(placed):,.0f}–{max(placed):,.0f}"])
    return _markdown(["policy", "µs per decision", "placements/s"], lines)


def _fragmentation(recorded: Results) -> str:
    """Unusable and stranded memory by policy and mix, in percent."""
    (table,) = tables.of_part(recorded, "fragmentation")
    return _markdown(table.head, ([cell.text.replace(" %", "") for cell in row] for row in table.rows))


def _repacking(recorded: Results) -> str:
    """What became of the fleets, by size and method."""
    rows = recorded.rows("repacking")
    head = ["GPUs", "method", "fleets", "with a repack", "as cheap as the cheapest", "dearer", "not found", "undecided"]
    return _markdown(
        head,
        (
            [
                *(str(row[key]) for key in ("gpus", "method", "instances", "solvable")),
                str(row["gaps"].get("0", 0)),
                *(str(row[key]) for key in ("worse", "missed", "undecided")),
            ]
            for row in rows
        ),
    )


def _markdown(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    heads = list(head)
    lines = ["| " + " | ".join(line) + " |\n" for line in (heads, *rows)]
    return "".join([lines[0], "|---" * len(heads) + "|\n", *lines[1:]])


_TABLES: Mapping[str, Callable[[Results], str]] = {
    "five-1.0": lambda recorded: _policies(recorded, 5, 1.0),
    "five-0.85": lambda recorded: _policies(recorded, 5, 0.85),
    "six-1.0": lambda recorded: _policies(recorded, 6, 1.0),
    "decisions": _decisions,
    "fragmentation": _fragmentation,
    "repacking": _repacking,
}


def main() -> None:
    """Write the page and its pictures."""
    recorded = results.read(FILE)
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), recorded), encoding="utf-8")
    for plot in (one for drawn in plots.draw(recorded).values() for one in drawn if one.name in PICTURES):
        (IMAGES / PICTURES[plot.name]).write_bytes(plot.png())


if __name__ == "__main__":
    main()
