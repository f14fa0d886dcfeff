"""KeptPlaces: places that pods of gangs had and that are kept for a time, for whoever comes in their stead.

A member that dies is made anew by its controller, and a release that the API server refused is tried again: if another
pod took the place meanwhile, the rest of the gang would run for nothing. A pod that comes by the extender does not get
them either. Nothing is kept of a gang that has no pods any more.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from allocator.claims.inventory import Inventory
from allocator.claims.ledger import Claim, Hold
from allocator.placement.fitting import GpuState
from allocator.placement.room import LeftRoom
from allocator.queueing.gang import Gang
from allocator.queueing.queued_pod import PodController, QueuedPod
from allocator.request import Counts

MAX_KEPT = 4_096  # places; beyond, nothing more is kept


@dataclass(frozen=True, slots=True)
class KeptPlace:
    """A place on a node, of the pod with this UID or another of its controller. `refused`: its release was refused."""

    uid: str
    gang: Gang
    owner: PodController | None
    counts: Counts
    node: str
    holds: tuple[Hold, ...]
    refused: bool

    def is_for(self, pod: QueuedPod) -> bool:
        """Whether it is kept for this pod."""
        same = pod.uid == self.uid or (self.owner is not None and pod.owner == self.owner)
        return same and pod.gang == self.gang and pod.request.counts == self.counts


class KeptPlaces:
    """By the UID of the pod that had the place."""

    def __init__(self) -> None:
        self._places: dict[str, KeptPlace] = {}
        self._since: dict[str, float] = {}
        self.generation = 0  # one more each time one is given up

    def __len__(self) -> int:
        return len(self._places)

    @property
    def nodes(self) -> frozenset[str]:
        """Where places are kept."""
        return frozenset(place.node for place in self._places.values())

    def keep(self, pod: QueuedPod, claim: Claim | None, *, refused: bool = False) -> None:
        """Keep the place of a pod of a gang, if somebody can come in its stead."""
        if pod.gang is None or claim is None or not (refused or pod.owner) or len(self) >= MAX_KEPT:
            return
        counts = pod.request.counts
        self._places[pod.uid] = KeptPlace(pod.uid, pod.gang, pod.owner, counts, claim.node, claim.holds, refused)
        self._since.pop(pod.uid, None)

    def node_for(self, pod: QueuedPod) -> str:
        """Where a place is kept for a pod; nothing if nowhere."""
        place = self._for(pod)
        return "" if place is None else place.node

    def take(self, pod: QueuedPod) -> None:
        """A pod has a place: what was kept for it is not kept any more."""
        place = self._for(pod)
        if place is not None:
            self._drop(place.uid)

    def expire(self, now: float, *, keep_s: float, refused_s: float) -> Sequence[KeptPlace]:
        """Give up what was kept for long enough; those whose pod's release was refused have a time of their own."""
        over = [
            place
            for uid, place in self._places.items()
            if now - self._since.setdefault(uid, now) >= (refused_s if place.refused else keep_s)
        ]
        for place in over:
            self._drop(place.uid)
        return over

    def forget(self, gang: Gang) -> None:
        """A gang has no pods any more."""
        for uid in [uid for uid, place in self._places.items() if place.gang == gang]:
            self._drop(uid)

    def left(self, inventory: Inventory, pod: QueuedPod | None, node: str, left: LeftRoom) -> LeftRoom:
        """What of a node is left for a pod beside the places kept there for others; `left` is what it is without them.
        None is a pod that is not in the queue.

        A place that is not free, because the slices of who had it are still there, needs no keeping.
        """
        if not self._places:
            return left
        holds = [h for p in self._places.values() if p.node == node and not (pod and p.is_for(pod)) for h in p.holds]
        if not holds or inventory.report(node) is None:
            return left
        after: dict[str, GpuState | None] = dict(left)
        for hold in holds:
            state = after[hold.gpu] if hold.gpu in after else _state(inventory, node, hold.gpu)
            index = None if state is None else state[0].placement_index.get(hold.placement)
            if state is not None and index is not None and state[0].step[state[1], index] >= 0:
                after[hold.gpu] = (state[0], int(state[0].step[state[1], index]))
        return after

    def _for(self, pod: QueuedPod) -> KeptPlace | None:
        if pod.uid in self._places:
            return self._places[pod.uid]
        return next((place for place in self._places.values() if place.is_for(pod)), None)

    def _drop(self, uid: str) -> None:
        del self._places[uid]
        self._since.pop(uid, None)
        self.generation += 1


def _state(inventory: Inventory, node: str, gpu: str) -> GpuState | None:
    return dict(inventory.usable(node)).get(gpu)
