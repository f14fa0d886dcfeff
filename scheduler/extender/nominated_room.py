"""NominatedRoom: what pods that come first leave of a node to others: those nominated to it, those in the queue that
have a reservation there, and those that are to take the place of a gang's pod. Asked by filter, bind and preempt, by
the queue, and by explain.

kube-scheduler evicts pods for a nominated pod, and its own filters then keep what it counts for it: slices of one
profile. Where they lie it does not see, so a pod of another profile would take the place, often the one that the
victim's owner has made anew, and each such theft costs one more eviction.

As in kube-scheduler, a pod has to leave room for those of higher priority, and for those of equal priority unless it is
nominated to the same node itself. Where nobody is nominated, nothing is looked at.

A reservation of the queue keeps out the pods that stand behind it, wherever they come from (docs/adr/0020).
"""

from collections.abc import Container, Sequence
from collections.abc import Set as AbstractSet

from allocator.placement import fitting, room
from allocator.placement.fitting import GpuState
from allocator.placement.room import ALL_ROOM, LeftRoom
from allocator.planning import preemption
from allocator.planning.preemption import NominatedPod
from allocator.queueing import queued_pod, reservation
from allocator.queueing.queued_pod import Order
from allocator.request import Request
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.known_pod import KnownPod
from scheduler.extender import evictable

_Key = tuple[tuple[GpuState, ...], tuple[tuple[str, Sequence[str] | None], ...], frozenset[str]]


class NominatedRoom:
    """Answers are kept for each node until its GPUs, its nominated pods or those on their way out change."""

    def __init__(self, state: ClusterCache) -> None:
        self._state = state
        self._answers: dict[str, tuple[_Key, LeftRoom]] = {}

    @property
    def keeps_any(self) -> bool:
        """Whether room is kept for any pod at all."""
        queue = self._state.queue
        return bool(self._state.nominated.by_node or len(queue.reservations) or len(queue.kept))

    def refusing(self, pod: KnownPod, nominated_node: str, names: Container[str]) -> frozenset[str]:
        """Those of the nodes that have room for a pod, but none beside the pods that come first there.

        `nominated_node` is where the pod is nominated itself.
        """
        if not self.keeps_any or not pod.request:
            return frozenset()
        nominated, reservations = self._state.nominated.by_node, self._state.queue.reservations
        for forgotten in self._answers.keys() - nominated.keys():
            del self._answers[forgotten]
        nodes = nominated.keys() | reservations.nodes(pod.uid, _order(pod)) | self._state.queue.kept.nodes
        return frozenset(
            node for node in nodes if node in names and self._is_kept(pod, pod.request, nominated_node, node)
        )

    def left(self, pod: KnownPod, node: str, nominated_node: str = "") -> LeftRoom:
        """What the pods that come first on a node leave of it to this pod."""
        reserved = self._state.queue.reservations.left(self._state.inventory, node, pod.uid, _order(pod))
        nominated = self._beside_nominated(pod, node, nominated_node)
        left = reservation.common_room(nominated, reserved) if nominated and reserved else nominated or reserved
        queue = self._state.queue
        return queue.kept.left(self._state.inventory, queue.get(pod.uid), node, left)

    def is_reserved(self, pod: KnownPod, node: str) -> bool:
        """Whether it is a reservation, and no nominated pod, that keeps a pod out of a node."""
        return not self._before(pod, node, "") and node in self._state.inventory.fleet

    def first_on(self, pod: KnownPod, node: str) -> Sequence[KnownPod]:
        """The pods that this one must leave room for on a node: nominated there, or with a reservation that stands
        before it.
        """
        reservations = self._state.queue.reservations.before(pod.uid, _order(pod))
        places = {place.uid for made in reservations for place in made.places if place.node == node}
        reserved = [self._state.pods[uid] for uid in sorted(places & self._state.pods.keys())]
        return [*self._before(pod, node, pod.scheduling.nominated_node), *reserved]

    def _beside_nominated(self, pod: KnownPod, node: str, nominated_node: str) -> LeftRoom:
        others = self._before(pod, node, nominated_node)
        if not others or node not in self._state.inventory.fleet:
            return ALL_ROOM
        leaving = evictable.leaving(self._state, node)
        uids = tuple((other.uid, self._state.nominated.victims_for(other.uid)) for other in others)
        key = (self._state.inventory.fleet.gpus(node), uids, leaving)
        known = self._answers.get(node)
        if known is None or known[0] != key:
            left = preemption.left_room(self._state.inventory, node, leaving, self._nominated(node, others))
            known = self._answers[node] = (key, left)
        return known[1]

    def settle(self, pod: KnownPod, node: str, leaving: frozenset[str]) -> tuple[AbstractSet[str], Sequence[Request]]:
        """Who is gone from a node once those `leaving` are and the pods nominated there have come, and what these take:
        those that this one must leave room for.
        """
        others = self._nominated(node, self._before(pod, node, ""))
        return preemption.settle(self._state.inventory, node, leaving, others)

    def has_room(self, pod: KnownPod, request: Request, node: str) -> bool:
        """Whether a node has room for a pod now, beside the pods nominated there."""
        if node not in self._state.inventory.fleet:
            return False
        left = self.left(pod, node)
        return self._fits(request, node, left) if left else _fits(self._state.inventory.fleet.gpus(node), request)

    def _before(self, pod: KnownPod, node: str, nominated_node: str) -> Sequence[KnownPod]:
        """The pods nominated to a node that have no claim yet and that this one must leave room for, the most important
        first.
        """
        if node not in self._state.nominated.by_node:
            return ()
        own = nominated_node or self._state.nominated.node_of(pod.uid)
        least = pod.priority + (own == node)
        known = (self._state.pods.get(uid) for uid in self._state.nominated.of(node) if uid != pod.uid)
        others = [
            other
            for other in known
            if other is not None
            and other.request
            and other.priority >= least
            and self._state.inventory.ledger.get(other.uid) is None
        ]
        return sorted(others, key=lambda other: (-other.priority, other.uid))

    def _nominated(self, node: str, pods: Sequence[KnownPod]) -> Sequence[NominatedPod]:
        lower = ((pod, self._victims_of(pod, node)) for pod in pods)
        return [
            NominatedPod(pod.request or Request(), tuple(map(evictable.candidate, others))) for pod, others in lower
        ]

    def _victims_of(self, pod: KnownPod, node: str) -> Sequence[KnownPod]:
        """Who may have to go for a nominated pod: those chosen, where our queue evicts for it."""
        chosen = self._state.nominated.victims_for(pod.uid)
        if chosen is None:
            return evictable.below(self._state, node, pod.priority)
        return [self._state.pods[uid] for uid in chosen if uid in self._state.pods]

    def _is_kept(self, pod: KnownPod, request: Request, nominated_node: str, node: str) -> bool:
        left = self.left(pod, node, nominated_node)
        if not left:
            return False
        return _fits(self._state.inventory.fleet.gpus(node), request) and not self._fits(request, node, left)

    def _fits(self, request: Request, node: str, left: LeftRoom) -> bool:
        usable = tuple(self._state.inventory.gpus_without(node, frozenset()).items())
        return _fits([state for _, state in room.remaining(usable, left)], request)


def _fits(gpus: Sequence[GpuState], request: Request) -> bool:
    try:
        return bool(gpus) and fitting.fits(gpus, dict(request.counts))
    except fitting.TooComplexError:
        return False


def _order(pod: KnownPod) -> Order:
    """Where a pod would stand in the queue, gated or not."""
    return queued_pod.order(pod.priority, pod.scheduling.created, pod.namespace, pod.name)
