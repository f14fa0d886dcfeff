"""Quoted: the tables that the docs show of the recorded full run. Called by `make recorded`.

    python -m benchmarks.report.quoted

A table follows the line `<!-- recorded: NAME -->` and is written again from benchmarks/results/full.json; the pictures
beside it are drawn again. A test checks that this changes nothing.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.report import markdown, quoted_clusters, quoted_queue, tables
from benchmarks.results import Results

ROOT = Path(__file__).parents[2]
FILE = ROOT / "benchmarks" / "results" / "full.json"
DOCS = ROOT / "docs"
PAGES = (
    ROOT / "benchmarks" / "README.md",
    *(DOCS / name for name in ("policies.md", "queue.md", "repacking.md", "rivals.md", "scaling.md")),
)
IMAGES = DOCS / "images"
PICTURES = {"acceptance-1": "acceptance.png", "fragmentation": "fragmentation.png"}  # plot → its name there

_TABLE = re.compile(r"(<!-- recorded: (?P<name>[\w.-]+) -->\n\n)(?:\|.*\n)*")


def page(text: str, recorded: Results) -> str:
    """A page with the tables of these results. Raises KeyError for a name that stands for no table."""
    return _TABLE.sub(lambda match: match[1] + TABLES[match["name"]](recorded), text)


def _policies(recorded: Results, profiles: int, load: float) -> str:
    """Acceptance by policy and mix, references in brackets."""
    rows = [row for row in recorded.rows("policies") if (row["profiles"], row["load"]) == (profiles, load)]
    mixes = list(dict.fromkeys(row["mix"] for row in rows))
    references = {
        (verdict.where["contender"], verdict.where["mix"]): f" ({verdict.bound.removeprefix('≈ ')})"
        for verdict in recorded.verdicts
        if verdict.measure == "policies" and verdict.bound.startswith("≈")
        if (verdict.where["profiles"], verdict.where["load"]) == (profiles, load)
    }
    by_name: dict[str, list[str]] = {}
    for row in rows:
        value = f"{row['gpc_acceptance']:.4f} ± {row['gpc_ci95']:.4f}"
        by_name.setdefault(row["contender"], []).append(value + references.get((row["contender"], row["mix"]), ""))
    return markdown.table(["policy", *mixes], ([name, *cells] for name, cells in by_name.items()))


def _decisions(recorded: Results) -> str:
    """Cost of a decision by policy, from the cheapest GPU model to the dearest."""
    rows = recorded.rows("decisions")
    lines = []
    for name in dict.fromkeys(row["contender"] for row in rows):
        here = [row for row in rows if row["contender"] == name]
        cost = [row["us_per_decision"] for row in here]
        placed = [row["placements_per_s"] for row in here]
        lines.append([name, f"{min(cost):.0f}–{max(cost):.0f}", f"{min(placed):,.0f}–{max(placed):,.0f}"])
    return markdown.table(["policy", "µs per decision", "placements/s"], lines)


def _fragmentation(recorded: Results) -> str:
    """Unusable and stranded memory by policy and mix, in percent."""
    (table,) = tables.of_part(recorded, "fragmentation")
    return markdown.table(table.head, ([cell.text.replace(" %", "") for cell in row] for row in table.rows))


def _repacking(recorded: Results) -> str:
    """What became of the fleets, by size and method."""
    rows = recorded.rows("repacking")
    head = ["GPUs", "method", "fleets", "with a repack", "as cheap as the cheapest", "dearer", "not found", "undecided"]
    return markdown.table(
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


def _extender(recorded: Results) -> str:
    """Server time by size and verb."""
    by_nodes: dict[int, dict[str, Mapping[str, Any]]] = {}
    for row in recorded.rows("extender"):
        by_nodes.setdefault(row["nodes"], {})[row["verb"]] = row
    verbs = ("filter", "prioritize", "cycle", "cycle of several profiles")
    head = ["nodes × 8 GPUs", *(f"{verb} p50 / p99" for verb in (*verbs[:3], "several profiles")), "no-op p50"]
    return markdown.table(
        head,
        (
            [
                f"{nodes:,}",
                *(f"{rows[verb]['p50_ms']:.2f} / {rows[verb]['p99_ms']:.2f}" for verb in verbs),
                f"{rows['cycle']['noop_p50_ms']:.2f}",
            ]
            for nodes, rows in by_nodes.items()
        ),
    )


def _scheduler(recorded: Results) -> str:
    """Pods per second, their ratio, and where the processor time goes."""
    lines = []
    rows = recorded.rows("scheduler")
    beside_stock = all("stock_ratio" in row for row in rows)  # older records have the one baseline only
    for row in rows:
        cpu = row["cpu_ms_per_pod"]
        lines.append(
            [
                f"{row['nodes']:,}",
                f"{row['shortlist']:,}" + ", filled" * row["filled"],
                str(row["infeasible"]),
                *(f"{min(row[key]):.0f} to {max(row[key]):.0f}" for key in ("plain", "extender")),
                f"**{row['ratio']:.2f}** ({min(row['ratios']):.2f} to {max(row['ratios']):.2f})",
                *([f"{row['stock_ratio']:.2f}"] if beside_stock else []),
                *(
                    " → ".join(f"{cpu[variant][process]:.1f}" for variant in ("plain", "extender"))
                    for process in ("scheduler", "api-server", "etcd")
                ),
                f"{cpu['extender']['extender']:.1f}",
            ]
        )
    head = ["nodes", "shortlist", "waiting", "without", "with", "ratio", *["÷ stock"] * beside_stock]
    return markdown.table([*head, "scheduler", "API server", "etcd", "extender"], lines)


def _agent(recorded: Results) -> str:
    """Own time of Allocate, by what else goes on."""
    named = {
        "slice there": "the slice is there",
        "others being cut": "while other GPUs are cut, 0.3 s each",
        "with the cut": "what is there is destroyed and the slice cut in Allocate",
    }
    return markdown.table(
        ["", "Allocates", "p50", "p99", "longest"],
        (
            [
                named[row["what"]],
                str(row["count"]),
                *(f"{row[key]:.2g}" if row[key] < 10 else f"{row[key]:.0f}" for key in ("p50_ms", "p99_ms", "most_ms")),
            ]
            for row in recorded.rows("agent")
            if row["what"] in named
        ),
    )


def _agent_rest(recorded: Results) -> str:
    """What else the agent costs."""
    rows = {row["what"]: row for row in recorded.rows("agent")}
    start, memory = rows["start"], rows["memory"]
    return markdown.table(
        ["registered after", "first report after", "idle", "memory", "at its peak"],
        [
            [
                f"{start['registered_s']:.1f} s",
                f"{start['reported_s']:.1f} s",
                f"{rows['idle']['cpu_percent']:.2f} % of a core",
                f"{memory['rss_mib']:.0f} MiB",
                f"{memory['peak_mib']:.0f} MiB",
            ]
        ],
    )


def _sync(recorded: Results) -> str:
    """The service's start."""
    return markdown.table(
        ["nodes", "bound pods", "seconds", "memory"],
        (
            [f"{row['nodes']:,}", f"{row['pods']:,}", f"{row['seconds']:.1f}", f"{row['rss_mib']:.0f} MiB"]
            for row in recorded.rows("sync")
        ),
    )


