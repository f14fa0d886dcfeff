"""Draining: what it costs to wait for a place that others use, and what may go on beside it. Asked by `reservation` for
nodes, and by replays for their GPUs.

How long pods run is not known. So the cost is what can be seen: the memory slices of a place that others use.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from allocator import errors
from allocator.mig.geometry import Geometry
from allocator.mig.profile import Placement

_MOST_ASKED = 4_096  # kept with each geometry

Costs = npt.NDArray[np.float64]


def costs(geometry: Geometry, profile: str) -> Costs:
    """Per state, the memory slices that others use in the place of a profile where they use fewest; inf where no GPU
    of this kind offers it.
    """
    return geometry.keep(_costs, profile, most=_MOST_ASKED)


def _costs(geometry: Geometry, profile: str) -> Costs:
    if profile not in geometry.profile_index:
        return np.full(geometry.states, np.inf)
    masks = np.array([geometry.placements[index].mask for index in geometry.placements_of(profile)], dtype=np.int64)
    used = np.bitwise_count(geometry.masks[:, np.newaxis] & masks)
    least: Costs = used.min(axis=1).astype(np.float64)
    return least


@dataclass(frozen=True, slots=True)
class Drain:
    """A place on a GPU that a slice gets once others have left: which of them (positions), and the memory slices that
    they use there.
    """

    placement: Placement
    blockers: frozenset[int]
    cost: int


def drain(geometry: Geometry, fixed: int, used: Sequence[Placement], profile: str) -> Drain | None:
    """The place of a profile whose draining costs least; None if there is none.

    `fixed` is the state that those make that do not leave, `used` are the placements of those who do. Of equal places
    the one with the fewest blockers is taken, then the first.
    """
    places = (
        blocked(geometry, fixed, used, geometry.placements[index])
        for index in (geometry.placements_of(profile) if profile in geometry.profile_index else ())
    )
    return min((place for place in places if place is not None), key=lambda d: (d.cost, len(d.blockers)), default=None)


def blocked(geometry: Geometry, fixed: int, used: Sequence[Placement], placement: Placement) -> Drain | None:
    """What draining a placement takes; None if it is illegal even on a GPU that all of `used` have left."""
    after = int(geometry.step[fixed, geometry.placement_index[placement]])
    if after < 0:
        return None
    over = {position for position, other in enumerate(used) if other.mask & placement.mask}
    for position, other in enumerate(used):
        if position not in over:
            beside = int(geometry.step[after, geometry.placement_index[other]])
            if beside < 0:
                over.add(position)  # a limit of the whole GPU binds beside the memory slices
            else:
                after = beside
    cost = sum((used[position].mask & placement.mask).bit_count() for position in over)
    return Drain(placement, frozenset(over), cost)


def common(geometry: Geometry, now: int, later: int) -> int:
    """The state that offers most of what is legal in both states, now and later, whatever is added and in what order.

    What is added in it does not contradict either. A GPU that offers nothing in both is full.
    """
    return geometry.keep(_common, now, later, most=_MOST_ASKED)


def _common(geometry: Geometry, now: int, later: int) -> int:
    within: dict[tuple[int, int], bool] = {}
    both = (geometry.step[now] >= 0) & (geometry.step[later] >= 0)
    legal = geometry.step >= 0
    candidates = np.flatnonzero(~(legal & ~both).any(axis=1))
    room = geometry.room[candidates].sum(axis=1)
    order = np.lexsort((candidates, -room, -legal[candidates].sum(axis=1)))
    for state in candidates[order].tolist():
        if _is_within(geometry, state, now, within) and _is_within(geometry, state, later, within):
            return int(state)
    raise errors.GeometryError(f"{geometry.catalogue.model}: no state is full")  # no catalogue is like that


def _is_within(geometry: Geometry, state: int, other: int, known: dict[tuple[int, int], bool]) -> bool:
    """Whether everything that can be added in a state, one after the other, can be added in the other one."""
    key = (state, other)
    if state == other:
        return True
    if key not in known:
        known[key] = all(
            geometry.step[other, index] >= 0
            and _is_within(geometry, int(geometry.step[state, index]), int(geometry.step[other, index]), known)
            for index in np.flatnonzero(geometry.step[state] >= 0).tolist()
        )
    return known[key]
