"""GpuReporters: which nodes report which GPU, and which of them has it. Kept by inventory.

A board is in one machine. If two nodes report the same UUID, one of the reports is a copy, stale, or a lie, and its
node must not take a GPU out of service elsewhere: the node that reported it first has it, with the claims on it, until
it is gone or reports it no more. After a restart it is not known who was first, since a list has no order of time;
`settle` then decides by what is stable: claims on the GPU, the age of the MigNode, its name.
"""

from collections.abc import Iterable, Mapping

from allocator import errors


class GpuReporters:
    """The nodes that report each GPU, by UUID, the one that has it first."""

    def __init__(self) -> None:
        self._nodes: dict[str, dict[str, None]] = {}
        self._gpus: dict[str, frozenset[str]] = {}
        self._created: dict[str, str] = {}  # by node, when its MigNode was made, as Kubernetes writes it

    def report(self, node: str, gpus: Iterable[str], created: str = "") -> Mapping[str, frozenset[str]]:
        """Note all GPUs that a node reports by now. Returns those of other nodes that must be judged again for it."""
        before, after = self._gpus.get(node, frozenset()), frozenset(gpus)
        changed: dict[str, set[str]] = {}
        for gpu in before ^ after:
            reporters = self._nodes.setdefault(gpu, {})
            holder = next(iter(reporters), node)
            if gpu in after:
                reporters[node] = None
            else:
                del reporters[node]
            if not reporters:
                del self._nodes[gpu]
            elif holder not in reporters:
                _add(changed, reporters, gpu)
        if after:
            self._gpus[node], self._created[node] = after, created
        else:
            self._gpus.pop(node, None)
            self._created.pop(node, None)
        return _frozen(changed)

    def settle(self, claims: Mapping[tuple[str, str], int]) -> Mapping[str, frozenset[str]]:
        """Decide anew who has the GPUs that several report, by what a restart does not change.

        First comes the node with most claims on the GPU (`claims`, by node and UUID), then the one whose MigNode is
        oldest, then the first by name. Returns the GPUs by node that must be judged again.
        """
        changed: dict[str, set[str]] = {}
        for gpu, reporters in self._nodes.items():
            if len(reporters) > 1:
                holder = min(reporters, key=lambda node: (-claims.get((node, gpu), 0), *self._age(node)))
                if holder != next(iter(reporters)):
                    self._nodes[gpu] = {holder: None, **reporters}
                    _add(changed, reporters, gpu)
        return _frozen(changed)

    def holder(self, gpu: str) -> str:
        """The node that has a GPU; empty if none reports it."""
        return next(iter(self._nodes.get(gpu, ())), "")

    def check(self, node: str, gpu: str) -> None:
        """Raise ContractError, naming the node that has a GPU, if it is not this one of those that report it."""
        holder = next(iter(self._nodes.get(gpu, ())), node)
        if holder != node:
            fix = f"{holder} has reported this GPU before {node}; delete the MigNode that is wrong"
            raise errors.ContractError("uuid", gpu, fix)

    def _age(self, node: str) -> tuple[bool, str, str]:
        """The oldest MigNode first, those of unknown age last, then by name."""
        created = self._created.get(node, "")
        return (not created, created, node)


def _add(changed: dict[str, set[str]], nodes: Iterable[str], gpu: str) -> None:
    for node in nodes:
        changed.setdefault(node, set()).add(gpu)


def _frozen(changed: Mapping[str, set[str]]) -> Mapping[str, frozenset[str]]:
    return {node: frozenset(gpus) for node, gpus in changed.items()}
