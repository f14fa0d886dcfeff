"""What is held: the places that pods have, by their claims or by a report, and how they compare.

Used by inventory, and by the scheduler for what it promises.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from allocator import errors
from allocator.claims.ledger import Claim, Hold
from allocator.claims.placement_annotation import Promise
from allocator.claims.report import GpuReport, NodeReport, SliceState
from allocator.mig import geometry
from allocator.mig.profile import GpuPlacement, Placement
from allocator.request import Request, SliceRequest


def reported(node: NodeReport) -> dict[str, tuple[Hold, ...]]:
    """What the report shows as allocated, by owner's UID; a GPU that contradicts itself shows nothing."""
    holds_by_uid: dict[str, tuple[Hold, ...]] = {}
    for gpu in node.gpus:
        if gpu.slices and gpu.contradiction() is not None:
            continue
        for slice_ in gpu.slices:
            if slice_.state is SliceState.ALLOCATED and slice_.owner is not None:
                hold = Hold(slice_.owner.container, gpu.uuid, slice_.placement)
                holds_by_uid[slice_.owner.uid] = (*holds_by_uid.get(slice_.owner.uid, ()), hold)
    return holds_by_uid


def of(claim: Claim | None) -> tuple[Hold, ...]:
    """What a claim holds; nothing without one."""
    return () if claim is None else claim.holds


def taken(
    claims: Iterable[Claim],
    gpu: GpuReport,
    ended: Iterable[Claim] = (),
    ignore: frozenset[str] = frozenset(),
    own: Sequence[Hold] = (),
) -> list[Placement]:
    """Placements of a GPU that nothing else may get: what these claims hold, and what the report shows beside it.

    An allocated slice without an owner is the slice of the claim that lies exactly there: the kubelet never lists
    ordinary init containers, so their slice has no owner for as long as the pod lives. A slice of an
    `ended` claim is left out if it contradicts the rest. Left out is what belongs to the pods `ignore` (by UID); `own`
    are places that one of them is about to claim.
    """
    claimed = {(claim.uid, hold.placement) for claim in claims for hold in claim.holds if hold.gpu == gpu.uuid}
    mine = [hold.placement for hold in own if hold.gpu == gpu.uuid]
    accounted = {*mine, *(placement for _, placement in claimed)}
    left = {place for claim in ended for place in (claim.uid, *(hold.place for hold in claim.holds))}
    present = {(uid, placement) for uid, placement in claimed if uid not in ignore}
    going: set[tuple[str, Placement]] = set()
    for slice_ in gpu.slices:
        key = (slice_.owner.uid if slice_.owner else "", slice_.placement)
        if slice_.state is SliceState.FOREIGN:
            present.add(("", slice_.placement))
        elif slice_.state is SliceState.ALLOCATED and key[0] not in ignore and (key[0] or key[1] not in accounted):
            is_going = (key[0] or GpuPlacement(gpu.uuid, key[1])) in left
            (going if is_going else present).add(key)
        elif slice_.state is SliceState.IDLE and not slice_.free:
            going.add(("", slice_.placement))  # ill: not given away before it is gone; whoever has a claim there waits
    together = [placement for _, placement in sorted(present)]
    for _, placement in sorted(going):
        if _fit(gpu, [*together, *mine, placement]):
            together.append(placement)
    return together


def _fit(gpu: GpuReport, placements: Iterable[Placement]) -> bool:
    if gpu.catalogue is None:
        return False
    try:
        geometry.compiled(gpu.catalogue).state_of(placements)
    except errors.MigschedError:
        return False
    return True


def corrected(holds: Sequence[Hold], shown: Sequence[Hold]) -> tuple[Hold, ...]:
    """Holds with those moved that a report shows elsewhere, where it does not show all of them yet.

    The same holds where the report shows what they do not have, or leaves no place for the rest.
    """
    if profiles(shown) - profiles(holds):
        return tuple(holds)
    lying = places(shown)
    missing = list(shown)
    kept: list[Hold] = []
    movable: list[Hold] = []
    for hold in holds:
        if lying[hold.place]:
            lying[hold.place] -= 1
            missing.remove(next(slice_ for slice_ in missing if slice_.place == hold.place))
            kept.append(hold)
        else:
            movable.append(hold)
    for slice_ in missing:
        same = [hold for hold in movable if hold.placement.profile == slice_.placement.profile]
        movable.remove(min(same, key=lambda hold: hold.container != slice_.container))
    return tuple(holds) if overlap(missing, movable) else (*kept, *missing, *movable)


def places(holds: Sequence[Hold]) -> Counter[GpuPlacement]:
    """Where holds lie, whichever container has them."""
    return Counter(hold.place for hold in holds)


def profiles(holds: Sequence[Hold]) -> Counter[str]:
    """How many of each profile."""
    return Counter(h.placement.profile for h in holds)


def request_of(holds: Sequence[Hold]) -> Request:
    """What a pod that holds these asks for."""
    return Request(tuple(SliceRequest(hold.container, hold.placement.profile) for hold in holds))


def promises(holds: Sequence[Hold]) -> tuple[Promise, ...]:
    """The holds as a placement annotation promises them."""
    return tuple(Promise(hold.container, hold.gpu, hold.placement.profile, hold.placement.start) for hold in holds)


def as_promised(holds: Sequence[Hold], promised: Sequence[Promise]) -> bool:
    """Whether the holds lie where the promises say, whichever container has them."""
    held = Counter((h.gpu, h.placement.profile, h.placement.start) for h in holds)
    return held == Counter((promise.gpu, promise.profile, promise.start) for promise in promised)


def overlap(holds: Sequence[Hold], others: Sequence[Hold]) -> bool:
    """Whether a place among these cannot exist beside a place among the others."""
    return any(hold.place.overlaps(other.place) for hold in holds for other in others)


def losers(
    claims: Iterable[Claim], moved: Sequence[Claim], shown: Mapping[str, tuple[Hold, ...]]
) -> dict[str, tuple[Claim, list[Hold]]]:
    """The claims (by UID) that overlap what a report shows of other pods whose claims moved, and what they lost there.

    `shown` is the report by UID.
    """
    found: dict[str, tuple[Claim, list[Hold]]] = {}
    if any(shown.get(claim.uid) for claim in moved):
        for claim in claims:
            lost = [hold for other in moved if other.uid != claim.uid for hold in shown.get(other.uid, ())]
            if overlap(claim.holds, lost):
                found[claim.uid] = (claim, lost)
    return found


def exchanged(promised: Sequence[Hold], others: Iterable[Claim]) -> tuple[Hold, ...]:
    """Promised holds with those that others lie on moved to what these left; () where that is not possible."""
    lying = [claim for claim in others if overlap(promised, claim.holds)]
    lost = [hold for claim in lying for hold in claim.holds]
    return swapped(promised, lost, [hold for claim in lying for hold in claim.left])


def swapped(holds: Sequence[Hold], lost: Sequence[Hold], regained: Sequence[Hold]) -> tuple[Hold, ...]:
    """Holds with those that overlap a lost place moved to regained places of the same profile; () if impossible."""
    free = list(regained)
    moved = []
    for hold in holds:
        if not overlap((hold,), lost):
            moved.append(hold)
            continue
        other = next((f for f in free if f.placement.profile == hold.placement.profile), None)
        if other is None:
            return ()
        free.remove(other)
        moved.append(Hold(hold.container, other.gpu, other.placement))
    return tuple(moved)
