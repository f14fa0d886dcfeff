"""Fragmentation over time: the memory that is free and useless while a fleet fills and lives, per policy.

Called by `migsched bench fragmentation` and `bench all` through `measure`. The fleet starts empty, and nothing is left
out as warm-up: the way up is what is looked at. Two measures, both as shares of all memory:

- stranded: free where no profile of the mix can use it. Nobody's rule is good by this alone: who spreads small slices
  over all GPUs strands nothing, and has room for nothing large.
- unusable: free where a request cannot use it, averaged over the requests, each by the memory it asks for. This is the
  fragmentation of Weng et al. (USENIX ATC 2023), carried over to slices.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from allocator.mig import gpu_models
from allocator.mig.geometry import Geometry, compiled
from allocator.placement import policy, room
from benchmarks.benchmark import Progress
from benchmarks.policies import Contender
from replay import engine, mix
from replay.engine import Rules
from replay.generated import Generated
from replay.pool import GpuPool
from replay.series import Series
from replay.tally import Tally

MODEL = "a100-40gb"
GPUS = 100
LIFETIME_S = 3600.0
HORIZON = 16.0  # mean lifetimes; a fleet is in its steady state after about five

CONTENDERS = (
    Contender("worst-fit"),
    Contender("first-fit"),
    Contender("best-fit"),
    Contender("mfi"),
    Contender("mfi", moves=1),
)


class _Watch(Tally):
    """A tally that also follows the memory that requests cannot use."""

    def __init__(
        self, geometry: Geometry, gpus: int, window_s: tuple[float, float], shares: Mapping[str, float]
    ) -> None:
        super().__init__(geometry, gpus, window_s)
        self.unusable = Series(*window_s)
        self._last_s = window_s[1]
        self._geometry = geometry
        self._shares = _by_memory(geometry, shares)
        self._lost: dict[int, float] = {}  # slices on a GPU → memory slices that a request cannot use

    def advance(self, now_s: float, pool: GpuPool) -> None:
        """Time passed with the GPUs as they are."""
        self.unusable.add(min(now_s, self._last_s), sum(map(self._of, pool.slices)))
        super().advance(now_s, pool)

    def _of(self, slices: int) -> float:
        lost = self._lost.get(slices)
        if lost is None:
            state = self._geometry.state_of(p for i, p in enumerate(self._geometry.placements) if slices >> i & 1)
            lost = sum(
                share * room.stranded_slices(self._geometry, state, frozenset((name,)))
                for name, share in self._shares.items()
            )
            self._lost[slices] = lost
        return lost


def measure(
    seeds: int = 20,
    mixes: Sequence[str] = tuple(mix.NAMED),
    gpus: int = GPUS,
    progress: Progress = lambda _: None,
) -> list[dict[str, Any]]:
    """Rows {contender, mix, runs, lifetimes, stranded, unusable}: three series of equal length."""
    rows = []
    for name in mixes:
        for contender in CONTENDERS:
            progress(f"fragmentation: {contender.name} on {name}")
            runs = [_run(contender, name, gpus, seed) for seed in range(seeds)]
            stranded, unusable = (np.mean([run[i] for run in runs], axis=0) for i in (1, 2))
            rows.append(
                {
                    "contender": contender.name,
                    "mix": name,
                    "runs": seeds,
                    "lifetimes": [round(at / LIFETIME_S, 4) for at in runs[0][0]],
                    "stranded": np.round(stranded, 6).tolist(),
                    "unusable": np.round(unusable, 6).tolist(),
                }
            )
    return rows


def _run(contender: Contender, name: str, gpus: int, seed: int) -> tuple[list[float], list[float], list[float]]:
    """Moments in seconds, and the shares stranded and unusable, each the mean up to there, of one run."""
    catalogue = gpu_models.find(MODEL)
    workload = Generated(mix.shares(name, catalogue), lifetime_s=LIFETIME_S, warmup=0.0, horizon=HORIZON)
    geometry = compiled(catalogue.restricted(workload.profiles))
    tally = _Watch(geometry, gpus, workload.window_s, workload.shares)
    pool = GpuPool(geometry, gpus, policy.find(contender.policy))
    engine.replay(workload.jobs(geometry, gpus, seed), pool, Rules(moves=contender.moves), tally)
    unusable = tally.unusable.means()
    memory = gpus * catalogue.memory_slices
    return (
        [at for at, _ in unusable],
        [share for _, share in tally.outcome(1.0).stranded],
        [slices / memory for _, slices in unusable],
    )


def _by_memory(geometry: Geometry, shares: Mapping[str, float]) -> dict[str, float]:
    """Each profile's share of the memory asked for."""
    memory = {name: share * geometry.catalogue.profile(name).memory_slices for name, share in shares.items()}
    return {name: memory_share / sum(memory.values()) for name, memory_share in memory.items()}
