"""GpuReporters: which nodes report which GPU. Kept by inventory.

A board is in one machine. If two nodes report the same UUID, one of the reports is a copy or stale, and it is unknown
which: the GPU takes no new work on either, or its slots would be promised twice.
"""

from collections.abc import Iterable, Mapping


class GpuReporters:
    """The nodes that report each GPU, by UUID."""

    def __init__(self) -> None:
        self._nodes: dict[str, set[str]] = {}
        self._gpus: dict[str, frozenset[str]] = {}

    def report(self, node: str, gpus: Iterable[str]) -> Mapping[str, frozenset[str]]:
        """Note all GPUs that a node reports by now. Returns those of other nodes that must be judged again for it."""
        before, after = self._gpus.get(node, frozenset()), frozenset(gpus)
        changed: dict[str, set[str]] = {}
        for gpu in before ^ after:
            reporters = self._nodes.setdefault(gpu, set())
            reporters ^= {node}
            for other in reporters - {node}:
                changed.setdefault(other, set()).add(gpu)
            if not reporters:
                del self._nodes[gpu]
        if after:
            self._gpus[node] = after
        else:
            self._gpus.pop(node, None)
        return {other: frozenset(uuids) for other, uuids in changed.items()}

    def elsewhere(self, node: str, gpu: str) -> str | None:
        """Another node that reports a GPU, the first by name; None if no other does."""
        return min(self._nodes.get(gpu, set()) - {node}, default=None)
