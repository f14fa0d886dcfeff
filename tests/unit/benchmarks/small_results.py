"""A results file with a row or two of everything, for the report to be made of."""

from typing import Any

from benchmarks import registry, results
from benchmarks.results import BenchmarkResult, Machine, RecordedVerdict, Results

MIXES = ("uniform", "bimodal")
ROWS: dict[str, list[dict[str, Any]]] = {
    "policies": [
        {
            "profiles": profiles, "contender": contender, "mix": mix, "load": load, "runs": 12,
            "gpc_acceptance": value, "gpc_ci95": 0.004, "count_acceptance": 0.9, "moves_per_1000": 0.0,
            "stranded_share": 0.02,
        }
        for profiles, load in ((5, 1.0), (5, 0.85), (6, 1.0))
        for mix in MIXES
        for contender, value in (("worst-fit", 0.63), ("mfi", 0.888), ("full repack", 0.923))
    ],
    "fragmentation": [
        {"contender": contender, "mix": mix, "runs": 2, "lifetimes": [1.0, 2.0, 3.0], "stranded": [0.0, 0.01, 0.02],
         "unusable": [0.1, 0.1, 0.12]}
        for mix in MIXES
        for contender in ("worst-fit", "mfi")
    ],
    "decisions": [
        {"model": "a100-40gb", "contender": "mfi", "states": 380, "tables_ms": 18.0, "us_per_decision": 7.5,
         "placements_per_s": 120_000},
    ],
    "planning": [
        *(
            {"what": "plan", "mix": mix, "slices": 100, "method": method, "runs": 3, "over_gpus": over,
             "over_percent": float(over), "over_ci95": 0.2, "seconds": 0.01}
            for mix in MIXES
            for method, over in (("exact", 0), ("first fit decreasing", 2))
        ),
        {"what": "plan, three models", "mix": "random 1", "slices": 10_000, "gap": 0.0, "seconds": 1.0},
    ],
    "repacking": [
        {"gpus": 2, "method": method, "instances": 5, "solvable": 4, "undecided": 0, "worse": 0, "missed": missed,
         "below": 0, "gaps": {"0": 4 - missed}, "seconds": 0.1}
        for method, missed in (("planner", 0), ("one window", 1))
    ],
    "scheduler": [
        {"nodes": 1000, "shortlist": 10, "filled": filled, "infeasible": 0, "plain": [150.0], "extender": [120.0],
         "ratios": [0.8], "ratio": 0.8, "cpu_ms_per_pod": {"plain": {"etcd": 0.7}}}
        for filled in (False, True)
    ],
    "extender": [
        {"nodes": 100, "verb": verb, "p50_ms": 1.0, "p99_ms": 2.0, "noop_p50_ms": 0.1} for verb in ("filter", "cycle")
    ],
}  # fmt: skip


def _verdict(ok: bool | None, value: float | None, mix: str, bound: str = "≈ 0.889") -> RecordedVerdict:
    where = {"profiles": 5, "contender": "mfi", "load": 1.0, "mix": mix}
    return RecordedVerdict("policies", where, "gpc_acceptance", bound, "matters & <so>", "a source", 0.004, value, ok)


def results_of(*names: str, quick: bool = False) -> Results:
    """Results of these parts, all for none: one bound of the policies holds, one is broken, one of sync is open."""
    part_results = {
        benchmark.name: BenchmarkResult(
            benchmark.title,
            benchmark.question,
            benchmark.method,
            dict(benchmark.columns),
            benchmark.quick if quick else "",
            12.0,
            "",
            ROWS[benchmark.name],
        )
        for benchmark in registry.BENCHMARKS
        if benchmark.name in (names or ROWS) and benchmark.name in ROWS
    }
    verdicts = [
        _verdict(True, 0.888, "uniform"),
        _verdict(False, 0.888, "bimodal", "≥ 0.95"),
        RecordedVerdict("sync", {"nodes": 5000}, "peak_mib", "≤ 500", "why", "source"),
    ]
    machine = Machine("a processor", 2, 8.0, "Linux 6", "3.11")
    return Results(results.VERSION, "0.1.0", "2026-01-02T03:04:05+00:00", quick, machine, part_results, verdicts)
