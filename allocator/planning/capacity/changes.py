"""Changes: the smallest change of each kind that makes pods fit which do not: restarts, other profiles, more GPUs.

Of each kind there is a change, or the verdict why there is none: proven, not decided, or not looked at. Called by
`capacity.planner`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from allocator.claims.snapshot_file import Saved
from allocator.mig import geometry
from allocator.mig.catalogue import Catalogue
from allocator.planning.capacity import added_gpus, joint_fit, swaps
from allocator.planning.capacity.search_time import SearchTime
from allocator.planning.capacity.types import (
    ChangeVerdict,
    GpusChange,
    MovesChange,
    NoChange,
    ProfileChange,
    ProfileSwap,
)
from allocator.planning.packing import hosting
from allocator.planning.packing.program import SolveStatus
from allocator.planning.packing.relocation import RelocationProblem
from allocator.planning.repack import joint, planner, search
from allocator.planning.repack.problem import RepackLimits, RepackProblem
from allocator.planning.repack.requested_pod import RequestedPod

_BY_REPACK = "`migsched repack` looks longer, and names the rule"


@dataclass(frozen=True, slots=True)
class AddedNodes:
    """Nodes that are alike and empty: a described fleet's, or those that are to be added."""

    catalogue: Catalogue
    nodes: int
    gpus_per_node: int


def by_moves(
    saved: Saved, pods: Sequence[RequestedPod], limits: RepackLimits, time: SearchTime
) -> MovesChange | NoChange:
    """The cheapest repack that makes the pods fit."""
    limit_s = time.share(0.6)
    solved = planner.solve(saved, limits, pods, limit_s)
    time.spend(solved.solution.seconds)
    if solved.possible is None:
        reason = f"no repack was found in {limit_s:.2g} s, and none is proven impossible; {_BY_REPACK}"
        return NoChange("moves", ChangeVerdict.UNDECIDED, reason)
    if not solved.possible:
        reason = f"no order of restarts within the rules makes room; {_BY_REPACK}"
        return NoChange("moves", ChangeVerdict.NONE, reason)
    moved = [solved.problem.pods[move.job] for move in solved.solution.moves]
    return MovesChange(
        moves=len(moved),
        gpc=sum(pod.gpc for pod in moved),
        pods=list(dict.fromkeys(pod.name for pod in moved)),
        optimal=solved.solution.status is SolveStatus.OPTIMAL,
    )


def by_profiles(
    fleet: RepackProblem, relocation: RelocationProblem, time: SearchTime, exact_columns: int
) -> ProfileChange | NoChange:
    """The fewest slices asked for in another profile, each in the nearest one that does."""
    alone = all(len(request.profiles) == 1 for request in relocation.requests)
    alone = alone and not hosting.is_relaxed_as_one(relocation)
    nodes = hosting.nodes_of(relocation, joint.standing(relocation), as_one=alone)
    catalogues = dict.fromkeys(gpu.catalogue for gpu in fleet.gpus if gpu.catalogue)
    options = swaps.of_fleet(catalogues, joint_fit.requested(relocation))
    if not any(options.values()):
        return NoChange("profile", ChangeVerdict.NONE, "no other profile of the fleet has as much memory")
    if not alone and hosting.columns(nodes, relocation.requests) > exact_columns:
        reason = f"too large to search: pods asked for together {len(relocation.requests)}, nodes {len(nodes)}"
        return NoChange("profile", ChangeVerdict.NOT_LOOKED_AT, reason)
    hosted = hosting.cheapest(nodes, relocation.requests, time.share(0.4), options)
    time.spend(hosted.seconds)
    if hosted.status is SolveStatus.INFEASIBLE:
        reason = "in no other profiles of as much memory do they fit"
        return NoChange("profile", ChangeVerdict.NONE, reason)
    if hosted.status not in search.SOLVED or not hosted.swapped:
        return NoChange("profile", ChangeVerdict.UNDECIDED, "no other profiles were found in the time allowed")
    return ProfileChange(
        slices=sum(hosted.swapped.values()),
        swaps=[ProfileSwap(from_=name, to=other, count=number) for (name, other), number in hosted.swapped.items()],
        optimal=hosted.status is SolveStatus.OPTIMAL,
    )


def by_gpus(
    relocation: RelocationProblem, added: AddedNodes | None, time: SearchTime, exact_columns: int
) -> GpusChange | NoChange:
    """The fewest more GPUs of one model: the one that is to be added, or whichever of the fleet's needs fewest."""
    bins = relocation.bins
    geometries = [geometry.compiled(added.catalogue)] if added else list(dict.fromkeys(gpu.geometry for gpu in bins))
    per_node = added.gpus_per_node if added else max(Counter(gpu.node for gpu in bins).values(), default=1)
    options = [
        added_gpus.fewest(relocation, kind, per_node, SearchTime(time.share(1 / len(geometries))), exact_columns)
        for kind in geometries
    ]
    enough = [option.change for option in options if option.change is not None]
    if enough:
        return min(enough, key=lambda change: change.gpus)
    open_ = next((option for option in options if option.verdict is not ChangeVerdict.NONE), None)
    if open_ is not None:
        return NoChange("gpus", open_.verdict, open_.reason)
    return NoChange("gpus", ChangeVerdict.NONE, "; ".join(option.reason for option in options))
