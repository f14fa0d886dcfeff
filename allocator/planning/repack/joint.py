"""Joint: several pods onto a fleet as it stands, nothing moved.

`at_once` places them in turn, large ones first, each where the scheduler's default policy would put it: fast at any
size, and where it succeeds the pods fit. Where it fails nothing is proven. Called by `repack.planner` and the
capacity answers.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from allocator.eligibility.amounts import NOTHING, Amounts
from allocator.placement import fitting, policy
from allocator.placement.fleet import Fleet, Losses
from allocator.planning.packing import node_limits
from allocator.planning.packing.relocation import MovableJob, Places, RelocationProblem
from allocator.request import Request, SliceRequest


def at_once(problem: RelocationProblem) -> tuple[Places, ...] | None:
    """A place for every request beside what is on the GPUs, or None if this way found none for one of them.

    Nothing is put on GPUs that are to be empty. The slices of a request are taken to be one container's, and go to
    different GPUs first; where that way finds no place for one of the requests, all are packed.
    """
    placed = _in_turn(problem, packed=False)
    if placed is None and any(len(job.profiles) > 1 for job in problem.requests):
        return _in_turn(problem, packed=True)
    return placed


def _in_turn(problem: RelocationProblem, *, packed: bool) -> tuple[Places, ...] | None:
    members: dict[int, list[int]] = {}
    for where, gpu in enumerate(problem.bins):
        if where not in problem.emptied:
            members.setdefault(gpu.node, []).append(where)
    states = standing(problem)
    fleet = Fleet(policy.DEFAULT)
    for node, bins in members.items():
        fleet.put(str(node), [(problem.bins[w].geometry, states[w]) for w in bins])
    losses: dict[Request, Losses] = {}
    takers = _Takers(problem, [int(fleet.name(row)) for row in range(len(fleet))])
    placed: dict[int, Places] = {}
    for number in _large_first(problem):
        profiles = sorted(problem.requests[number].profiles)
        request = Request(tuple(SliceRequest("", name) for name in profiles), packed)
        if request not in losses:
            losses[request] = _losses(fleet, request, np.arange(len(fleet)))
        of_request = takers.only(losses[request], problem.requests[number])
        row = int(of_request.argmin()) if len(fleet) else 0
        if not len(fleet) or not np.isfinite(of_request[row]):
            return None
        bins = members[int(fleet.name(row))]
        gpus = [(problem.bins[w].geometry, states[w]) for w in bins]
        parts = fitting.place(gpus, request, policy.DEFAULT) or ()
        placed[number] = tuple((bins[part.gpu], part.placement) for part in parts)
        for where, placement in placed[number]:
            kind = problem.bins[where].geometry
            states[where] = int(kind.step[states[where], kind.placement_index[placement]])
        takers.take(row, problem.requests[number])
        fleet.put(fleet.name(row), [(problem.bins[w].geometry, states[w]) for w in bins])
        for other, known in losses.items():
            known[row] = _losses(fleet, other, np.array([row]))[0]
    return tuple(placed[number] for number in range(len(problem.requests)))


def standing(problem: RelocationProblem) -> list[int]:
    """The state of every GPU as it is."""
    slices = [list(gpu.fixed) for gpu in problem.bins]
    for job in problem.jobs:
        for where, placement in job.home:
            slices[where].append(placement)
    return [gpu.geometry.state_of(on_gpu) for gpu, on_gpu in zip(problem.bins, slices, strict=True)]


def without(problem: RelocationProblem, leaving: Collection[int], closed: Collection[int]) -> RelocationProblem:
    """The question about what stays: all jobs but those leaving stand, and closed GPUs take nothing."""
    slices = [list(gpu.fixed) for gpu in problem.bins]
    for number, job in enumerate(problem.jobs):
        for where, placement in job.home if number not in leaving else ():
            slices[where].append(placement)
    bins = tuple(replace(gpu, fixed=tuple(fixed)) for gpu, fixed in zip(problem.bins, slices, strict=True))
    spare = dict(problem.spare)
    for number in leaving:
        job = problem.jobs[number]
        _give(spare, problem.node_of(job.home), job.asked)
    return RelocationProblem(bins, (), problem.requests, emptied=frozenset(closed), spare=spare)


def with_placed(
    problem: RelocationProblem, placed: Mapping[int, Places], requests: Sequence[MovableJob]
) -> RelocationProblem:
    """The question about other requests, once some (by index) have been placed."""
    slices = [list(gpu.fixed) for gpu in problem.bins]
    spare = dict(problem.spare)
    for number, places in placed.items():
        _give(spare, problem.node_of(places), NOTHING - problem.requests[number].asked)
        for where, placement in places:
            slices[where].append(placement)
    bins = tuple(replace(gpu, fixed=tuple(fixed)) for gpu, fixed in zip(problem.bins, slices, strict=True))
    return RelocationProblem(bins, (), tuple(requests), emptied=problem.emptied, spare=spare)


def _give(spare: dict[int, Amounts], node: int, amounts: Amounts) -> None:
    if node in spare:
        spare[node] += amounts


class _Takers:
    """Which nodes take which pods, CPU and memory counted, while they are filled."""

    def __init__(self, problem: RelocationProblem, nodes: Sequence[int]) -> None:
        self._nodes = nodes  # by row
        self._spare = dict(problem.limits())
        self._open: dict[tuple[frozenset[int] | None, Amounts], np.ndarray[tuple[int], np.dtype[np.bool_]]] = {}

    def only(self, losses: Losses, job: MovableJob) -> Losses:
        """A pod's losses, without end where the node does not take it."""
        if job.nodes is None and not self._spare:
            return losses
        key = job.nodes, job.asked
        if key not in self._open:
            self._open[key] = np.array([self._takes(node, *key) for node in self._nodes], dtype=bool)
        return np.where(self._open[key], losses, np.inf)

    def take(self, row: int, job: MovableJob) -> None:
        """A pod has come to a row's node."""
        _give(self._spare, self._nodes[row], NOTHING - job.asked)
        for key, open_ in self._open.items():
            open_[row] = self._takes(self._nodes[row], *key)

    def _takes(self, node: int, nodes: frozenset[int] | None, asked: Amounts) -> bool:
        return (nodes is None or node in nodes) and node_limits.kept(self._spare, [(node, asked)])


def _large_first(problem: RelocationProblem) -> list[int]:
    sizes: dict[str, int] = {}
    for kind in {gpu.geometry for gpu in problem.bins}:
        for profile in kind.catalogue.profiles:
            sizes[profile.name] = max(sizes.get(profile.name, 0), profile.memory_slices)
    weights: Sequence[int] = [sum(sizes.get(name, 0) for name in job.profiles) for job in problem.requests]
    return sorted(range(len(weights)), key=lambda number: (-weights[number], number))


def _losses(fleet: Fleet, request: Request, rows: np.ndarray[tuple[int], np.dtype[np.intp]]) -> Losses:
    """The policy's losses; what is too complex to be placed exactly counts as no place."""
    losses = fleet.losses(request, rows)
    return np.where(Fleet.too_complex(losses), np.inf, losses)
