"""PodQueue: all queued pods, each one's state, and the order in which they are placed.

Owned by the scheduler's cache, driven by its queueing cycle, asked by explanations. The only way to change a pod's
state is an event of `life.TRANSITIONS`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from allocator import errors
from allocator.eligibility.amounts import NOTHING, Amounts
from allocator.queueing.life import HOLDING, TRANSITIONS, QueueEvent, QueueState
from allocator.queueing.queued_pod import Gang, QueuedPod


class PodQueue:
    """Queued pods by UID."""

    def __init__(self) -> None:
        self._pods: dict[str, QueuedPod] = {}
        self._gangs: dict[Gang, set[str]] = {}
        self._on_node: dict[str, set[str]] = {}  # pods that have a place there and are not bound

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
        """A queued pod as it is now; its state and node stay. Raises LedgerError if it is not queued."""
        known = self._known(pod.uid)
        if known.gang != pod.gang:
            self._leave_gang(known)
        self._put(replace(pod, state=known.state, node=known.node))

    def apply(self, uid: str, event: QueueEvent, *, node: str = "") -> QueuedPod | None:
        """Let an event happen; the pod after it, or None where it leaves the queue.

        `node` is where its place is, for an event after which it has one. Raises LedgerError, and changes nothing, for
        an event that the pod's state does not have.
        """
        pod = self._known(uid)
        if (pod.state, event) not in TRANSITIONS:
            raise errors.LedgerError(f"{pod.title}: cannot {event.value} a pod that is {pod.state.value}")
        after = TRANSITIONS[pod.state, event]
        if after is None:
            del self._pods[uid]
            self._leave_gang(pod)
            self._leave_node(pod)
            return None
        place = (node or pod.node) if after in HOLDING else ""
        return self._put(replace(pod, state=after, node=place))

    def end(self, uid: str) -> QueuedPod | None:
        """A pod is in the queue no more, if it was; the pod as it was last."""
        pod = self._pods.get(uid)
        if pod is not None:
            self.apply(uid, QueueEvent.END)
        return pod

    def waiting(self) -> Sequence[Sequence[QueuedPod]]:
        """What is to be placed, in order: single pods, and gangs that are complete, each all at once.

        A gang stands where its first pod stands. Pods of a gang that have a place already are not in it any more.
        """
        queued = sorted((pod for pod in self._pods.values() if pod.state is QueueState.QUEUED), key=_order)
        units: dict[Gang | str, list[QueuedPod]] = {}  # a dictionary keeps the order of the first pods
        for pod in queued:
            units.setdefault(pod.gang or pod.uid, []).append(pod)
        return [unit for unit in units.values() if unit[0].gang is None or not self.missing(unit[0].gang)]

    def missing(self, gang: Gang) -> int:
        """How many pods of a gang are not there yet, gated or released or bound."""
        return max(0, gang.size - len(self._gangs.get(gang, ())))

    def amounts_on(self, node: str) -> Amounts:
        """What the pods ask for that have a place on a node and are not bound to it yet, slices aside."""
        return sum((self._pods[uid].constraints.requests for uid in self._on_node.get(node, ())), NOTHING)

    def position(self, uid: str) -> int:
        """How many pods that have no place yet come before this one."""
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
            if pod.node:
                nodes.setdefault(pod.node, set()).add(uid)
        if gangs != self._gangs or nodes != self._on_node:
            raise errors.LedgerError("the queue's index of gangs or nodes is wrong")

    def _known(self, uid: str) -> QueuedPod:
        pod = self._pods.get(uid)
        if pod is None:
            raise errors.LedgerError(f"pod {uid} is not queued")
        return pod

    def _put(self, pod: QueuedPod) -> QueuedPod:
        if bool(pod.node) is not (pod.state in HOLDING):
            raise errors.LedgerError(f"{pod.title} cannot be {pod.state.value} on node {pod.node!r}")
        before = self._pods.get(pod.uid)
        if before is not None and before.node != pod.node:
            self._leave_node(before)
        self._pods[pod.uid] = pod
        if pod.node:
            self._on_node.setdefault(pod.node, set()).add(pod.uid)
        if pod.gang is not None:
            self._gangs.setdefault(pod.gang, set()).add(pod.uid)
        return pod

    def _leave_node(self, pod: QueuedPod) -> None:
        if pod.node:
            there = self._on_node[pod.node]
            there.discard(pod.uid)
            if not there:
                del self._on_node[pod.node]

    def _leave_gang(self, pod: QueuedPod) -> None:
        if pod.gang is not None:
            members = self._gangs[pod.gang]
            members.discard(pod.uid)
            if not members:
                del self._gangs[pod.gang]


def _order(pod: QueuedPod) -> tuple[int, str, str, str]:
    return pod.order
