"""Joint: several pods onto a fleet as it stands, nothing moved.

`at_once` places them one by one, each where the scheduler's default policy would put it, large ones first: fast at
any size, and where it succeeds the pods fit. Where it fails nothing is proven. Called by `repack.planner` and the
capacity answers.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from allocator.placement import fitting, policy
from allocator.placement.fleet import Fleet, Losses
from allocator.planning.packing.relocation import MovableJob, Places, RelocationProblem
from allocator.request import Request, SliceRequest


def at_once(asked: RelocationProblem) -> tuple[Places, ...] | None:
    """A place for every request beside what is there, or None if this way found none for one of them.

    Nothing is put on GPUs that are to be empty.
    """
    members: dict[int, list[int]] = {}
    for where, gpu in enumerate(asked.bins):
        if where not in asked.emptied:
            members.setdefault(gpu.node, []).append(where)
    states = standing(asked)
    fleet = Fleet(policy.DEFAULT)
    for node, bins in members.items():
        fleet.put(str(node), [(asked.bins[w].geometry, states[w]) for w in bins])
    losses: dict[tuple[str, ...], Losses] = {}
    placed: dict[int, Places] = {}
    for number in _large_first(asked):
        profiles = tuple(sorted(asked.requests[number].profiles))
        request = Request(tuple(SliceRequest("", name) for name in profiles))
        if profiles not in losses:
            losses[profiles] = _losses(fleet, request, np.arange(len(fleet)))
        row = int(losses[profiles].argmin()) if len(fleet) else 0
        if not len(fleet) or not np.isfinite(losses[profiles][row]):
            return None
        bins = members[int(fleet.name(row))]
        here = fitting.place([(asked.bins[w].geometry, states[w]) for w in bins], profiles, policy.DEFAULT) or ()
        placed[number] = tuple((bins[one.gpu], one.placement) for one in here)
        for where, placement in placed[number]:
            kind = asked.bins[where].geometry
            states[where] = int(kind.step[states[where], kind.placement_index[placement]])
        fleet.put(fleet.name(row), [(asked.bins[w].geometry, states[w]) for w in bins])
        for names, known in losses.items():
            again = Request(tuple(SliceRequest("", name) for name in names))
            known[row] = _losses(fleet, again, np.array([row]))[0]
    return tuple(placed[number] for number in range(len(asked.requests)))


def standing(asked: RelocationProblem) -> list[int]:
    """The state of every GPU as it is."""
    there = [list(gpu.fixed) for gpu in asked.bins]
    for job in asked.jobs:
        for where, placement in job.home:
            there[where].append(placement)
    return [gpu.geometry.state_of(slices) for gpu, slices in zip(asked.bins, there, strict=True)]


def without(asked: RelocationProblem, leaving: Collection[int], closed: Collection[int]) -> RelocationProblem:
    """The question about what stays: all jobs but those leaving stand, and closed GPUs take nothing."""
    there = [list(gpu.fixed) for gpu in asked.bins]
    for number, job in enumerate(asked.jobs):
        for where, placement in job.home if number not in leaving else ():
            there[where].append(placement)
    bins = tuple(replace(gpu, fixed=tuple(slices)) for gpu, slices in zip(asked.bins, there, strict=True))
    return RelocationProblem(bins, (), asked.requests, emptied=frozenset(closed))


def with_placed(
    asked: RelocationProblem, placed: Sequence[Places], requests: Sequence[MovableJob]
) -> RelocationProblem:
    """The question about other requests, once the first have been placed."""
    there = [list(gpu.fixed) for gpu in asked.bins]
    for places in placed:
        for where, placement in places:
            there[where].append(placement)
    bins = tuple(replace(gpu, fixed=tuple(slices)) for gpu, slices in zip(asked.bins, there, strict=True))
    return RelocationProblem(bins, (), tuple(requests), emptied=asked.emptied)


def _large_first(asked: RelocationProblem) -> list[int]:
    sizes: dict[str, int] = {}
    for kind in {gpu.geometry for gpu in asked.bins}:
        for profile in kind.catalogue.profiles:
            sizes[profile.name] = max(sizes.get(profile.name, 0), profile.memory_slices)
    weights: Sequence[int] = [sum(sizes.get(name, 0) for name in job.profiles) for job in asked.requests]
    return sorted(range(len(weights)), key=lambda number: (-weights[number], number))


def _losses(fleet: Fleet, request: Request, rows: np.ndarray[tuple[int], np.dtype[np.intp]]) -> Losses:
    """The policy's losses; what is too complex to be placed exactly counts as no place."""
    losses = fleet.losses(request, rows)
    return np.where(Fleet.too_complex(losses), np.inf, losses)
