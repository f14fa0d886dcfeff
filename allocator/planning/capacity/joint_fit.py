"""JointFit: whether given pods fit together on the fleet as it stands, nothing moved, and where.

Called by `capacity.planner` and, for fleets and requests that are changed a little, by `changes`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from allocator.mig.geometry import Geometry
from allocator.planning.packing import covering, patterns, relocation
from allocator.planning.packing.covering import Cover, CoverDemand, Supply
from allocator.planning.packing.program import SolveStatus
from allocator.planning.packing.relocation import MovableJob, Place, Places, RelocationProblem
from allocator.planning.repack import joint, search
from allocator.planning.repack.goal import RequestedPod
from allocator.planning.repack.problem import RepackProblem

EXACT_COLUMNS = 20_000  # ways to place pods with several slices, up to which they are decided exactly


def as_it_stands(fleet: RepackProblem, pods: Sequence[RequestedPod] = ()) -> RelocationProblem:
    """The fleet with all its pods staying, and pods to place on it."""
    slices = [list(bin_.fixed) for bin_ in fleet.bins]
    for pod in fleet.pods:
        for gpu, placement in pod.places:
            slices[gpu].append(placement)
    bins = tuple(replace(bin_, fixed=tuple(fixed)) for bin_, fixed in zip(fleet.bins, slices, strict=True))
    return RelocationProblem(bins, (), tuple(MovableJob(pod.profiles) for pod in pods))


def states(fleet: RepackProblem) -> list[tuple[Geometry, int]]:
    """Every GPU's geometry and state."""
    relocation_ = as_it_stands(fleet)
    return [(gpu.geometry, state) for gpu, state in zip(relocation_.bins, joint.standing(relocation_), strict=True)]


def fit(problem: RelocationProblem, time_limit_s: float, exact_columns: int) -> tuple[tuple[Places, ...] | None, bool]:
    """Where the requests go, or None and whether it is proven that they do not fit."""
    placed = joint.at_once(problem)
    if placed is not None:
        return placed, True
    members, supplies = classes(problem)
    cover = covering.cover(supplies, CoverDemand(requested(problem)), time_limit_s)
    if cover.status is SolveStatus.INFEASIBLE:
        return None, True
    if all(len(request.profiles) == 1 for request in problem.requests) and cover.status in search.SOLVED:
        return _dealt(problem, cover, supplies, members), True
    if len(problem.requests) * sum(len(gpu.geometry.placements) for gpu in problem.bins) > exact_columns:
        return None, False
    end = relocation.destination(problem, time_limit_s)
    return (end.placed if end.status in search.SOLVED else None), end.status is not SolveStatus.UNKNOWN


def requested(problem: RelocationProblem) -> Counter[str]:
    """The slices of all requests, by profile."""
    return Counter(name for request in problem.requests for name in request.profiles)


def classes(problem: RelocationProblem) -> tuple[list[list[int]], list[Supply]]:
    """GPUs (indices) that are in the same state, and each such class as a supply that costs nothing."""
    members: dict[tuple[Geometry, int], list[int]] = {}
    for gpu, state in enumerate(joint.standing(problem)):
        members.setdefault((problem.bins[gpu].geometry, state), []).append(gpu)
    return list(members.values()), [Supply(kind, state, len(gpus), 0) for (kind, state), gpus in members.items()]


def _dealt(
    problem: RelocationProblem, cover: Cover, supplies: Sequence[Supply], members: Sequence[Sequence[int]]
) -> tuple[Places, ...]:
    """A cover's slices dealt out to requests of one slice each."""
    free = [list(gpus) for gpus in members]
    places: dict[str, list[Place]] = {}
    for use in cover.uses:
        supply = supplies[use.supply]
        counts = dict(zip(cover.names, use.counts, strict=True))
        for _ in range(use.number):
            gpu = free[use.supply].pop()
            for placement in patterns.arrange(supply.geometry, supply.state, counts):
                places.setdefault(placement.profile, []).append((gpu, placement))
    return tuple((places[request.profiles[0]].pop(),) for request in problem.requests)
