"""Reservations: those that stand, and what they leave to pods behind them. Owned by `pod_queue`; made by the queueing
cycle, asked by it and by the extender.
"""

from collections.abc import Iterator, Sequence

from allocator.claims.inventory import Inventory
from allocator.placement.fitting import GpuState
from allocator.placement.room import ALL_ROOM, LeftRoom
from allocator.queueing import reservation
from allocator.queueing.queued_pod import Order
from allocator.queueing.reservation import Reservation, ReservedPlace

_Key = tuple[tuple[GpuState, ...], tuple[Reservation, ...]]


class Reservations:
    """By the UID of the pod that the unit stands in the queue with.

    `number` is one more each time one is made or ends.
    """

    def __init__(self) -> None:
        self._standing: dict[str, Reservation] = {}
        self._left: dict[str, tuple[_Key, LeftRoom]] = {}  # by node, as asked last
        self.number = 0

    def __len__(self) -> int:
        return len(self._standing)

    def __iter__(self) -> Iterator[tuple[str, Reservation]]:
        return iter(tuple(self._standing.items()))

    def get(self, uid: str) -> Reservation | None:
        """The reservation of a unit, or None."""
        return self._standing.get(uid)

    def put(self, uid: str, made: Reservation) -> None:
        """A unit has this reservation from now on."""
        before = self._standing.get(uid)
        if before is None or before.places != made.places:
            self.number += 1
        self._standing[uid] = made

    def end(self, uid: str) -> None:
        """A unit has none from now on; an unknown one is no error."""
        if self._standing.pop(uid, None) is not None:
            self.number += 1
            if not self._standing:
                self._left.clear()

    def leave(self, uid: str) -> None:
        """A pod waits no more: what was kept for its unit is free."""
        for first, made in self:
            if uid in made.pods:
                self.end(first)

    def kept(self, besides: str = "") -> Sequence[ReservedPlace]:
        """All reserved places, of one unit aside."""
        return [place for uid, made in self for place in made.places if uid != besides]

    def before(self, uid: str, order: Order) -> Sequence[Reservation]:
        """The reservations that a pod must leave alone: of units that stand before it, and are not its own."""
        return [made for made in self._standing.values() if made.order < order and uid not in made.pods]

    def nodes(self, uid: str, order: Order) -> frozenset[str]:
        """The nodes on which there are such."""
        return frozenset(place.node for made in self.before(uid, order) for place in made.places)

    def left(self, inventory: Inventory, node: str, uid: str, order: Order) -> LeftRoom:
        """What is left of a node's GPUs to a pod. It is worked out once for the node as it is."""
        if not self._standing or node not in inventory.fleet:
            return ALL_ROOM
        before = tuple(made for made in self.before(uid, order) if any(place.node == node for place in made.places))
        if not before:
            return ALL_ROOM
        key = (inventory.fleet.gpus(node), before)
        known = self._left.get(node)
        if known is None or known[0] != key:
            known = self._left[node] = (key, reservation.left(inventory, node, before))
        return known[1]
