"""What becomes of pods that do not fit, by discipline: how long the largest wait, and what that costs.

Called by `migsched bench queue` and `bench all` through `measure`. At this load the largest profile starves behind
small ones wherever later jobs go ahead. Beside the queue with reservations (`reserve`) stand the queue without
(`queue`), strict first in, first out (`fifo`), and EASY backfill (Lifka 1995), which is told when jobs end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from allocator.mig import geometry, gpu_models
from allocator.placement import policy
from benchmarks.benchmark import Progress
from replay import engine, mix
from replay.engine import Rules
from replay.generated import Generated
from replay.pool import GpuPool
from replay.tally import RunOutcome, Tally
from replay.types import Discipline

MODEL = "a100-40gb"
LARGEST = "7g.40gb"
GPUS = 100
LIFETIME_S = 3600.0
LOAD = 0.95
HORIZON = 40.0  # mean lifetimes that jobs arrive


@dataclass(frozen=True, slots=True)
class Contestant:
    """A discipline; reservations come after `patience` mean lifetimes, at most so many at once."""

    discipline: Discipline
    patience: float = 0.0
    reservations: int = 0


QUEUE = Contestant(Discipline.QUEUE)
DEFAULT = Contestant(Discipline.RESERVE, 1.0, 1)
CONTESTANTS = (
    QUEUE,
    Contestant(Discipline.FIFO),
    Contestant(Discipline.EASY),
    Contestant(Discipline.RESERVE, 0.1, 1),
    Contestant(Discipline.RESERVE, 0.5, 1),
    DEFAULT,
    Contestant(Discipline.RESERVE, 2.0, 1),
    Contestant(Discipline.RESERVE, 1.0, 4),
)


def measure(
    seeds: int = 8,
    mixes: Sequence[str] = tuple(mix.NAMED),
    contestants: Sequence[Contestant] = CONTESTANTS,
    gpus: int = GPUS,
    progress: Progress = lambda _: None,
) -> list[dict[str, Any]]:
    """A row per mix and contestant; `queue` comes first, since the others are compared with it."""
    rows = []
    for name in mixes:
        queue: dict[str, Any] | None = None
        for contestant in (QUEUE, *(other for other in contestants if other != QUEUE)):
            progress(f"queue: {contestant.discipline.value} on {name}")
            row = _row(contestant, name, [_run(contestant, name, gpus, seed) for seed in range(seeds)])
            queue = queue or row
            row["wait_ratio"] = round(row["longest_largest"] / queue["longest_largest"], 3)
            row["utilisation_lost"] = round(queue["utilisation"] - row["utilisation"], 4)
            rows.append(row)
    return rows


def _row(contestant: Contestant, name: str, outcomes: Sequence[RunOutcome]) -> dict[str, Any]:
    def mean(metric: str, unit: float = 1.0) -> float:
        return round(float(np.mean([outcome.metrics[metric] for outcome in outcomes])) / unit, 4)

    return {
        "discipline": contestant.discipline.value,
        "patience": contestant.patience,
        "reservations": contestant.reservations,
        "mix": name,
        "load": LOAD,
        "runs": len(outcomes),
        "longest_largest": round(float(np.mean([o.longest_wait_s[LARGEST] for o in outcomes])) / LIFETIME_S, 4),
        "longest": mean("longest_wait_s", LIFETIME_S),
        "p95": mean("p95_wait_s", LIFETIME_S),
        "mean": mean("mean_wait_s", LIFETIME_S),
        "utilisation": mean("gpc_utilisation"),
    }


def _run(contestant: Contestant, name: str, gpus: int, seed: int) -> RunOutcome:
    catalogue = gpu_models.find(MODEL)
    workload = Generated(mix.shares(name, catalogue), load=LOAD, lifetime_s=LIFETIME_S, horizon=HORIZON)
    compiled = geometry.compiled(catalogue.restricted(workload.profiles))
    tally = Tally(compiled, gpus, workload.window_s)
    rules = Rules(
        contestant.discipline,
        patience_s=contestant.patience * LIFETIME_S,
        reservations=max(1, contestant.reservations),
    )
    engine.replay(workload.jobs(compiled, gpus, seed), GpuPool(compiled, gpus, policy.DEFAULT), rules, tally)
    return tally.outcome(1.0)
