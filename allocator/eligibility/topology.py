"""Topology: the nodes of the cluster by the values of their labels, and the domains into which spread constraints
divide them. Made anew when a node changes, asked by `neighbours`.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from allocator.eligibility import node_selector
from allocator.eligibility.constraints import PodConstraints, SpreadConstraint
from allocator.eligibility.node import NodeFacts

_MAX_KEYS = 64  # labels by which nodes are kept
_MAX_DOMAINS = 256  # spread constraints whose domains are kept


@dataclass(frozen=True, slots=True)
class Domains:
    """Which nodes a spread constraint counts, by the value of their label, and how many values there are."""

    value_of: Mapping[str, str]
    number: int
    has_unknown: bool  # nodes whose labels are not kept


class Topology:
    """The nodes of the cluster at a moment, and the domains into which spread constraints divide them."""

    def __init__(self, nodes: Mapping[str, NodeFacts]) -> None:
        self.nodes = nodes
        self.unlabelled = [name for name, facts in nodes.items() if facts.labels is None]  # or not known to be labelled
        self._domains: dict[object, Domains] = {}
        self._by_value: dict[str, Mapping[str | None, Collection[str]]] = {}

    def value(self, node: str, key: str) -> str | None:
        """The value of a node's label; None if it has none or is not known."""
        facts = self.nodes.get(node)
        return None if facts is None or facts.labels is None else facts.labels.get(key)

    def with_value(self, key: str, value: str) -> Collection[str]:
        """The nodes that have a label with this value."""
        return self._values(key).get(value, ())

    def without(self, key: str) -> Collection[str]:
        """The nodes that certainly do not have a label."""
        return self._values(key).get(None, ())

    def of_pairs(self, pairs: Iterable[tuple[str, str]]) -> set[str]:
        """The nodes that have a label with one of these values."""
        return {name for key, value in pairs for name in self.with_value(key, value)}

    def having(self, key: str) -> set[str]:
        """The nodes that have a label."""
        return {name for value, names in self._values(key).items() if value is not None for name in names}

    def values(self, key: str) -> Iterator[str]:
        """The values that a label has."""
        return (value for value in self._values(key) if value is not None)

    def _values(self, key: str) -> Mapping[str | None, Collection[str]]:
        if key not in self._by_value:
            by_value: dict[str | None, list[str]] = {}
            for name, facts in self.nodes.items():
                if facts.labels is not None:
                    by_value.setdefault(facts.labels.get(key), []).append(name)
            if len(self._by_value) >= _MAX_KEYS:
                self._by_value.clear()
            self._by_value[key] = by_value
        return self._by_value[key]

    def domains(self, pod: PodConstraints, constraint: SpreadConstraint) -> Domains:
        """Nodes count that have the labels of all of the pod's constraints, and that its policies let count."""
        keys = tuple(spread.topology_key for spread in pod.spread)
        affinity = (pod.node_selector, pod.node_affinity) if constraint.honors_affinity else None
        tolerations = pod.tolerations if constraint.honors_taints else None
        asked = keys, constraint.topology_key, affinity, tolerations
        domains = self._domains.get(asked)
        if domains is None:
            counted = {
                name: (facts.labels or {})[constraint.topology_key]
                for name, facts in self.nodes.items()
                if all(key in (facts.labels or {}) for key in keys) and _counts(pod, constraint, facts)
            }
            has_unknown = any(facts.labels is None for facts in self.nodes.values())
            if len(self._domains) >= _MAX_DOMAINS:
                self._domains.clear()
            domains = self._domains[asked] = Domains(counted, len(set(counted.values())), has_unknown)
        return domains


def _counts(pod: PodConstraints, constraint: SpreadConstraint, node: NodeFacts) -> bool:
    return (not constraint.honors_affinity or _wanted(pod, node)) and (
        not constraint.honors_taints or all(_tolerated(pod, node))
    )


def _wanted(pod: PodConstraints, node: NodeFacts) -> bool:
    """Whether the pod's nodeSelector and required node affinity name a node."""
    labels = node.labels or {}
    if any(labels.get(key) != value for key, value in pod.node_selector):
        return False
    return pod.node_affinity is None or node_selector.matches(pod.node_affinity, node.labels, node.name) is True


def _tolerated(pod: PodConstraints, node: NodeFacts) -> Iterator[bool]:
    for taint in node.taints:
        if taint.keeps_away:
            yield any(toleration.tolerates(taint) is True for toleration in pod.tolerations)
