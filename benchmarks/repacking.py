"""Repacking: repacks of small fleets beside the cheapest there is, which `exhaustive` finds by trying everything.

Called by `migsched bench repacking` and `bench all` through `measure`. Beside the planner stands the quick rule that
clears one window (`allocator.planning.migration`), to show what the planner is for.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from allocator.claims.snapshot_file import Saved
from allocator.mig import gpu_models
from allocator.mig.geometry import Geometry, compiled
from allocator.placement import policy
from allocator.planning import migration, repack
from benchmarks import exhaustive, fleets
from benchmarks.benchmark import Progress

SIZES = (2, 3, 4)  # GPUs
MOVES = 10  # restarts that a repack may cost, as by default
WINDOW_MOVES = migration.MAX_MOVES
METHODS = ("planner", "one window")


@dataclass
class _Tally:
    """What one method did on all fleets of a size. Below the cheapest there is means: not legal step by step."""

    worse: int = 0
    missed: int = 0
    below: int = 0
    gaps: Counter[int] = field(default_factory=Counter)
    seconds: float = 0.0

    def add(self, cost: int | None, best: int | None, seconds: float) -> None:
        """One fleet: the method's cost and the cheapest, each None where it found nothing."""
        self.seconds = max(self.seconds, seconds)
        if cost is None:
            self.missed += best is not None
        elif best is None or cost < best:
            self.below += 1
        else:
            self.worse += cost > best
            self.gaps[cost - best] += 1


def measure(
    instances: int = 100, sizes: Sequence[int] = SIZES, progress: Progress = lambda _: None
) -> list[dict[str, Any]]:
    """A row per size and method; every fleet has the memory and compute for the request, but no room as it is."""
    geometry = compiled(gpu_models.find(fleets.MODEL))
    rows = []
    for gpus in sizes:
        tallies = {method: _Tally() for method in METHODS}
        compared = solvable = undecided = seed = 0
        while compared < instances:
            progress(f"repacking: {gpus} GPUs, fleet {compared + 1} of {instances}")
            draw = np.random.default_rng([gpus, seed])
            seed += 1
            saved = fleets.fleet(draw, gpus, stays=0.8)
            profile = _wanted(draw, geometry, saved)
            if profile is None:
                continue
            compared += 1
            try:
                solvable += _compare(geometry, saved, profile, tallies)
            except exhaustive.TooManyError:
                undecided += 1
        for method, tally in tallies.items():
            rows.append(
                {
                    "gpus": gpus,
                    "method": method,
                    "instances": compared,
                    "solvable": solvable,
                    "undecided": undecided,
                    "worse": tally.worse,
                    "missed": tally.missed,
                    "below": tally.below,
                    "gaps": {str(gap): number for gap, number in sorted(tally.gaps.items())},
                    "seconds": round(tally.seconds, 3),
                }
            )
    return rows


def _compare(geometry: Geometry, saved: Saved, profile: str, tallies: dict[str, _Tally]) -> bool:
    """Ask all for room for one slice; whether there is a repack. Raises exhaustive.TooManyError."""
    began = time.perf_counter()
    answer = repack.answer({"requests": [{"profiles": {profile: 1}}], "budgets": {"moves": MOVES}}, saved)
    between = time.perf_counter()
    planned = answer.cost.total if answer.possible else None
    window = _one_window(saved, profile)
    ended = time.perf_counter()
    movable = {uid for uid, facts in saved.pods.items() if facts.movable}
    gpus = [
        (layout.slices & ~layout.movable, layout.movable) for _, layout in migration.layouts(saved.snapshot, movable)
    ]
    best = exhaustive.cheapest(geometry, gpus, profile, MOVES, planned)
    tallies["planner"].add(planned, best, between - began)
    tallies["one window"].add(window, best, ended - between)
    return best is not None


def _one_window(saved: Saved, profile: str) -> int | None:
    """What clearing one window costs, counted as a repack is; None where that is not enough."""
    movable = {uid for uid, facts in saved.pods.items() if facts.movable}
    layouts = [layout for _, layout in migration.layouts(saved.snapshot, movable)]
    plan = migration.plan(layouts, profile, policy.DEFAULT, WINDOW_MOVES)
    return None if plan is None else plan.cost[0]


def _wanted(draw: np.random.Generator, geometry: Geometry, saved: Saved) -> str | None:
    """A profile, of those for which there is memory and compute but no room; None if there is none such."""
    compute = memory = 0
    states = []
    for gpu in saved.snapshot.gpus():
        states.append(geometry.state_of(occupant.placement for occupant in gpu.occupants))
        memory += geometry.free_slices(states[-1])
        compute += geometry.catalogue.compute_slices - sum(
            geometry.catalogue.profile(occupant.placement.profile).compute_slices for occupant in gpu.occupants
        )
    blocked = [
        profile.name
        for index, profile in enumerate(geometry.catalogue.profiles)
        if profile.plain
        and profile.memory_slices <= memory
        and profile.compute_slices <= compute
        and not any(geometry.room[state, index] for state in states)
    ]
    return str(draw.choice(blocked)) if blocked else None
