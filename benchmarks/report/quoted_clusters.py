"""Quoted tables of what was measured on genuine control planes: rates, rivals, moves. Used by `quoted`."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.report.markdown import table
from benchmarks.results import Results

_DASH = "–"


def rates(recorded: Results) -> str:
    """The queue and the extender beside a stock kube-scheduler, by size, and where the processor time goes."""
    lines = []
    for row in recorded.rows("scheduler"):
        if row["infeasible"] or row["filled"] or row["shortlist"] != 10 or "queue" not in row:
            continue
        cpu = row["cpu_ms_per_pod"]
        for variant, what in (
            ("stock", "stock kube-scheduler, no geometry looked at"),
            ("queue", "the same with the queue before it"),
            ("extender", "the shipped profile with the extender"),
        ):
            ours = f"{cpu[variant]['extender']:.1f}" if variant != "stock" else _DASH
            lines.append(
                [
                    f"{row['nodes']:,}" if variant == "stock" else "",
                    what,
                    f"{statistics.median(row[variant]):.0f}",
                    _beside_stock(row, variant),
                    *(f"{cpu[variant][process]:.1f}" for process in ("scheduler", "api-server")),
                    ours,
                ]
            )
    return table(["nodes", "", "pods/s", "÷ stock", "scheduler", "API server", "migsched"], lines)


def _beside_stock(row: Mapping[str, Any], variant: str) -> str:
    if variant == "stock":
        return "1"
    ratios = row["queue_ratios" if variant == "queue" else "stock_ratios"]
    return f"**{statistics.median(ratios):.2f}** ({min(ratios):.2f} to {max(ratios):.2f})"


def rivals(recorded: Results) -> str:
    """Pods per second, and processor milliseconds per pod of who schedules, by size and load."""
    lines = []
    rows = recorded.rows("rivals")
    for nodes, load in dict.fromkeys((row["nodes"], row["load"]) for row in rows):
        by_variant = {row["variant"]: row for row in rows if (row["nodes"], row["load"]) == (nodes, load)}
        lines.append(
            [
                f"{nodes:,}",
                load,
                *(_rate_and_cost(by_variant[variant]) for variant in ("stock", "extender", "queue", "dra")),
                *(f"{by_variant[variant]['dra_ratio']:.0f}" for variant in ("extender", "queue")),
            ]
        )
    head = ["nodes × 8 GPUs", "load", "stock", "extender", "queue", "DRA", "extender ÷ DRA", "queue ÷ DRA"]
    return table(head, lines)


def rivals_memory(recorded: Results) -> str:
    """Resident memory at the end of a run, and what a burst of a quarter more than there is room for packs."""
    largest = max(row["nodes"] for row in recorded.rows("rivals"))
    rows = [row for row in recorded.rows("rivals") if (row["nodes"], row["load"]) == (largest, "mixed")]
    return table(
        [f"at {largest:,} nodes", "API server", "kube-scheduler", "migsched", "compute slices in use"],
        (
            [
                {"dra": "DRA"}.get(row["variant"], row["variant"]),
                *(_mib(row["rss_mib"], process) for process in ("api-server", "scheduler", "migsched")),
                _DASH if row["packed"] is None else f"{row['packed']:.1%}".replace("%", " %"),
            ]
            for row in rows
        ),
    )


def moves(recorded: Results) -> str:
    """What each refused pod may have moved, and what became of the jobs."""
    lines: list[Sequence[str]] = []
    for row in recorded.rows("moves"):
        if row["what"] == "throughput":
            continue
        seconds = (row["fix_p50_s"], row["fix_longest_s"])
        lines.append(
            [
                row["what"],
                f"{row['jobs']:,}",
                f"{row['acceptance']:.3f}",
                f"{row['simulated']:.3f}",
                str(row["served_by_moves"]),
                _DASH if row["restarts_per_served"] is None else f"{row['restarts_per_served']:.2f}",
                _DASH if seconds[0] is None else f"{seconds[0]:.1f} s, {seconds[1]:.1f} s",
            ]
        )
    head = ["a refused pod may have", "jobs", "accepted", "in the replay", "served by moves", "restarts for each"]
    return table([*head, "to Running: median, longest"], lines)


def moves_throughput(recorded: Results) -> str:
    """Other pods' rate while moves go on."""
    (row,) = (row for row in recorded.rows("moves") if row["what"] == "throughput")
    return table(
        ["pods/s without moves", "while moves go on", "ratio", "pairs of bursts", "moves meanwhile"],
        [
            [
                f"{row['pods_per_s']:.0f}",
                f"{row['pods_per_s_moving']:.0f}",
                f"**{row['throughput_ratio']:.2f}**",
                str(row["runs"]),
                str(row["moves_made"]),
            ]
        ],
    )


def _rate_and_cost(row: Mapping[str, Any]) -> str:
    cpu = row["cpu_ms_per_pod"]
    cost = cpu["scheduler"] + cpu.get("migsched", 0.0)
    rate = statistics.median(row["pods_per_s"])
    return f"{rate:.0f}; {cost:.1f}" if cost < 10 else f"{rate:.0f}; {cost:.0f}"


def _mib(memory: Mapping[str, float], process: str) -> str:
    return f"{memory[process]:,.0f} MiB" if process in memory else _DASH
