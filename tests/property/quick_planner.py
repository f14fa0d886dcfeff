"""A planner of repacks for state machines: room for one slice by moving slices of one window, found in a moment."""

from typing import Any

from allocator.claims.snapshot import GpuView, Occupant
from allocator.placement import policy
from allocator.planning import migration
from allocator.planning.migration import Spot
from allocator.planning.repack.types import (
    FleetFigures,
    MovedSlice,
    PodMove,
    PodPlacement,
    RepackAnswer,
    RepackCost,
    SlicePlace,
)
from scheduler.planner.port import JobContext

NOTHING = FleetFigures(0, 0, 0, 0, 0, 0)


def answer(document: Any, terms: JobContext) -> RepackAnswer:
    """What a repack's planner answers to a document with one request of one slice."""
    assert terms.saved is not None
    (profile,) = document["requests"][0]["profiles"]
    saved = terms.saved
    movable = {uid for uid, facts in saved.pods.items() if facts.movable and facts.priority <= document["priority"]}
    entries = migration.layouts(saved.snapshot, movable)
    most = min(migration.MAX_MOVES, document["budgets"]["moves"])
    found = migration.plan([layout for _, layout in entries], profile, policy.DEFAULT, most)
    gpus = [gpu for gpu, _ in entries]
    if found is None:
        return _answer(None, [], [])
    moves = []
    for number, move in enumerate(found.moves, 1):
        pod = _occupant(gpus[move.source.gpu], move.source)
        moves.append(
            PodMove(
                step=number,
                pod=f"{pod.namespace}/{pod.pod}",
                uid=pod.uid,
                service=saved.pods[pod.uid].service,
                from_node=gpus[move.source.gpu].node,
                to_node=gpus[move.target.gpu].node,
                slices=[MovedSlice(pod.container, _place(gpus, move.source), _place(gpus, move.target))],
                gpc=1,
                cost=1,
            )
        )
    placed = PodPlacement(
        request=document["requests"][0]["name"],
        node=gpus[found.placed.gpu].node,
        slices=[_place(gpus, found.placed)],
    )
    return _answer(True, moves, [placed])


def _answer(possible: bool | None, moves: list[PodMove], placed: list[PodPlacement]) -> RepackAnswer:
    return RepackAnswer(
        possible=possible,
        reason="" if possible else "no few moves make room",
        moves=moves,
        placements=placed,
        emptied=[],
        cost=RepackCost(len(moves), len(moves), 0, len(moves)),
        lower_bound=0,
        optimal=False,
        gap=None,
        before=NOTHING,
        after=NOTHING if possible else None,
    )


def _occupant(gpu: GpuView, spot: Spot) -> Occupant:
    return next(occupant for occupant in gpu.occupants if occupant.placement == spot.placement and occupant.uid)


def _place(gpus: list[GpuView], spot: Spot) -> SlicePlace:
    return SlicePlace(gpus[spot.gpu].uuid, spot.placement.profile, spot.placement.start)
