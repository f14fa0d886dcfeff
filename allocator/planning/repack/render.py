"""Render: a repack as JSON has it. Called by `repack.planner`."""

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from allocator.mig.profile import Placement
from allocator.placement import fleet
from allocator.planning.packing import patterns
from allocator.planning.packing.program import SolveStatus
from allocator.planning.packing.relocation import Found, Places, RelocationProblem
from allocator.planning.repack.document import RepackDocument, Wanted
from allocator.planning.repack.problem import MovablePod, RepackProblem

_Standing = list[list[Placement]]  # slices per GPU


def answer(
    posed: RepackProblem,
    question: RelocationProblem,
    found: Found,
    possible: bool | None,
    asked: RepackDocument,
    reason: str,
) -> dict[str, Any]:
    """The whole answer; without moves and placements where there is no repack.

    `after` is once the moves are made and before anything is put into the room they made, so that it shows what the
    moves are worth.
    """
    before = _standing(question)
    after = [list(slices) for slices in before]
    at = {number: job.home for number, job in enumerate(question.jobs)}
    moves = []
    for step, move in enumerate(found.moves, 1):
        pod = posed.pods[move.job]
        moves.append(_move(posed, pod, step, at[move.job], move.places))
        _shift(after, at[move.job], move.places)
        at[move.job] = move.places
    filled = {where for places in found.placed for where, _ in places}
    emptied = [n for n, slices in enumerate(after) if possible and before[n] and not slices and n not in filled]
    restarts = Counter(move["pod"] for move in moves)
    return {
        "possible": possible,
        "reason": reason,
        "moves": moves,
        "placements": placements(posed, asked.requests, found.placed),
        "emptied": [posed.gpus[n].uuid for n in emptied],
        "cost": {
            "total": found.cost,
            "moves": len(moves),
            "gpc": sum(move["gpc"] for move in moves),
            "pods": len(restarts),
        },
        "lower_bound": found.bound,
        "optimal": found.status in (SolveStatus.OPTIMAL, SolveStatus.INFEASIBLE),
        "gap": _gap(found) if possible else None,
        "before": _figures(posed, question, before, asked),
        "after": _figures(posed, question, after, asked) if possible else None,
    }


def _gap(found: Found) -> float:
    return (found.cost - found.bound) / found.cost if found.cost else 0.0


def placements(posed: RepackProblem, requests: Sequence[Wanted], placed: Sequence[Places]) -> list[dict[str, Any]]:
    """Where each pod goes that room is made for."""
    return [
        {"request": request.name, "node": posed.gpus[places[0][0]].node, "slices": [_slice(posed, p) for p in places]}
        for request, places in zip(requests, placed, strict=False)
    ]


def _move(posed: RepackProblem, pod: MovablePod, step: int, source: Places, target: Places) -> dict[str, Any]:
    """One restart. Containers keep their profiles, so they are dealt out by them."""
    free = list(target)
    slices = []
    for container, (where, placement) in zip(pod.containers, source, strict=True):
        to = next(place for place in free if place[1].profile == placement.profile)
        free.remove(to)
        slices.append(
            {"container": container, "from": _slice(posed, (where, placement)), "to": _slice(posed, to)},
        )
    return {
        "step": step,
        "pod": pod.name,
        "uid": pod.uid,
        "service": pod.facts.service,
        "from_node": posed.gpus[source[0][0]].node,
        "to_node": posed.gpus[target[0][0]].node,
        "slices": slices,
        "gpc": pod.gpc,
        "cost": pod.job.cost,
    }


def _slice(posed: RepackProblem, place: tuple[int, Placement]) -> dict[str, Any]:
    where, placement = place
    return {"gpu": posed.gpus[where].uuid, "profile": placement.profile, "start": placement.start}


def _standing(question: RelocationProblem) -> _Standing:
    there = [list(gpu.fixed) for gpu in question.bins]
    for job in question.jobs:
        _shift(there, (), job.home)
    return there


def _shift(there: _Standing, source: Places, target: Places) -> None:
    for where, placement in source:
        there[where].remove(placement)
    for where, placement in target:
        there[where].append(placement)


def _figures(
    posed: RepackProblem, question: RelocationProblem, there: _Standing, asked: RepackDocument
) -> dict[str, Any]:
    """What a state of the fleet is worth: fragmentation is the mean share of possibilities that GPUs have lost."""
    states = [gpu.geometry.state_of(slices) for gpu, slices in zip(question.bins, there, strict=True)]
    lost = [float(patterns.fragmentation(gpu.geometry)[s]) for gpu, s in zip(question.bins, states, strict=True)]
    wanted = frozenset(name for request in asked.requests for name in request.profiles)
    in_use = [gpu.model for gpu, slices in zip(posed.gpus, there, strict=True) if slices]
    cost = sum((asked.prices.get(model, Decimal(1)) for model in in_use), Decimal(0))
    return {
        "gpus_in_use": len(in_use),
        "gpus_empty": len(there) - len(in_use),
        "cost": int(cost) if cost == cost.to_integral_value() else float(cost),
        "fragmentation": round(sum(lost) / len(lost), 6) if lost else 0.0,
        "free_memory_slices": sum(g.geometry.free_slices(s) for g, s in zip(question.bins, states, strict=True)),
        "stranded_memory_slices": sum(
            fleet.stranded_slices(gpu.geometry, state, wanted or frozenset(gpu.geometry.profiles))
            for gpu, state in zip(question.bins, states, strict=True)
        ),
    }
