"""EligibleNodes: on which nodes of a snapshot the pods may run, and what no answer about them has looked at.

Asked by `repack` and, through it, by the capacity answers. Nodes that are alike are judged once.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from allocator.claims.snapshot import NodeView, Snapshot
from allocator.claims.snapshot_file import PodFacts
from allocator.eligibility import verdict
from allocator.eligibility.amounts import NO_LIMIT, NOTHING, Amounts
from allocator.eligibility.constraints import PodConstraints
from allocator.eligibility.node import NodeFacts
from allocator.eligibility.verdict import Ineligible
from allocator.eligibility.zones import ZONES

_SHOWN = 3  # pods that a note names
NOT_KNOWN = "on which nodes the pods may run is not known here: selectors, taints, CPU and memory were not looked at"

_Likeness = tuple[object, ...]


class EligibleNodes:
    """The nodes of a snapshot, judged for one pod after the other.

    `left` is what nodes have left of CPU and memory; a node that is not named has no limit.
    """

    def __init__(self, nodes: Iterable[NodeView], left: Mapping[str, Amounts]) -> None:
        self._facts: Mapping[str, NodeFacts | None] = {node.name: node.facts for node in nodes}
        self._left = left
        self._judged: dict[PodConstraints, Mapping[str, Ineligible]] = {}

    def of(self, constraints: PodConstraints | None) -> frozenset[str] | None:
        """The nodes on which a pod may run; None for all of them, or where nothing is known of it."""
        refusing = self.refusing(constraints)
        return frozenset(name for name in self._facts if name not in refusing) if refusing else None

    def refusing(self, constraints: PodConstraints | None) -> Mapping[str, Ineligible]:
        """The nodes on which a pod may not run, and why."""
        if constraints is None:
            return {}
        if constraints not in self._judged:
            alike: dict[_Likeness, Ineligible | None] = {}
            reasons = {name: self._reason(constraints, name, alike) for name in self._facts}
            self._judged[constraints] = {name: reason for name, reason in reasons.items() if reason is not None}
        return self._judged[constraints]

    def _reason(self, asked: PodConstraints, name: str, alike: dict[_Likeness, Ineligible | None]) -> Ineligible | None:
        """Why a node does not do. Amounts, in which nodes differ, are compared apart."""
        facts = self._facts[name]
        if facts is None:  # a snapshot that does not say
            return None
        by_name = bool(asked.node_name) or any(term.fields for term in asked.node_affinity or ())
        labels = None if facts.labels is None else tuple(map(facts.labels.get, (*asked.labels(), *ZONES)))
        key = (facts.name if by_name else "", labels, facts.unschedulable, facts.ready, facts.taints, facts.unreadable)
        if key not in alike:
            alike[key] = verdict.judge(replace(asked, requests=NOTHING), facts).reason
        if alike[key] is None and not asked.requests.fits(self._left.get(name, NO_LIMIT)):
            return Ineligible.NODE_RESOURCES_FIT
        return alike[key]


def spare(nodes: Iterable[NodeView], pods: Mapping[str, PodFacts]) -> dict[str, Amounts]:
    """What nodes have left of CPU and memory, where that is known: their allocatable less what the pods there ask for.

    Where a snapshot does not say what all pods of a node use, those count that hold slices.
    """
    left = {}
    for node in nodes:
        if node.facts is not None:
            used = node.used
            if used is None:
                on_node = {occupant.uid for gpu in node.gpus for occupant in gpu.occupants} & pods.keys()
                used = sum((pods[uid].asked for uid in on_node), NOTHING)
            left[node.name] = node.facts.allocatable - used
    return left


def open_nodes(snapshot: Snapshot, besides: Collection[str] = ()) -> tuple[NodeView, ...]:
    """The nodes that take pods, and those named."""
    return tuple(node for node in snapshot.nodes if not node.closed or node.name in besides)


def notes(
    snapshot: Snapshot,
    moved: Sequence[tuple[str, PodConstraints | None]],
    requests: Sequence[tuple[str, PodConstraints | None]] = (),
) -> list[str]:
    """What answers have to say about where pods may run: about those that they move, and those that they are asked
    about (names and constraints, None where these are not known).
    """
    asked = [(name, constraints) for name, constraints in requests if constraints is not None]
    if not moved and not requests:
        return []
    if all(node.facts is None for node in snapshot.nodes):
        return [NOT_KNOWN] if moved or asked else []
    if not asked and moved and all(constraints is None for _, constraints in moved):
        return [NOT_KNOWN]
    said = []
    if (moved or asked) and any(node.facts is not None and node.used is None for node in snapshot.nodes):
        said.append("CPU and memory that other pods use were not looked at")
    unjudged: dict[str, list[str]] = {}
    for name, constraints in (*moved, *asked):
        of_pod = (
            ("its scheduling constraints",)
            if constraints is None
            else (*constraints.unjudged, *constraints.beside_others)
        )
        for what in of_pod:
            unjudged.setdefault(what, []).append(name)
    said += [f"not looked at: {what} of {_named(names)}" for what, names in unjudged.items()]
    without = [name for name, constraints in requests if constraints is None]
    return [*said, f"only slices are counted for requests without a spec: {_named(without)}"] if without else said


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
