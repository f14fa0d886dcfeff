"""QueueFeed: brings the queue in line with what the watch shows of a pod. Owned by `cluster_cache`.

What a pod shows decides, whatever was known before: a release whose reply was lost is seen by the pod, and so is what
another program did to it. After a restart the queue is rebuilt so from a list: gate, affinity, annotation and node say
all of it.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from allocator.claims import held
from allocator.claims.bound_pod import BoundPod
from allocator.claims.inventory import Inventory
from allocator.claims.ledger import ClaimState
from allocator.claims.placement_annotation import Promise
from allocator.claims.promised_holds import promised_holds
from allocator.claims.refusal import Refusal
from allocator.queueing import spare_places
from allocator.queueing.life import HOLDING, QueueEvent, QueueState
from allocator.queueing.pod_queue import PodQueue
from allocator.queueing.queued_pod import PodController, QueuedPod
from kubeclient.objects import Pod
from scheduler.cache import gang_sources, queued_pods
from scheduler.cache.known_pod import KnownPod

NOT_ADMITTED = "UnexpectedAdmissionError"  # the kubelet's reason where a device plugin's Allocate fails


class QueueFeed:
    """From pods to the queue and the claims of those who have a place."""

    def __init__(self, queue: PodQueue, inventory: Inventory) -> None:
        self._queue = queue
        self._inventory = inventory
        self.on_queued: Callable[[], None] = lambda: None  # told when a pod that waits is new or another than before
        self.on_bound: Callable[[str], None] = lambda _: None  # told the UID of a pod with a place that was bound
        self.on_not_admitted: Callable[[PodController, str], None] = lambda _, __: None  # told whose pod, on which node
        self.pins = True  # whether only pods that are pinned count as released
        self._promised: dict[str, BoundPod] = {}  # released pods, by what they show
        self._spares: dict[str, tuple[BoundPod, ...]] = {}  # the same on their spare nodes, by the names of claims

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
        """A pod is in the queue no more; a place that was only held is given back. One of a gang is kept for a time."""
        claim = self._inventory.ledger.get(uid)
        pod = self._end(uid)
        if pod is not None and pod.gang is not None and pod.gang in self._queue.gangs:
            self._queue.kept.keep(pod, claim)
        if pod is not None and pod.state in HOLDING:
            self._give_back(uid)

    def over(self, pod: Pod) -> None:
        """A pod is over. One that succeeded has no successor, so nothing is kept for any."""
        if pod.status.phase == "Succeeded":
            self._end(pod.metadata.uid)
        elif pod.status.reason == NOT_ADMITTED:
            owner = queued_pods.owner_of(pod)
            if owner is not None:
                self.on_not_admitted(owner, pod.spec.node_name)

    def restore(self) -> None:
        """Claim what released pods were promised and have no claim of; called before anything is decided.

        A promise that cannot be believed makes its pod unbindable.
        """
        for uid, promised in tuple(self._promised.items()):
            if (
                uid in self._promised
                and not self._claim(promised)
                and self._inventory.report(promised.node) is not None
            ):
                self.unbindable(uid)
        for places in self._spares.values():
            for place in places:
                self._inventory.restore(place)  # a pod may do without

    def unbindable(self, uid: str) -> None:
        """A released pod cannot be bound: its place is given back."""
        self._promised.pop(uid, None)
        self._give_spares_back(uid)
        self._queue.apply(uid, QueueEvent.REFUSE)
        self._give_back(uid)

    def give_up(self, uid: str) -> None:
        """A pod's gate was certainly not removed: its place is given back, and it waits again."""
        self._give_spares_back(uid)
        self._queue.apply(uid, QueueEvent.GIVE_UP)
        self._give_back(uid)

    def _bound(self, pod: Pod, known: KnownPod) -> None:
        uid = pod.metadata.uid
        self._promised.pop(uid, None)
        self._give_spares_back(uid)
        before = self._queue.get(uid)
        if before is not None and before.state in HOLDING:
            self.on_bound(uid)
        if not gang_sources.is_of_gang(pod):  # most pods, at each of their changes
            self._end(uid)
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
        promises = queued_pods.promised(pod, known)
        named, spares = queued_pods.named_nodes(known.constraints), queued_pods.spares(pod)
        spares = {there: promised for there, promised in spares.items() if there in named}
        node = self._node_of(known, promises, entry, spares) if promises else ""
        if not node:
            return False
        now = queued_pods.of(pod, known)
        if entry is not None and entry.node not in ("", node):  # an attempt of which nothing was heard won
            self._end(uid)
            self._give_back(uid)
            entry = None
        others = tuple(spares)
        if entry is None:
            self._queue.add(replace(now, state=QueueState.RELEASED, node=node, spares=others))
        else:
            spare_places.give_back(self._inventory, uid, set(entry.spares).difference(others))
            if entry.state is QueueState.QUEUED:
                self._queue.apply(uid, QueueEvent.HOLD, node=node, spares=others)
            self._queue.apply(uid, QueueEvent.RELEASE, node=node, spares=others)
            self._queue.renew(now)
        meta = pod.metadata
        self._promised[uid] = BoundPod(uid, meta.namespace, meta.name, node, now.request, promises)
        self._claim(self._promised[uid])  # if that is not possible yet, `restore` tries again
        self._claim_spares(now, spares)
        return True

    def _claim_spares(self, pod: QueuedPod, spares: Mapping[str, tuple[Promise, ...]]) -> None:
        """Claim what a released pod was promised on further nodes, as far as it is free. Of a pod that is refused
        nothing is claimed anew: a process before may have given its places to others.
        """
        places = tuple(
            BoundPod(spare_places.claim_of(pod.uid, node), pod.namespace, pod.name, node, pod.request, promises)
            for node, promises in spares.items()
        )
        self._spares.pop(pod.uid, None)
        if places and not pod.refusal:
            self._spares[pod.uid] = places
            for place in places:
                self._inventory.restore(place)

    def _claim(self, promised: BoundPod) -> bool:
        """Claim what a released pod was promised; whether it has a claim then.

        Of two pods with one promise a process before gave up the one that kube-scheduler refuses: its pin and its
        annotation stay, and its place went to the other. A place that is another's only one comes before a spare.
        """
        if self._inventory.ledger.get(promised.uid) is not None or self._inventory.restore(promised) is None:
            return True
        report, claiming = self._inventory.report(promised.node), self._queue.get(promised.uid)
        if report is None or claiming is None or claiming.refusal:
            return False
        holds = promised_holds(promised.request, promised.promises, report)
        if isinstance(holds, Refusal):
            return False
        for claim in tuple(self._inventory.ledger.on_node(promised.node)):
            other = self._queue.get(claim.uid)
            given_up = other is not None and other.state is QueueState.RELEASED and bool(other.refusal)
            if not held.overlap(holds, claim.holds):
                continue
            if given_up:
                self.unbindable(claim.uid)
            elif spare_places.is_spare(claim.uid):
                self._inventory.refuse(claim.uid)
        return self._inventory.restore(promised) is None

    def _node_of(
        self, known: KnownPod, promises: Sequence[Promise], entry: QueuedPod | None, spares: Collection[str]
    ) -> str:
        """The node that a pod without gates was released to; empty if we did not release it.

        One that is not pinned lies where its first GPU is, or where it did, or was nominated to.
        """
        pinned = queued_pods.pinned_to(known.constraints, spares)
        if pinned or self.pins:
            return pinned
        there = self._inventory.reporters.holder(promises[0].gpu)
        return there or (entry.node if entry is not None else "") or known.scheduling.nominated_node

    def _end(self, uid: str) -> QueuedPod | None:
        """A pod is in the queue no more, and has no spare places; the pod as it was last."""
        self._promised.pop(uid, None)
        self._give_spares_back(uid)
        return self._queue.end(uid)

    def _give_spares_back(self, uid: str) -> None:
        self._spares.pop(uid, None)
        pod = self._queue.get(uid)
        if pod is not None and pod.spares:
            spare_places.give_back(self._inventory, uid, pod.spares)

    def _give_back(self, uid: str) -> None:
        claim = self._inventory.ledger.get(uid)
        if claim is not None and claim.state is ClaimState.RESERVED:
            self._inventory.refuse(uid)
