"""What is held: the places that pods have, by their claims or by a report, and how they compare.

Used by inventory, and by the scheduler for what it promises.
"""

from collections import Counter
from collections.abc import Sequence

from allocator.claims.contract import Promise
from allocator.claims.ledger import Hold
from allocator.claims.report import NodeReport, SliceState
from allocator.mig.profile import Placement
from allocator.request import Request, SliceRequest


def shown(seen: NodeReport) -> dict[str, tuple[Hold, ...]]:
    """What the report shows as allocated, by owner's UID; a GPU that contradicts itself shows nothing."""
    found: dict[str, tuple[Hold, ...]] = {}
    for gpu in seen.gpus:
        if gpu.slices and gpu.contradiction():
            continue
        for one in gpu.slices:
            if one.state is SliceState.ALLOCATED and one.owner is not None:
                hold = Hold(one.owner.container, gpu.uuid, one.placement)
                found[one.owner.uid] = (*found.get(one.owner.uid, ()), hold)
    return found


def places(holds: Sequence[Hold]) -> Counter[tuple[str, Placement]]:
    """Where holds lie, whichever container has them."""
    return Counter((h.gpu, h.placement) for h in holds)


def profiles(holds: Sequence[Hold]) -> Counter[str]:
    """How many of each profile."""
    return Counter(h.placement.profile for h in holds)


def asked(holds: Sequence[Hold]) -> Request:
    """What a pod that holds these asks for."""
    return Request(tuple(SliceRequest(one.container, one.placement.profile) for one in holds))


def promises(holds: Sequence[Hold]) -> tuple[Promise, ...]:
    """The holds as a placement annotation promises them."""
    return tuple(Promise(one.container, one.gpu, one.placement.profile, one.placement.start) for one in holds)


def as_promised(holds: Sequence[Hold], promised: Sequence[Promise]) -> bool:
    """Whether the holds lie where the promises say, whichever container has them."""
    there = Counter((h.gpu, h.placement.profile, h.placement.start) for h in holds)
    return there == Counter((one.gpu, one.profile, one.start) for one in promised)


def overlap(one: Sequence[Hold], other: Sequence[Hold]) -> bool:
    """Whether some place of one cannot exist beside some place of the other."""
    return any(a.gpu == b.gpu and a.placement.overlaps(b.placement) for a in one for b in other)


def swapped(holds: Sequence[Hold], lost: Sequence[Hold], found: Sequence[Hold]) -> tuple[Hold, ...]:
    """Holds with those that overlap a lost place moved to found places of the same profile; () if impossible."""
    free = list(found)
    moved = []
    for one in holds:
        if not overlap((one,), lost):
            moved.append(one)
            continue
        other = next((f for f in free if f.placement.profile == one.placement.profile), None)
        if other is None:
            return ()
        free.remove(other)
        moved.append(Hold(one.container, other.gpu, other.placement))
    return tuple(moved)
