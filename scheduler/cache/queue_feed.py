"""QueueFeed: brings the queue in line with what the watch shows of a pod. Owned by `cluster_cache`.

What a pod shows decides, whatever was known before: a release whose reply was lost is seen by the pod, and so is what
another program did to it. After a restart the queue is rebuilt so from a list: gate, affinity, annotation and node say
all of it.
"""

from collections.abc import Callable
from dataclasses import replace

from allocator import errors
from allocator.claims.bound_pod import BoundPod
from allocator.claims.inventory import Inventory
from allocator.claims.ledger import ClaimState
from allocator.queueing.life import HOLDING, QueueEvent, QueueState
from allocator.queueing.pod_queue import PodQueue
from kubeclient.objects import Pod
from scheduler.cache import queued_pods
from scheduler.cache.known_pod import KnownPod


class QueueFeed:
    """From pods to the queue and the claims of those who have a place."""

    def __init__(self, queue: PodQueue, inventory: Inventory) -> None:
        self._queue = queue
        self._inventory = inventory
        self.on_queued: Callable[[], None] = lambda: None  # told when a pod that waits is new or another than before
        self._promised: dict[str, BoundPod] = {}  # released pods, by what they show

    def see(self, pod: Pod, known: KnownPod) -> None:
        """A pod that is not over, as it is now."""
        uid = pod.metadata.uid
        if pod.spec.node_name:
            self._bound(pod, known)
        elif known.terminating:
            self.gone(uid)
        elif queued_pods.is_gated_by_us(known):
            self._gated(pod, known)
        elif known.gated or not self._released(pod, known):
            self.gone(uid)

    def gone(self, uid: str) -> None:
        """A pod is in the queue no more; a place that was only held is given back."""
        self._promised.pop(uid, None)
        pod = self._queue.end(uid)
        if pod is not None and pod.state in HOLDING:
            self._give_back(uid)

    def restore(self) -> None:
        """Claim what released pods were promised and have no claim of; called before anything is decided.

        A promise that cannot be believed makes its pod unbindable.
        """
        for uid, promised in tuple(self._promised.items()):
            if self._inventory.ledger.get(uid) is None:
                refusal = self._inventory.restore(promised)
                if refusal is not None and self._inventory.report(promised.node) is not None:
                    self.unbindable(uid)

    def unbindable(self, uid: str) -> None:
        """A released pod cannot be bound: its place is given back."""
        self._promised.pop(uid, None)
        self._queue.apply(uid, QueueEvent.REFUSE)
        self._give_back(uid)

    def give_up(self, uid: str) -> None:
        """A pod's gate was certainly not removed: its place is given back, and it waits again."""
        self._queue.apply(uid, QueueEvent.GIVE_UP)
        self._give_back(uid)

    def _bound(self, pod: Pod, known: KnownPod) -> None:
        uid = pod.metadata.uid
        self._promised.pop(uid, None)
        if not queued_pods.is_of_gang(pod):  # most pods, at each of their changes
            self._queue.end(uid)
        elif uid in self._queue:
            self._queue.apply(uid, QueueEvent.BIND)
        else:
            self._queue.add(replace(queued_pods.of(pod, known), state=QueueState.BOUND))

    def _gated(self, pod: Pod, known: KnownPod) -> None:
        entry = self._queue.get(pod.metadata.uid)
        now = queued_pods.of(pod, known)
        if entry is None:
            self._queue.add(now)
            self.on_queued()
        elif entry.state is QueueState.QUEUED:
            self._queue.renew(now)
            self.on_queued()
        elif entry.state is QueueState.HELD:  # else the event is older than our release
            self._queue.renew(now)

    def _released(self, pod: Pod, known: KnownPod) -> bool:
        """A pod without gates and node: whether it is one that was released here, now or by a process before."""
        uid = pod.metadata.uid
        entry = self._queue.get(uid)
        if entry is not None and entry.state is QueueState.UNBINDABLE:
            return True
        try:
            promised = queued_pods.promised(pod, known)
        except errors.ContractError:
            promised = None
        if promised is None:
            return False
        node, promises = promised
        now = queued_pods.of(pod, known)
        if entry is not None and entry.node not in ("", node):  # an attempt of which nothing was heard won
            self._queue.end(uid)
            self._give_back(uid)
            entry = None
        if entry is None:
            self._queue.add(replace(now, state=QueueState.RELEASED, node=node))
        else:
            if entry.state is QueueState.QUEUED:
                self._queue.apply(uid, QueueEvent.HOLD, node=node)
            self._queue.apply(uid, QueueEvent.RELEASE)
            self._queue.renew(now)
        meta = pod.metadata
        self._promised[uid] = BoundPod(uid, meta.namespace, meta.name, node, now.request, promises)
        if self._inventory.ledger.get(uid) is None:
            self._inventory.restore(self._promised[uid])  # if that is not possible yet, `restore` tries again
        return True

    def _give_back(self, uid: str) -> None:
        claim = self._inventory.ledger.get(uid)
        if claim is not None and claim.state is ClaimState.RESERVED:
            self._inventory.refuse(uid)
