"""NominatedPods: the pods that are to come to a node and are not bound yet: those that kube-scheduler has nominated
(`status.nominatedNodeName`), and those for which our queue makes room there.

kube-scheduler nominates a pod after it has evicted others for it, and, from 1.35 on, before a step that takes long. Its
own filters count such a pod as lying there; those of an extender have to do so themselves, or a smaller pod takes the
room.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from kubeclient.objects import Pod

_NAME = 253  # characters; no node's has more


class _Hold(NamedTuple):
    """Where our queue makes room for a pod, and the pods that have to go for it."""

    node: str
    victims: tuple[str, ...]


class NominatedPods:
    """By node, those nominated to it, by UID. Fed by the cache, and by the queue."""

    def __init__(self) -> None:
        self._nodes: dict[str, str] = {}  # by UID
        self._by_node: dict[str, set[str]] = {}
        self._holds: dict[str, _Hold] = {}
        self.generation = 0  # one more each time room is kept for nobody any more

    @property
    def by_node(self) -> Mapping[str, set[str]]:
        """The UIDs of the pods nominated to each node; empty if nobody is nominated."""
        return self._by_node

    def node_of(self, uid: str) -> str:
        """Where a pod is nominated to; empty if nowhere."""
        return self._nodes.get(uid, "")

    def victims_for(self, uid: str) -> Sequence[str] | None:
        """The pods (UIDs) that have to go for a pod for which our queue makes room; None for any other."""
        hold = self._holds.get(uid)
        return hold.victims if hold is not None else None

    def hold(self, uid: str, node: str, victims: Sequence[str]) -> None:
        """Our queue makes room for a pod on a node; this counts more than what the pod shows."""
        self._holds[uid] = _Hold(node, tuple(victims))
        self._put(uid, node)

    def let_go(self, uid: str) -> None:
        """Our queue makes no room for a pod any more."""
        if self._holds.pop(uid, None) is not None:
            self._drop(uid)

    def see(self, pod: Pod) -> bool:
        """Take in what a pod says of itself. Returns whether room that was kept for it is free for others now."""
        uid, waits = pod.metadata.uid, not pod.spec.node_name and pod.metadata.deletion_timestamp is None
        node = pod.status.nominated_node_name if waits and not pod.is_over else ""
        if len(node) > _NAME:
            node = ""
        if uid in self._holds:
            if waits and not pod.is_over:
                return False
            del self._holds[uid]
        before = self._nodes.get(uid, "")
        if node == before:
            return False
        self._put(uid, node)
        return bool(before) and pod.spec.node_name != before

    def forget(self, uid: str) -> bool:
        """A pod is gone. Returns whether room was kept for it."""
        self._holds.pop(uid, None)
        return self._drop(uid)

    def of(self, node: str) -> Sequence[str]:
        """The UIDs of the pods nominated to a node."""
        return tuple(sorted(self._by_node.get(node, ())))

    def _put(self, uid: str, node: str) -> None:
        self._drop(uid)
        if node:
            self._nodes[uid] = node
            self._by_node.setdefault(node, set()).add(uid)

    def _drop(self, uid: str) -> bool:
        node = self._nodes.pop(uid, "")
        if not node:
            return False
        self.generation += 1
        self._by_node[node].discard(uid)
        if not self._by_node[node]:
            del self._by_node[node]
        return True
