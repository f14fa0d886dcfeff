"""EligibleNodes: on which nodes of a snapshot the pods may run, and what no answer about them has looked at.

Asked by `repack` and, through it, by the capacity answers. Nodes that are alike are judged once.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from allocator.claims.snapshot import NodeView, Snapshot
from allocator.claims.snapshot_file import PodFacts
from allocator.eligibility import verdict
from allocator.eligibility.constraints import PodConstraints
from allocator.eligibility.node import NodeFacts

_SHOWN = 3  # pods that a note names

_Likeness = tuple[object, ...]


class EligibleNodes:
    """The nodes of a snapshot, judged for one pod after the other."""

    def __init__(self, nodes: Iterable[NodeView]) -> None:
        self._facts: Mapping[str, NodeFacts | None] = {node.name: node.facts for node in nodes}
        self._judged: dict[PodConstraints, frozenset[str] | None] = {}

    def of(self, constraints: PodConstraints | None) -> frozenset[str] | None:
        """The nodes on which a pod may run; None for all of them, or where nothing is known of it.

        Where the pod is now does not matter: it is asked where it could go.
        """
        if constraints is None:
            return None
        if constraints not in self._judged:
            asked = replace(constraints, node_name="")
            alike: dict[_Likeness, bool] = {}
            names = frozenset(name for name, facts in self._facts.items() if _eligible(asked, facts, alike))
            self._judged[constraints] = None if len(names) == len(self._facts) else names
        return self._judged[constraints]


def _eligible(asked: PodConstraints, facts: NodeFacts | None, alike: dict[_Likeness, bool]) -> bool:
    if facts is None:  # a snapshot that does not say
        return True
    by_name = any(term.fields for term in asked.node_affinity or ())
    labels = None if facts.labels is None else tuple(map(facts.labels.get, (*asked.labels(), *verdict.ZONES)))
    of_node = (facts.unschedulable, facts.ready, facts.taints, facts.allocatable, facts.unreadable)
    key = (facts.name if by_name else "", labels, *of_node)
    known = alike.get(key)
    if known is None:
        known = alike[key] = verdict.judge(asked, facts).eligible
    return known


def open_nodes(snapshot: Snapshot, besides: Collection[str] = ()) -> tuple[NodeView, ...]:
    """The nodes that take pods, and those named."""
    return tuple(node for node in snapshot.nodes if not node.closed or node.name in besides)


def notes(snapshot: Snapshot, moved: Sequence[tuple[str, PodFacts]]) -> list[str]:
    """What answers that move these pods (name and facts) have to say about where they may run."""
    if not moved:
        return []
    if all(node.facts is None for node in snapshot.nodes) or all(facts.constraints is None for _, facts in moved):
        return [
            "on which nodes the pods may run is not known here: selectors, taints, CPU and memory were not looked at"
        ]
    said = ["CPU and memory that other pods use were not looked at"]
    unjudged: dict[str, list[str]] = {}
    for name, facts in moved:
        asked = ("its scheduling constraints",) if facts.constraints is None else facts.constraints.unjudged
        for what in asked:
            unjudged.setdefault(what, []).append(name)
    for what, names in unjudged.items():
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        said.append(f"not looked at: {what} of {', '.join(names[:_SHOWN])}{more}")
    return said
