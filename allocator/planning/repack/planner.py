"""Planner: from a document and a snapshot to the answer of `repack.answer`.

`solve` is the part without documents, which the capacity answers use too.
"""

from collections.abc import Collection, Sequence
from typing import Any

from allocator import errors
from allocator.claims.snapshot import GpuView
from allocator.claims.snapshot_file import Saved
from allocator.eligibility.amounts import NOTHING
from allocator.planning import document_reader as reader
from allocator.planning import eligible_nodes
from allocator.planning.packing import node_limits
from allocator.planning.packing.program import SolveStatus
from allocator.planning.packing.relocation import RelocationProblem, RelocationSolution
from allocator.planning.repack import defragment, neighbourhood, problem, reasons, render, requested_pod
from allocator.planning.repack import goal as goals
from allocator.planning.repack.goal import RepackGoal
from allocator.planning.repack.problem import RepackLimits, Rule
from allocator.planning.repack.reasons import Solved
from allocator.planning.repack.requested_pod import RequestedPod
from allocator.planning.repack.types import MAX_MOVES, RepackAnswer, RepackDocument


def answer(value: Any, saved: Saved, time_limit_s: float) -> RepackAnswer:
    """See `repack.answer`."""
    document = reader.read(value, RepackDocument)
    gpus = problem.usable(saved.snapshot)
    nodes = [node.name for node in saved.snapshot.nodes]
    goal = goals.build(
        document, nodes, sorted({gpu.model for gpu in problem.usable(saved.snapshot, document.empty.nodes)})
    )
    if goal.nothing:
        fix = "nothing is asked for; write requests, empty.gpus, empty.nodes or stranded_share"
        raise errors.InputError("requests", value, fix)
    limit_s = float(reader.number(time_limit_s, "time limit", positive=True))
    if goal.stranded_share is not None:
        return _defragmented(saved, goal, goal.stranded_share)
    check_offered(goal.pods, gpus)
    solved = solve(saved, goal.limits, goal.pods, limit_s, goal.empty_gpus, goal.empty_nodes)
    reason = ""
    if solved.possible is None:
        reason = reasons.undecided(solved.relocation, solved.solution, limit_s)
    elif not solved.possible:

        def without(ignored: Collection[Rule], part: float) -> Solved:
            """The same question without some rules, in a part of the time."""
            return solve(saved, goal.limits, goal.pods, limit_s * part, goal.empty_gpus, goal.empty_nodes, ignored)

        reason = reasons.why_not(saved, goal.limits, without, limit_s)
    moved = [solved.problem.pods[move.job] for move in solved.solution.moves]
    asked = [(pod.name, pod.constraints) for pod in goal.pods]
    said = eligible_nodes.notes(saved.snapshot, [(pod.name, pod.facts.constraints) for pod in moved], asked)
    notes = (*saved.notes, *said)
    return render.answer(solved.problem, solved.relocation, solved.solution, solved.possible, goal, reason, notes)


def _defragmented(saved: Saved, goal: RepackGoal, share: float) -> RepackAnswer:
    """Restarts that bring the stranded share down."""
    fleet = problem.build(saved, goal.limits)
    relocation = RelocationProblem(
        bins=fleet.bins,
        jobs=tuple(pod.job for pod in fleet.pods),
        budgets=fleet.budgets(saved, goal.limits),
        spare=fleet.spare,
    )
    solution = defragment.fewer_stranded(relocation, render.demanded(fleet, goal), share, goal.limits.moves)
    possible = Solved(fleet, relocation, solution).possible
    reason = "" if possible else "no more restarts that lessen the stranded share were found within the budgets"
    return render.answer(fleet, relocation, solution, possible, goal, reason, saved.notes)


def solve(
    saved: Saved,
    limits: RepackLimits,
    pods: Sequence[RequestedPod],
    time_limit_s: float,
    empty_gpus: int = 0,
    empty_nodes: Collection[str] = (),
    ignored: Collection[Rule] = (),
) -> Solved:
    """The cheapest repack that makes room for the pods, with `empty_gpus` more empty GPUs than now."""
    fleet = problem.build(saved, limits, ignored, empty_nodes)
    used = {gpu for pod in fleet.pods for gpu, _ in pod.places}
    # a GPU of a drained node that takes no pods is empty in the end, and of no use to anybody
    empty_now = sum(
        fleet.gpus[index].node in fleet.closed or (index not in used and not bin_.fixed)
        for index, bin_ in enumerate(fleet.bins)
    )
    relocation = RelocationProblem(
        bins=fleet.bins,
        jobs=tuple(pod.job for pod in fleet.pods),
        requests=requested_pod.jobs(fleet, pods),
        empty=empty_now + empty_gpus if empty_gpus else 0,
        emptied=frozenset(index for index, gpu in enumerate(fleet.gpus) if gpu.node in empty_nodes),
        budgets=() if Rule.BUDGETS in ignored else fleet.budgets(saved, limits),
        spare=fleet.spare,
    )
    max_moves = MAX_MOVES if Rule.BUDGETS in ignored else limits.moves
    solution = neighbourhood.cheapest(relocation, max_moves, time_limit_s)
    if not _nodes_suffice(relocation, solution):  # a program's rows may have been rounded in the pods' favour
        solution = RelocationSolution(SolveStatus.UNKNOWN, seconds=solution.seconds)
    return Solved(fleet, relocation, solution)


def _nodes_suffice(relocation: RelocationProblem, solution: RelocationSolution) -> bool:
    """Whether nodes have in the end what the pods on them ask for beside slices."""
    last = {move.job: move.places for move in solution.moves}
    moved = [(relocation.jobs[job], places) for job, places in last.items()]
    placed = zip(relocation.requests, solution.placed, strict=False)  # without places where there is no answer
    came = [(relocation.node_of(places), job.asked) for job, places in (*moved, *placed)]
    gone = [(relocation.node_of(job.home), NOTHING - job.asked) for job, _ in moved]
    return node_limits.kept(relocation.spare, (*came, *gone))


def check_offered(pods: Sequence[RequestedPod], gpus: Sequence[GpuView]) -> None:
    """Raise InputError for a profile that no usable GPU of the cluster has."""
    offered = dict.fromkeys(profile.name for gpu in gpus if gpu.catalogue for profile in gpu.catalogue.profiles)
    for pod in pods:
        for name in pod.profiles:
            if name not in offered:
                fix = "use one of " + ", ".join(offered) if offered else "the cluster has no GPU that can be cut"
                raise errors.InputError(f"requests: {pod.name}", name, f"no GPU of the cluster offers it; {fix}")
