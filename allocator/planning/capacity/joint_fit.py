"""JointFit: whether given pods fit together on the fleet as it stands, nothing moved, and where.

Called by `capacity.planner` and, for fleets and requests that are changed a little, by `changes`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from allocator.mig.geometry import Geometry
from allocator.planning.capacity.search_time import SearchTime
from allocator.planning.packing import hosting
from allocator.planning.packing.covering import Supply
from allocator.planning.packing.program import SolveStatus
from allocator.planning.packing.relocation import Places, RelocationProblem
from allocator.planning.repack import joint, requested_pod, search
from allocator.planning.repack.problem import RepackProblem
from allocator.planning.repack.requested_pod import RequestedPod

EXACT_COLUMNS = 30_000  # columns of the exact program, up to which pods with several slices are decided by it


@dataclass(frozen=True, slots=True)
class Fit:
    """Where the pods go, or why not: `proven` that they do not fit, or open, with what was tried in `reason`."""

    placed: tuple[Places, ...] | None
    proven: bool
    reason: str = ""


def as_it_stands(fleet: RepackProblem, pods: Sequence[RequestedPod] = ()) -> RelocationProblem:
    """The fleet with all its pods staying, and pods to place on it."""
    slices = [list(bin_.fixed) for bin_ in fleet.bins]
    for pod in fleet.pods:
        for gpu, placement in pod.places:
            slices[gpu].append(placement)
    bins = tuple(replace(bin_, fixed=tuple(fixed)) for bin_, fixed in zip(fleet.bins, slices, strict=True))
    return RelocationProblem(bins, (), requested_pod.jobs(fleet, pods), spare=fleet.spare)


def states(fleet: RepackProblem) -> list[tuple[Geometry, int]]:
    """Every GPU's geometry and state."""
    relocation_ = as_it_stands(fleet)
    return [(gpu.geometry, state) for gpu, state in zip(relocation_.bins, joint.standing(relocation_), strict=True)]


def fit(problem: RelocationProblem, time: SearchTime, exact_columns: int) -> Fit:
    """Whether the requests fit, by cheap ways first.

    One pod after the other, large ones first; all GPUs as if on one node, by counts, which may prove that they do not
    fit; pods dealt out node by node; then the exact program.
    """
    placed = joint.at_once(problem)
    if placed is not None:
        return Fit(placed, True)
    together = _by_count(problem, time)
    if together is not None:
        return together
    nodes = hosting.nodes_of(problem, joint.standing(problem))
    shared = _dealt(problem, nodes, time)
    return Fit(shared, True) if shared is not None else _exactly(problem, nodes, time, exact_columns)


def fit_again(problem: RelocationProblem, time: SearchTime, exact_columns: int) -> Fit:
    """As `fit`, for a question of which a smaller one did not fit: the exact program first, which then is cheaper."""
    together = _by_count(problem, time)
    if together is not None:
        return together
    nodes = hosting.nodes_of(problem, joint.standing(problem))
    exact = _exactly(problem, nodes, time, exact_columns)
    if exact.placed is not None or exact.proven:
        return exact
    placed = joint.at_once(problem) or _dealt(problem, nodes, time)
    return Fit(placed, True) if placed is not None else exact


def _by_count(problem: RelocationProblem, time: SearchTime) -> Fit | None:
    """All GPUs as if on one node: what is proven by that, None if it decides nothing."""
    one_node = hosting.nodes_of(problem, joint.standing(problem), as_one=True)
    hosted = hosting.cheapest(one_node, problem.requests, time.share(0.4))
    time.spend(hosted.seconds)
    if hosted.status is SolveStatus.INFEASIBLE:
        return Fit(None, True)
    if hosting.is_relaxed_as_one(problem) or any(len(request.profiles) > 1 for request in problem.requests):
        return None
    if hosted.status in search.SOLVED:
        return Fit(hosted.placed, True)
    return Fit(None, False, _open(problem, "one after the other, and all together"))


def _exactly(
    problem: RelocationProblem, nodes: Sequence[hosting.NodeGpus], time: SearchTime, exact_columns: int
) -> Fit:
    """The exact program, if it is not too large."""
    if hosting.columns(nodes, problem.requests) > exact_columns:
        return Fit(None, False, _too_large(problem, nodes))
    exact = hosting.cheapest(nodes, problem.requests, time.share(1))
    time.spend(exact.seconds)
    if exact.status in search.SOLVED:
        return Fit(exact.placed, True)
    if exact.status is SolveStatus.INFEASIBLE:
        return Fit(None, True)
    return Fit(None, False, _open(problem, "one after the other, dealt out node by node, and exactly"))


def requested(problem: RelocationProblem) -> Counter[str]:
    """The slices of all requests, by profile."""
    return Counter(name for request in problem.requests for name in request.profiles)


def supplies(problem: RelocationProblem) -> list[Supply]:
    """The GPUs by state, at no cost."""
    numbers = Counter((gpu.geometry, state) for gpu, state in zip(problem.bins, joint.standing(problem), strict=True))
    return [Supply(kind, state, number, 0) for (kind, state), number in numbers.items()]


def _dealt(
    problem: RelocationProblem, nodes: Sequence[hosting.NodeGpus], time: SearchTime
) -> tuple[Places, ...] | None:
    """Pods dealt out node by node, and those left over one after the other; None if some find no place."""
    shared, seconds = hosting.dealt(nodes, problem.requests, time.share(0.3))
    time.spend(seconds)
    left = [number for number in range(len(problem.requests)) if number not in shared]
    rest = joint.with_placed(problem, shared, [problem.requests[number] for number in left])
    placed = joint.at_once(rest)
    if placed is None:
        return None
    shared |= dict(zip(left, placed, strict=True))
    return tuple(shared[number] for number in range(len(problem.requests)))


def _open(problem: RelocationProblem, tried: str) -> str:
    return (
        f"not decided in the time allowed: the pods ({len(problem.requests)}) were tried {tried};"
        " by count alone their slices may fit. Allow more time"
    )


def _too_large(problem: RelocationProblem, nodes: Sequence[hosting.NodeGpus]) -> str:
    return (
        f"too large to decide exactly: pods asked for together {len(problem.requests)}, nodes {len(nodes)}."
        " By count their slices fit; tried one after the other and dealt out node by node, some find no place"
    )
