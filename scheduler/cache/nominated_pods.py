"""NominatedPods: the pods that kube-scheduler has nominated to a node and not bound yet (`status.nominatedNodeName`).

It nominates a pod after it has evicted others for it, and, from 1.35 on, before a step that takes long. Its own filters
count such a pod as lying there; those of an extender have to do so themselves, or a smaller pod takes the room.
"""

from collections.abc import Mapping, Sequence

from kubeclient.objects import Pod

_NAME = 253  # characters; no node's has more


class NominatedPods:
    """By node, those nominated to it, by UID. Fed by the cache."""

    def __init__(self) -> None:
        self._nodes: dict[str, str] = {}  # by UID
        self._by_node: dict[str, set[str]] = {}

    @property
    def by_node(self) -> Mapping[str, set[str]]:
        """The UIDs of the pods nominated to each node; empty if nobody is nominated."""
        return self._by_node

    def node_of(self, uid: str) -> str:
        """Where a pod is nominated to; empty if nowhere."""
        return self._nodes.get(uid, "")

    def see(self, pod: Pod) -> bool:
        """Take in what a pod says of itself. Returns whether room that was kept for it is free for others now."""
        uid, waits = pod.metadata.uid, not pod.spec.node_name and pod.metadata.deletion_timestamp is None
        node = pod.status.nominated_node_name if waits and not pod.is_over else ""
        if len(node) > _NAME:
            node = ""
        before = self._nodes.get(uid, "")
        if node == before:
            return False
        self.forget(uid)
        if node:
            self._nodes[uid] = node
            self._by_node.setdefault(node, set()).add(uid)
        return bool(before) and pod.spec.node_name != before

    def forget(self, uid: str) -> bool:
        """A pod is gone. Returns whether room was kept for it."""
        node = self._nodes.pop(uid, "")
        if not node:
            return False
        self._by_node[node].discard(uid)
        if not self._by_node[node]:
            del self._by_node[node]
        return True

    def of(self, node: str) -> Sequence[str]:
        """The UIDs of the pods nominated to a node."""
        return tuple(sorted(self._by_node.get(node, ())))
