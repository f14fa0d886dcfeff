"""Patterns: what a GPU in a given state can still take, as counts per profile, and where those slices then lie.

A demand over a few profiles never needs a pattern that another one dominates, so that a whole fleet is planned over
a dozen columns: 12 for 1g, 2g, 3g, 4g and 7g of a seven-slice GPU, 28 with the double-memory 1g. Derived from the
geometry, for any catalogue and any state. Called by `covering`, the planner's layouts and the capacity answers.
"""

from collections.abc import Mapping
from functools import lru_cache

from allocator import errors
from allocator.mig.geometry import Geometry
from allocator.mig.profile import Placement
from allocator.placement import policy

Counts = tuple[int, ...]  # slices per profile, in the order of the names asked about
Names = tuple[str, ...]


@lru_cache(maxsize=16_384)
def maximal(geometry: Geometry, state: int, names: Names) -> tuple[Counts, ...]:
    """The undominated counts over `names` that fit beside what is in a state; only the zero one if nothing does."""
    grown = set()
    for position, name in enumerate(names):
        for index in geometry.placements_of(name) if name in geometry.profile_index else ():
            after = int(geometry.step[state, index])
            if after >= 0:
                grown |= {_plus(pattern, position) for pattern in maximal(geometry, after, names)}
    return tuple(sorted(undominated(grown), reverse=True)) if grown else ((0,) * len(names),)


def undominated(patterns: set[Counts]) -> set[Counts]:
    """Those that no other one covers."""
    return {
        pattern for pattern in patterns if not any(other != pattern and covers(other, pattern) for other in patterns)
    }


def covers(larger: Counts, smaller: Counts) -> bool:
    """Whether every count is at least the other's."""
    return all(a >= b for a, b in zip(larger, smaller, strict=True))


def arrange(geometry: Geometry, state: int, counts: Mapping[str, int]) -> tuple[Placement, ...]:
    """Places for these slices beside what is in a state, leaving the least fragmentation, in an order of creation.

    Every beginning of the answer is legal too, so it can be cut one by one with explicit placements. Large slices
    come first, as the driver wants them where it chooses the places itself.

    Raises GeometryError if they do not fit.
    """
    wanted = tuple(sorted((name, n) for name, n in counts.items() if n))
    best = _best(geometry, state, tuple(name for name, _ in wanted), tuple(n for _, n in wanted))
    if best is None:
        shown = " + ".join(f"{n} × {name}" for name, n in wanted)
        raise errors.GeometryError(f"{geometry.catalogue.model}: {shown} does not fit beside what is there")
    placements = (geometry.placements[i] for i in best[1])
    return tuple(sorted(placements, key=lambda placement: (-placement.size, placement.start)))


@lru_cache(maxsize=64)
def fragmentation(geometry: Geometry) -> policy.Losses:
    """`policy.fragmentation`, computed once per geometry."""
    return policy.fragmentation(geometry)


@lru_cache(maxsize=65_536)
def _best(geometry: Geometry, state: int, names: Names, counts: Counts) -> tuple[float, tuple[int, ...]] | None:
    """The least fragmentation reachable, and the placement indices that reach it."""
    position = next((i for i, n in enumerate(counts) if n), None)
    if position is None:
        return float(fragmentation(geometry)[state]), ()
    if names[position] not in geometry.profile_index:
        return None
    rest = _plus(counts, position, -1)
    arrangements = []
    for index in geometry.placements_of(names[position]):
        after = int(geometry.step[state, index])
        if after >= 0:
            best = _best(geometry, after, names, rest)
            if best is not None:
                arrangements.append((best[0], tuple(sorted((index, *best[1])))))
    return min(arrangements, default=None)


def _plus(counts: Counts, position: int, by: int = 1) -> Counts:
    return (*counts[:position], counts[position] + by, *counts[position + 1 :])
