"""UsedAmounts: what the pods of each node ask for of CPU, memory, ephemeral storage and pods; all pods, not ours alone.
Beside it, what other pods have to know of them (`placed`).

Kept for every bound pod of the cluster, so it is small: about 300 bytes each, most of them the pod's UID. As
kube-scheduler counts, a pod that terminates still takes its part, and one that is over does not.
"""

import sys
from collections.abc import Collection

from allocator.eligibility.amounts import NOTHING, Amounts
from allocator.eligibility.constraints import PodConstraints
from allocator.eligibility.placed_pods import PlacedPods
from kubeclient.objects import Pod
from scheduler.cache import placed_pod, pod_constraints


class UsedAmounts:
    """The bound pods that a watch has shown, and what they ask for, summed by node."""

    def __init__(self) -> None:
        self._of_pod: dict[str, tuple[str, Amounts | None]] = {}
        self._of_node: dict[str, Amounts] = {}
        self.placed = PlacedPods()
        self._unread: dict[str, int] = {}  # nodes with pods whose requests cannot be read, and how many
        self.generation = 0  # one more each time a pod gives back what it took
        self.complete = False  # whether a list has shown all pods

    def __len__(self) -> int:
        return len(self._of_pod)

    def of(self, node: str) -> Amounts | None:
        """What the pods of a node ask for; None where that is not known of all of them."""
        return self._of_node.get(node, NOTHING) if self.complete and node not in self._unread else None

    def of_pod(self, uid: str, node: str) -> Amounts:
        """What a pod of a node asks for; nothing if it is not there, or that cannot be read."""
        of_node, amounts = self._of_pod.get(uid, ("", None))
        return amounts if of_node == node and amounts is not None else NOTHING

    def see(self, pod: Pod, constraints: PodConstraints | None = None) -> None:
        """A pod as a watch shows it; `constraints` are its own, where they have been read already."""
        uid, node = pod.metadata.uid, sys.intern(pod.spec.node_name)
        if not node or pod.is_over:
            self.forget(uid)
            return
        self.placed.put(uid, placed_pod.of(pod), node)
        known = constraints is not None and not constraints.unjudged  # else its requests may not be among what was read
        self.put(uid, node, constraints.requests if constraints and known else pod_constraints.requests_of(pod))

    def put(self, uid: str, node: str, amounts: Amounts | None) -> None:
        """A pod on a node asks for so much; None if that cannot be read."""
        if self._of_pod.get(uid) != (node, amounts):
            self._take_off(uid)
            self._of_pod[uid] = (node, amounts)
            self._add(node, amounts, 1)

    def forget(self, uid: str) -> None:
        """A pod is gone, or on no node."""
        self.placed.leave(uid)
        self._take_off(uid)

    def unlisted(self, listed: Collection[str]) -> list[str]:
        """The pods that a list does not show any more."""
        return [uid for uid in self._of_pod if uid not in listed]

    def _take_off(self, uid: str) -> None:
        known = self._of_pod.pop(uid, None)
        if known is not None:
            self.generation += 1
            self._add(known[0], known[1], -1)

    def _add(self, node: str, amounts: Amounts | None, sign: int) -> None:
        if amounts is None:
            self._unread[node] = self._unread.get(node, 0) + sign
            if not self._unread[node]:
                del self._unread[node]
            return
        before = self._of_node.pop(node, NOTHING)
        after = before + amounts if sign > 0 else before - amounts
        if after != NOTHING:
            self._of_node[node] = after