def _interference(recorded: Results) -> str:
    """Cycles while the planner works, beside those while it does not."""
    return markdown.table(
        ["nodes", "meanwhile", "cycle p50 / p99", "÷ idle p50 / p99", "the planner's processors"],
        (
            [
                f"{row['nodes']:,}",
                row["meanwhile"],
                f"{row['p50_ms']:.2f} / {row['p99_ms']:.2f}",
                f"{row['p50_ratio']:.2f} / {row['p99_ratio']:.2f}",
                f"{row['planner_cpu']:.2f}",
            ]
            for row in recorded.rows("interference")
        ),
    )


def _crowd(recorded: Results) -> str:
    """Filter calls while clients of the API mean harm, beside those while they do not."""
    return markdown.table(
        ["meanwhile", "filter p50 / p99", "÷ quiet p50 / p99", "failed probes", "memory"],
        (
            [
                row["meanwhile"],
                f"{row['p50_ms']:.2f} / {row['p99_ms']:.2f}",
                f"{row['p50_ratio']:.2f} / {row['p99_ratio']:.2f}",
                f"{row['failed_probes']} of {row['probes']}",
                f"{row['memory_mib']} MiB",
            ]
            for row in recorded.rows("crowd")
        ),
    )


TABLES: Mapping[str, Callable[[Results], str]] = {
    "five-1.0": lambda recorded: _policies(recorded, 5, 1.0),
    "five-0.85": lambda recorded: _policies(recorded, 5, 0.85),
    "six-1.0": lambda recorded: _policies(recorded, 6, 1.0),
    "decisions": _decisions,
    "fragmentation": _fragmentation,
    "repacking": _repacking,
    "extender": _extender,
    "scheduler": _scheduler,
    "agent": _agent,
    "agent-rest": _agent_rest,
    "sync": _sync,
    "interference": _interference,
    "crowd": _crowd,
    "waits": quoted_queue.waits,
    "cycles": quoted_queue.cycles,
    "rates": quoted_clusters.rates,
    "rivals": quoted_clusters.rivals,
    "rivals-memory": quoted_clusters.rivals_memory,
    "moves": quoted_clusters.moves,
    "moves-throughput": quoted_clusters.moves_throughput,
}


def main() -> None:
    """Write the pages and their pictures."""
    from benchmarks.report import plots  # drawing libraries are slow to load, and tables need none

    recorded = results.read(FILE)
    for file in PAGES:
        file.write_text(page(file.read_text(encoding="utf-8"), recorded), encoding="utf-8")
    for plot in (plot for drawn in plots.draw(recorded).values() for plot in drawn if plot.name in PICTURES):
        (IMAGES / PICTURES[plot.name]).write_bytes(plot.png())


if __name__ == "__main__":
    main()
