"""Tally: what happened in one run, counted while it runs, and the numbers it comes to.

Counts cover the jobs that arrive in the window; shares of the GPUs are averages over its time. Filled by `engine`,
read by `report`.
"""

import math
from array import array
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from allocator.mig.geometry import Geometry
from replay.pool import GpuPool
from replay.series import Series


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """One run in numbers, `offered`, `accepted` and `longest_wait_s` per profile asked for; NaN where nothing was
    counted.
    """

    metrics: Mapping[str, float]
    offered: Mapping[str, int]
    accepted: Mapping[str, int]
    longest_wait_s: Mapping[str, float]
    stranded: tuple[tuple[float, float], ...]  # (seconds, share), each share the mean up to there


class Tally:
    """The counters of one run. Jobs are counted by the profile they asked for first, whichever they got."""

    def __init__(self, geometry: Geometry, gpus: int, window_s: tuple[float, float]) -> None:
        self._geometry = geometry
        self._compute_slices = gpus * geometry.catalogue.compute_slices
        self._memory_slices = gpus * geometry.catalogue.memory_slices
        self._from, self._until = window_s
        self._offered = [0] * len(geometry.profiles)
        self._accepted = [0] * len(geometry.profiles)
        self._waits = array("d")
        self._longest_s = [math.nan] * len(geometry.profiles)
        self._moves = 0
        self._decided = 0
        self._now = self._from
        self._used_compute_s = 0.0
        self._stranded_s = 0.0
        self._first_arrival = math.inf
        self._last_end = 0.0
        self._series = Series(self._from, self._until)

    def counts(self, arrival_s: float) -> bool:
        """Whether a job that arrives then counts."""
        return self._from <= arrival_s <= self._until

    def offer(self, profile: int, arrival_s: float) -> None:
        """A job arrived."""
        self._decided += 1
        if self._first_arrival == math.inf:
            self._first_arrival = arrival_s
        if self.counts(arrival_s):
            self._offered[profile] += 1

    def accept(self, profile: int, arrival_s: float, now_s: float, moves: int) -> None:
        """A job got its slice, after so many moves."""
        if self.counts(arrival_s):
            self._accepted[profile] += 1
            self._moves += moves
            wait_s = now_s - arrival_s
            self._waits.append(wait_s)
            if not wait_s <= self._longest_s[profile]:
                self._longest_s[profile] = wait_s

    def end(self, now_s: float) -> None:
        """A job is done."""
        self._last_end = now_s

    def advance(self, now_s: float, pool: GpuPool) -> None:
        """The time from the last call until now passed with the GPUs as they are. Call it before they change."""
        until = now_s if now_s < self._until else self._until
        passed = until - self._now
        if passed > 0:
            self._used_compute_s += passed * pool.used_compute
            self._stranded_s += passed * pool.stranded_memory
            self._series.add(until, pool.stranded_memory)
            self._now = until

    def close(self, pool: GpuPool) -> None:
        """Nothing happens any more: the rest of the window passes."""
        if self._until != math.inf:
            self.advance(self._until, pool)

    def outcome(self, spent_s: float) -> RunOutcome:
        """The numbers of the run, which took so many seconds of processor time."""
        compute = [self._geometry.catalogue.profile(name).compute_slices for name in self._geometry.profiles]
        accepted = sum(self._accepted)
        window = self._now - self._from
        waits = np.frombuffer(self._waits, dtype=np.float64)
        p50, p95 = np.percentile(waits, (50, 95)) if accepted else (math.nan, math.nan)
        metrics = {
            "count_acceptance": _ratio(accepted, sum(self._offered)),
            "gpc_acceptance": _ratio(_dot(self._accepted, compute), _dot(self._offered, compute)),
            "mean_wait_s": _ratio(float(waits.sum()), accepted),
            "p50_wait_s": float(p50),
            "p95_wait_s": float(p95),
            "longest_wait_s": float(waits.max()) if accepted else math.nan,
            "makespan_s": self._last_end - self._first_arrival if self._last_end else math.nan,
            "gpc_utilisation": _ratio(self._used_compute_s, window * self._compute_slices),
            "stranded_share": _ratio(self._stranded_s, window * self._memory_slices),
            "moves_per_1000": _ratio(1000.0 * self._moves, accepted),
            "decisions_per_s": _ratio(self._decided, spent_s),
        }
        names = self._geometry.profiles
        return RunOutcome(
            metrics,
            dict(zip(names, self._offered, strict=True)),
            dict(zip(names, self._accepted, strict=True)),
            dict(zip(names, self._longest_s, strict=True)),
            tuple((at, value / self._memory_slices) for at, value in self._series.means()),
        )


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def _dot(left: list[int], right: list[int]) -> int:
    return sum(map(int.__mul__, left, right))
