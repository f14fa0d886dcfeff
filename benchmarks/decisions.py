"""Decisions: what deciding one placement costs, per policy and GPU model.

Called by `migsched bench decisions` and `bench all` through `measure`. All times are processor time of this process,
so that neighbours on the machine weigh little; a median of a few runs evens out the rest.
"""

import math
import statistics
import time
from collections.abc import Sequence
from typing import Any

import replay
from allocator.mig import exploration, geometry, gpu_models
from allocator.mig.geometry import Geometry
from allocator.placement import policy
from benchmarks.benchmark import Progress
from benchmarks.policies import Contender

GPUS = 100
RUNS = 5

CONTENDERS = (
    *(Contender(name) for name in policy.POLICIES),
    Contender("mfi", moves=1),
    Contender("mfi", moves=2),
)


def measure(
    models: Sequence[str] | None = None,
    contenders: Sequence[Contender] = CONTENDERS,
    progress: Progress = lambda _: None,
    runs: int = RUNS,
) -> list[dict[str, Any]]:
    """Rows {model, contender, states, tables_ms, us_per_decision, placements_per_s}; all models for None."""
    rows = []
    for model in gpu_models.known() if models is None else models:
        for contender in contenders:
            progress(f"decisions: {contender.name} on {model}")
            rows.append(_row(model, contender, runs))
    return rows


def _row(model: str, contender: Contender, runs: int) -> dict[str, Any]:
    catalogue = gpu_models.find(model)
    began = time.process_time()
    explored = exploration.finished(exploration.explore(catalogue, tuple(catalogue.placements())))
    fresh = Geometry(catalogue, *exploration.finished(exploration.merge(*explored)))  # not the one that is in use
    policy.tables(policy.find(contender.policy), fresh)
    tables_s = time.process_time() - began
    spent, placed = [], []
    for seed in range(runs):
        config = replay.RunConfig(
            mix="uniform",
            model=model,
            gpus=GPUS,
            policy=contender.policy,
            moves=contender.moves,
            whole_catalogue=True,
            seeds=1,
            first_seed=seed,
            workers=1,
        )
        metrics = replay.run(config).metrics
        per_s = metrics["decisions_per_s"].mean or math.nan
        spent.append(1e6 / per_s)
        placed.append(per_s * (metrics["count_acceptance"].mean or 0.0))
    return {
        "model": model,
        "contender": contender.name,
        "states": geometry.compiled(catalogue).states,
        "tables_ms": round(1e3 * tables_s, 1),
        "us_per_decision": round(statistics.median(spent), 2),
        "placements_per_s": round(statistics.median(placed)),
    }
