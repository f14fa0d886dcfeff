"""Render: a repack as the answer that commands print and the API sends. Called by `repack.planner` and `capacity`."""

from collections.abc import Sequence
from decimal import Decimal

from msgspec import UNSET

from allocator.mig.profile import Placement
from allocator.placement import room
from allocator.planning.packing import patterns
from allocator.planning.packing.program import SolveStatus
from allocator.planning.packing.relocation import Places, RelocationProblem, RelocationSolution
from allocator.planning.repack.goal import RepackGoal
from allocator.planning.repack.problem import MovablePod, RepackProblem
from allocator.planning.repack.requested_pod import RequestedPod
from allocator.planning.repack.types import (
    FleetFigures,
    MovedSlice,
    PodMove,
    PodPlacement,
    RepackAnswer,
    RepackCost,
    SlicePlace,
)

_Slices = list[list[Placement]]  # slices per GPU


def answer(
    problem: RepackProblem,
    relocation: RelocationProblem,
    solution: RelocationSolution,
    possible: bool | None,
    goal: RepackGoal,
    reason: str,
    notes: Sequence[str],
) -> RepackAnswer:
    """The whole answer; without moves and placements where there is no repack.

    `after` is once the moves are made and before anything is put into the room they made, so that it shows what the
    moves are worth.
    """
    before = _slices_now(relocation)
    after = [list(slices) for slices in before]
    places = {number: job.home for number, job in enumerate(relocation.jobs)}
    moves = []
    for step, move in enumerate(solution.moves, 1):
        moves.append(_move(problem, problem.pods[move.job], step, places[move.job], move.places))
        _shift(after, places[move.job], move.places)
        places[move.job] = move.places
    filled = {gpu for pod_places in solution.placed for gpu, _ in pod_places}
    emptied = [n for n, slices in enumerate(after) if possible and before[n] and not slices and n not in filled]
    return RepackAnswer(
        possible=possible,
        reason=reason,
        moves=moves,
        placements=placements(problem, goal.pods, solution.placed),
        emptied=[problem.gpus[index].uuid for index in emptied],
        cost=RepackCost(
            total=solution.cost,
            moves=len(moves),
            gpc=sum(move.gpc for move in moves),
            pods=len({move.pod for move in moves}),
        ),
        lower_bound=solution.bound,
        optimal=solution.status in (SolveStatus.OPTIMAL, SolveStatus.INFEASIBLE),
        gap=_gap(solution) if possible else None,
        before=_figures(problem, relocation, before, goal),
        after=_figures(problem, relocation, after, goal) if possible or moves else None,
        notes=list(notes) or UNSET,
    )


def _gap(solution: RelocationSolution) -> float:
    return (solution.cost - solution.bound) / solution.cost if solution.cost else 0.0


def placements(problem: RepackProblem, pods: Sequence[RequestedPod], placed: Sequence[Places]) -> list[PodPlacement]:
    """Where each pod goes that room is made for."""
    return [
        PodPlacement(
            request=pod.name,
            node=problem.gpus[places[0][0]].node,
            slices=[_place(problem, place) for place in places],
        )
        for pod, places in zip(pods, placed, strict=False)
    ]


def _move(problem: RepackProblem, pod: MovablePod, step: int, source: Places, target: Places) -> PodMove:
    """One restart. Containers keep their profiles, so they are dealt out by them."""
    free = list(target)
    slices = []
    for container, (gpu, placement) in zip(pod.containers, source, strict=True):
        to = next(place for place in free if place[1].profile == placement.profile)
        free.remove(to)
        from_ = _place(problem, (gpu, placement))
        slices.append(MovedSlice(container=container, from_=from_, to=_place(problem, to)))
    return PodMove(
        step=step,
        pod=pod.name,
        uid=pod.uid,
        service=pod.facts.service,
        from_node=problem.gpus[source[0][0]].node,
        to_node=problem.gpus[target[0][0]].node,
        slices=slices,
        gpc=pod.gpc,
        cost=pod.job.cost,
    )


def _place(problem: RepackProblem, place: tuple[int, Placement]) -> SlicePlace:
    gpu, placement = place
    return SlicePlace(gpu=problem.gpus[gpu].uuid, profile=placement.profile, start=placement.start)


def _slices_now(relocation: RelocationProblem) -> _Slices:
    slices = [list(gpu.fixed) for gpu in relocation.bins]
    for job in relocation.jobs:
        _shift(slices, (), job.home)
    return slices


def _shift(slices: _Slices, source: Places, target: Places) -> None:
    for gpu, placement in source:
        slices[gpu].remove(placement)
    for gpu, placement in target:
        slices[gpu].append(placement)


def demanded(problem: RepackProblem, goal: RepackGoal) -> frozenset[str]:
    """The profiles in demand: what the cluster's pods hold and what is asked for. Metrics count stranded slices so."""
    held = {occupant.placement.profile for gpu in problem.gpus for occupant in gpu.occupants if occupant.uid}
    return frozenset(held.union(*(pod.profiles for pod in goal.pods)))


def _figures(problem: RepackProblem, relocation: RelocationProblem, slices: _Slices, goal: RepackGoal) -> FleetFigures:
    """What a state of the fleet is worth: fragmentation is the mean share of possibilities that GPUs have lost.

    GPUs of drained nodes that take no pods are left out.
    """
    counted = [number for number, gpu in enumerate(problem.gpus) if gpu.node not in problem.closed]
    slices = [slices[number] for number in counted]
    bins = [relocation.bins[number] for number in counted]
    gpus = [(bin_.geometry, bin_.geometry.state_of(on_gpu)) for bin_, on_gpu in zip(bins, slices, strict=True)]
    lost = [float(patterns.fragmentation(geometry)[state]) for geometry, state in gpus]
    wanted = demanded(problem, goal)
    in_use = [problem.gpus[number].model for number, on_gpu in zip(counted, slices, strict=True) if on_gpu]
    cost = sum((goal.prices.get(model, Decimal(1)) for model in in_use), Decimal(0))
    return FleetFigures(
        gpus_in_use=len(in_use),
        gpus_empty=len(slices) - len(in_use),
        cost=int(cost) if cost == cost.to_integral_value() else float(cost),
        fragmentation=round(sum(lost) / len(lost), 6) if lost else 0.0,
        free_memory_slices=sum(geometry.free_slices(state) for geometry, state in gpus),
        stranded_memory_slices=sum(
            room.stranded_slices(geometry, state, wanted or frozenset(geometry.profiles)) for geometry, state in gpus
        ),
    )
