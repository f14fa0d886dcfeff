"""Move order: restarts put in an order in which each is legal. Called by `repack.search` and `repack.neighbourhood`."""

from collections.abc import Iterable, Sequence

from allocator.eligibility.amounts import NOTHING, Amounts
from allocator.mig.geometry import Geometry
from allocator.mig.profile import Placement
from allocator.planning.packing import node_limits
from allocator.planning.packing.node_limits import Spare
from allocator.planning.packing.relocation import JobMove, Places, RelocationProblem


def order(problem: RelocationProblem, moves: Sequence[JobMove]) -> tuple[JobMove, ...] | None:
    """These moves in an order in which each is legal; None if none was found.

    Whatever can move does so at once. That finds an order if there is one, but for limits that count (media engines).
    """
    slices = [list(gpu.fixed) for gpu in problem.bins]
    for job in problem.jobs:
        _shift(slices, (), job.home)
    at = {move.job: problem.jobs[move.job].home for move in moves}
    left, done = list(moves), []
    spare = dict(problem.limits())
    while left:
        ready = next(
            (
                m
                for m in left
                if _node_takes(problem, spare, m.job, at[m.job], m.places)
                and _can_move(problem, slices, at[m.job], m.places)
            ),
            None,
        )
        if ready is None:
            return None
        _take(problem, spare, ready.job, at[ready.job], ready.places)
        _shift(slices, at[ready.job], ready.places)
        at[ready.job] = ready.places
        left.remove(ready)
        done.append(ready)
    return tuple(done)


def _node_takes(problem: RelocationProblem, spare: Spare, job: int, source: Places, target: Places) -> bool:
    """Whether a pod's node after a restart has what it asks for."""
    node = problem.node_of(target)
    stays = problem.node_of(source) == node
    return stays or node_limits.kept(spare, [(node, problem.jobs[job].asked)])


def _take(problem: RelocationProblem, spare: dict[int, Amounts], job: int, source: Places, target: Places) -> None:
    asked = problem.jobs[job].asked
    for node, amounts in ((problem.node_of(source), asked), (problem.node_of(target), NOTHING - asked)):
        if node in spare:
            spare[node] += amounts


def _can_move(problem: RelocationProblem, slices: list[list[Placement]], source: Places, target: Places) -> bool:
    """Whether the GPUs that a restart touches are legal after it; leaves everything as it was."""
    _shift(slices, source, target)
    fits = all(_stands(problem.bins[where].geometry, slices[where]) for where in {where for where, _ in target})
    _shift(slices, target, source)
    return fits


def _shift(slices: list[list[Placement]], source: Places, target: Places) -> None:
    for where, placement in source:
        slices[where].remove(placement)
    for where, placement in target:
        slices[where].append(placement)


def _stands(kind: Geometry, placements: Iterable[Placement]) -> bool:
    state = kind.EMPTY
    for placement in placements:
        state = int(kind.step[state, kind.placement_index[placement]])
        if state < 0:
            return False
    return True
