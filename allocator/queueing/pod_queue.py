"""PodQueue: all queued pods, each one's state, and the order in which they are placed.

Owned by the scheduler's cache, driven by its queueing cycle, asked by explanations. The only way to change a pod's
state is an event of `life.TRANSITIONS`.
"""

import bisect
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from allocator import errors
from allocator.eligibility.amounts import NOTHING, Amounts
from allocator.eligibility.constraints import VolumeTopology
from allocator.eligibility.placed_pods import PlacedPods
from allocator.queueing.gang import Gang, Gangs
from allocator.queueing.kept_places import KeptPlaces
from allocator.queueing.life import HOLDING, TRANSITIONS, QueueEvent, QueueState
from allocator.queueing.queued_pod import Order, QueuedPod
from allocator.queueing.reservations import Reservations

PLACED = HOLDING | {QueueState.BOUND}  # states of a gang's pods that have what they need


@dataclass(frozen=True, slots=True)
class Remark:
    """What stands in a pod's way: a code, as explanations have them, and a sentence."""

    code: str
    sentence: str


class PodQueue:
    """Queued pods by UID, and the reservations of those that wait.

    `placed` is told of the places that are held for them.
    """

    def __init__(self, placed: PlacedPods | None = None) -> None:
        self._placed = PlacedPods() if placed is None else placed
        self._pods: dict[str, QueuedPod] = {}
        self.volumes: dict[str, tuple[VolumeTopology, ...] | None] = {}  # of pods with claims; None: cannot be read
        self._remarks: dict[str, Remark] = {}
        self.gangs = Gangs()
        self.kept = KeptPlaces()  # for pods of gangs that come in the stead of others
        self._on_node: dict[str, set[str]] = {}  # pods that have a place there and are not bound
        self._line: list[tuple[Order, str]] = []  # those without a place, by UID, in order
        self._stood: Mapping[str, int] = {}  # how many came before whom when the queue was last looked at
        self.reservations = Reservations()

    def __len__(self) -> int:
        return len(self._pods)

    def __contains__(self, uid: str) -> bool:
        return uid in self._pods

    def __iter__(self) -> Iterator[QueuedPod]:
        return iter(self._pods.values())

    def get(self, uid: str) -> QueuedPod | None:
        """A queued pod, or None."""
        return self._pods.get(uid)

    def add(self, pod: QueuedPod) -> None:
        """A pod comes into the queue. Raises LedgerError if it is there already or its state and node contradict."""
        if pod.uid in self._pods:
            raise errors.LedgerError(f"{pod.title}: pod {pod.uid} is queued already")
        self._put(pod)

    def renew(self, pod: QueuedPod) -> None:
        """A queued pod as it is now; its state and nodes stay. Raises LedgerError if it is not queued."""
        known = self._known(pod.uid)
        if known.gang != pod.gang:
            self._leave_gang(known)
        self._put(replace(pod, state=known.state, node=known.node, spares=known.spares))

    def apply(self, uid: str, event: QueueEvent, *, node: str = "", spares: tuple[str, ...] = ()) -> QueuedPod | None:
        """Let an event happen; the pod after it, or None where it leaves the queue.

        `node` is where its place is, for an event after which it has one, and `spares` other nodes where it has one
        too. Raises LedgerError, and changes nothing, for an event that the pod's state does not have.
        """
        pod = self._known(uid)
        if (pod.state, event) not in TRANSITIONS:
            raise errors.LedgerError(f"{pod.title}: cannot {event.value} a pod that is {pod.state.value}")
        after = TRANSITIONS[pod.state, event]
        self._remarks.pop(uid, None)
        if after is not QueueState.QUEUED:
            self.reservations.leave(uid)
        if after is None:
            del self._pods[uid]
            self._leave_line(pod)
            self.volumes.pop(uid, None)
            self._leave_gang(pod)
            self._leave_nodes(pod)
            return None
        if after not in HOLDING:
            node, spares = "", ()
        elif not node:
            node, spares = pod.node, pod.spares
        return self._put(replace(pod, state=after, node=node, spares=spares))

    def end(self, uid: str) -> QueuedPod | None:
        """A pod is in the queue no more, if it was; the pod as it was last."""
        pod = self._pods.get(uid)
        if pod is not None:
            self.apply(uid, QueueEvent.END)
        return pod

    def remark(self, uid: str, remark: Remark | None) -> None:
        """Note what stands in a waiting pod's way beside the room, for people; None for nothing."""
        if remark is None or uid not in self._pods:
            self._remarks.pop(uid, None)
        else:
            self._remarks[uid] = remark

    def remark_of(self, uid: str) -> Remark | None:
        """What was noted last of a pod that still waits."""
        return self._remarks.get(uid)

    def waiting(self) -> Sequence[Sequence[QueuedPod]]:
        """What is to be placed, in order: single pods, and gangs that are complete, each all at once.

        A gang stands where its first pod stands; one that is paused, behind all others of its priority. It is as many
        of its pods as have to start together, less those that have a place already. The pods beyond are single ones.
        """
        ordered = [self._pods[uid] for _, uid in self._line]
        if self.gangs.paused:
            ordered.sort(key=self._order)
        units: dict[Gang | str, list[QueuedPod]] = {}  # a dictionary keeps the order of the first pods
        needed: dict[Gang, Counter[str]] = {}  # by part
        for pod in ordered:
            if pod.gang is None:
                units[pod.uid] = [pod]
                continue
            if pod.gang not in needed:
                needed[pod.gang] = self._needed(pod.gang)
            if not needed[pod.gang] and pod.gang not in units:
                units[pod.uid] = [pod]
            elif needed[pod.gang][pod.part]:
                needed[pod.gang] -= Counter((pod.part,))
                units.setdefault(pod.gang, []).append(pod)
        return [unit for unit in units.values() if unit[0].gang is None or not self.missing(unit[0].gang)]

    def missing(self, gang: Gang) -> int:
        """How many pods of a gang are not there yet, gated or released or bound; 1 while its size is not known."""
        sizes = self.gangs.sizes(gang)
        if sizes is None:
            return 1
        return (Counter(sizes) - self._members(gang, frozenset(QueueState) - {QueueState.UNBINDABLE})).total()

    def _needed(self, gang: Gang) -> Counter[str]:
        """How many pods of a gang still have to get a place together, by part."""
        return Counter(self.gangs.sizes(gang) or {}) - self._members(gang, PLACED)

    def _members(self, gang: Gang, states: frozenset[QueueState]) -> Counter[str]:
        """How many pods of a gang are in these states, by part."""
        pods = (self._pods[uid] for uid in self.gangs.of(gang))
        return Counter(pod.part for pod in pods if pod.state in states)

    def _order(self, pod: QueuedPod) -> tuple[int, bool, tuple[int, str, str, str]]:
        return -pod.priority, pod.gang in self.gangs.paused, pod.order

    def amounts_on(self, node: str) -> Amounts:
        """What the pods ask for that have a place on a node and are not bound to it yet, slices aside."""
        return sum((self._pods[uid].constraints.requests for uid in self._on_node.get(node, ())), NOTHING)

    def stood(self, before: Mapping[str, int]) -> None:
        """The queue was looked at: how many pods without a place came before which, by UID."""
        self._stood = before

    def position(self, uid: str) -> int:
        """How many pods that have no place yet come before this one; as it stood when the queue was last looked at."""
        if uid in self._stood:
            return self._stood[uid]
        order = self._known(uid).order
        return sum(pod.state is QueueState.QUEUED and pod.order < order for pod in self._pods.values())

    def check(self) -> None:
        """Raise LedgerError if a state and a node contradict each other, or the index of gangs is wrong."""
        gangs: dict[Gang, set[str]] = {}
        nodes: dict[str, set[str]] = {}
        for uid, pod in self._pods.items():
            if uid != pod.uid or bool(pod.node) is not (pod.state in HOLDING):
                raise errors.LedgerError(f"{pod.title} is {pod.state.value}, on node {pod.node!r}")
            if pod.gang is not None:
                gangs.setdefault(pod.gang, set()).add(uid)
            if len(set(pod.nodes)) != len(pod.nodes) or (pod.spares and not pod.node):
                raise errors.LedgerError(f"{pod.title} has spare places on {pod.spares}, beside node {pod.node!r}")
            for node in pod.nodes:
                nodes.setdefault(node, set()).add(uid)
        waiting = sorted((pod.order, uid) for uid, pod in self._pods.items() if pod.state is QueueState.QUEUED)
        if gangs != self.gangs.members or nodes != self._on_node or waiting != self._line:
            raise errors.LedgerError("the queue's order, or its index of gangs or nodes, is wrong")
        for _, made in self.reservations:
            if any(uid not in self._pods or self._pods[uid].state is not QueueState.QUEUED for uid in made.pods):
                raise errors.LedgerError("a place is reserved for a pod that does not wait")

    def _known(self, uid: str) -> QueuedPod:
        pod = self._pods.get(uid)
        if pod is None:
            raise errors.LedgerError(f"pod {uid} is not queued")
        return pod

    def _put(self, pod: QueuedPod) -> QueuedPod:
        if bool(pod.node) is not (pod.state in HOLDING):
            raise errors.LedgerError(f"{pod.title} cannot be {pod.state.value} on node {pod.node!r}")
        before = self._pods.get(pod.uid)
        if before is not None and before.nodes != pod.nodes:
            self._leave_nodes(before)
        if before is not None:
            self._leave_line(before)
        self._pods[pod.uid] = pod
        if pod.state is QueueState.QUEUED:
            bisect.insort(self._line, (pod.order, pod.uid))
        for node in pod.nodes:
            self._on_node.setdefault(node, set()).add(pod.uid)
        if pod.node:
            self._placed.hold(pod.uid, pod.placed_as, pod.node)
        if pod.gang is not None:
            self.gangs.join(pod.gang, pod.uid)
        return pod

    def _leave_line(self, pod: QueuedPod) -> None:
        if pod.state is QueueState.QUEUED:
            del self._line[bisect.bisect_left(self._line, (pod.order, pod.uid))]

    def _leave_nodes(self, pod: QueuedPod) -> None:
        if pod.node:
            self._placed.release(pod.uid)
        for node in pod.nodes:
            there = self._on_node[node]
            there.discard(pod.uid)
            if not there:
                del self._on_node[node]

    def _leave_gang(self, pod: QueuedPod) -> None:
        if pod.gang is not None:
            self.gangs.leave(pod.gang, pod.uid)
            if pod.gang not in self.gangs:
                self.kept.forget(pod.gang)
