"""UnadoptedPods: bound pods whose promised placement could not be taken over, yet. Owned by `inventory`."""

from collections.abc import Iterator, Sequence

from allocator.claims.bound_pod import BoundPod


class UnadoptedPods:
    """By node and UID."""

    def __init__(self) -> None:
        self._by_node: dict[str, dict[str, BoundPod]] = {}

    def __iter__(self) -> Iterator[BoundPod]:
        return (pod for pods in self._by_node.values() for pod in pods.values())

    def on_node(self, node: str) -> Sequence[BoundPod]:
        """Those of a node, in the order in which they came."""
        return tuple(self._by_node.get(node, {}).values())

    def add(self, pod: BoundPod) -> None:
        """A pod waits; one that waits already is replaced."""
        self._by_node.setdefault(pod.node, {})[pod.uid] = pod

    def forget(self, uid: str, node: str = "") -> None:
        """A pod waits no more, on this node or, where that is empty, on any; an unknown one is no error."""
        for name in [node] if node else list(self._by_node):
            pods = self._by_node.get(name, {})
            pods.pop(uid, None)
            if not pods:
                self._by_node.pop(name, None)
