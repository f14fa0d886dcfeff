"""What is held: the places that pods have, by their claims or by a report, and how they compare.

Used by inventory, and by the scheduler for what it promises.
"""

from collections import Counter
from collections.abc import Sequence

from allocator.claims.contract import Promise
from allocator.claims.ledger import Hold
from allocator.claims.report import NodeReport, SliceState
from allocator.mig.profile import GpuPlacement
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
    return any(a.gpu == b.gpu and a.placement.overlaps(b.placement) for a in holds for b in others)


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
