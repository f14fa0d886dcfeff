"""Neighbours: the other pods of the cluster as one pod sees them: ports taken, domains and how full they are, nodes
near those that it wants to be near or away from, and nodes that others keep it away from.

What is asked of all nodes is counted once, when it is made; then each node costs the same. The rules are those of
kube-scheduler's filters NodePorts, VolumeRestrictions, PodTopologySpread and InterPodAffinity (read in its source,
1.37). Asked by `verdict`.
"""

import math
from collections.abc import Iterable, Mapping

from allocator.eligibility import pod_selector
from allocator.eligibility.constraints import PodAffinityTerm, PodConstraints, SpreadConstraint
from allocator.eligibility.host_port import HostPort
from allocator.eligibility.node import NodeFacts
from allocator.eligibility.placed_pods import PlacedPod, PlacedPods
from allocator.eligibility.pod_selector import PodSelector
from allocator.eligibility.topology import Topology

UNTOLD = "pods whose labels or namespaces cannot be told"
_CHARACTERS = 120  # of a text from the cluster that is repeated

NeighboursAnswer = tuple[str, tuple[str, ...]]  # why a node does not do, empty where it does; and what cannot be told
_FINE: NeighboursAnswer = ("", ())
_Pairs = set[tuple[str, str]]  # a label's key and value that nodes have


class Neighbours:
    """The other pods as a pod sees them that has no place. Valid until a pod or a node changes.

    A pod that `will_be_pinned` to its node is also judged as kube-scheduler will judge it then: to a spread constraint
    that honours node affinity that node is the only one there is.
    """

    def __init__(
        self,
        pod: PodConstraints,
        itself: PlacedPod,
        placed: PlacedPods,
        topology: Topology,
        *,
        will_be_pinned: bool = False,
    ) -> None:
        self._pod = pod
        self._placed = placed
        self._topology = topology
        self._spread = [_Fullness(pod, constraint, placed, topology, will_be_pinned) for constraint in pod.spread]
        self._affinity = _Near(pod.affinity, placed, topology)
        self._anti_affinity = [_Near((term,), placed, topology) for term in pod.anti_affinity]
        self._keeping_away, self._keeping_away_untold = _keeping_away(itself, placed, topology)

    @property
    def matter(self) -> bool:
        """Whether other pods can keep this one from any node."""
        pod = self._pod
        return bool(pod.beside_others or self._keeping_away or any(volume.claim for volume in pod.volumes))

    def left_of(self, names: Iterable[str]) -> list[str]:
        """Of some nodes those from which other pods do not keep this one; the same that the rules say one by one, for
        the price of those that are refused.
        """
        if self.claim_taken()[0]:
            return []
        refused = self._topology.of_pairs(self._keeping_away)
        for near in self._anti_affinity:
            refused |= self._topology.of_pairs(near.pairs)
        for fullness in self._spread:
            refused |= fullness.refused()
        if self._pod.host_ports:
            refused |= {name for name in self._placed.with_ports() if self._port_taken(name)}
        wanted = self._affinity.wanted()
        return [name for name in names if name not in refused and (wanted is None or name in wanted)]

    def port_taken(self, node: NodeFacts) -> NeighboursAnswer:
        """Whether a port of the node that the pod asks for is taken."""
        port = self._port_taken(node.name) if self._pod.host_ports else None
        return _FINE if port is None else (f"its host port {port} is taken there", ())

    def _port_taken(self, node: str) -> HostPort | None:
        taken = self._placed.ports_on(node)
        return next((port for port in self._pod.host_ports if any(map(port.conflicts, taken))), None)

    def claim_taken(self) -> NeighboursAnswer:
        """Whether another pod uses a claim that only one at a time may use."""
        for volume in self._pod.volumes:
            if volume.claim and self._placed.uses(volume.claim):
                return f"the claim {volume.name[:_CHARACTERS]} is ReadWriteOncePod, and another pod uses it", ()
        return _FINE

    def spread(self, node: NodeFacts) -> NeighboursAnswer:
        """Whether the pod would make the node's domain too full beside the others."""
        untold: dict[str, None] = {}
        for fullness in self._spread:
            refusal, unknown = fullness.judge(node)
            if refusal:
                return refusal, ()
            untold |= dict.fromkeys(unknown)
        return "", tuple(untold)

    def affinity(self, node: NodeFacts) -> NeighboursAnswer:
        """Whether the pods are near that the pod wants near, and none that it, or that wants it, away."""
        if node.labels is None:
            unknown = self._affinity.terms or self._anti_affinity or self._keeping_away
            return "", (f"the labels of node {node.name}, too many to be kept",) if unknown else ()
        refusal = self._affinity.missing(node.labels)
        if not refusal and any(near.is_near(node.labels) for near in self._anti_affinity):
            refusal = "a pod is near that the pod's anti-affinity keeps away"
        if not refusal and any(node.labels.get(key) == value for key, value in self._keeping_away):
            refusal = "a pod is near whose anti-affinity keeps this one away"
        if refusal:
            return refusal, ()
        untold = self._affinity.unknown or any(near.unknown for near in self._anti_affinity)
        return "", (*((UNTOLD,) if untold else ()), *self._keeping_away_untold)


class _Fullness:
    """One spread constraint: how many of the selected pods each domain has."""

    def __init__(
        self,
        pod: PodConstraints,
        constraint: SpreadConstraint,
        placed: PlacedPods,
        topology: Topology,
        will_be_pinned: bool,
    ) -> None:
        self._constraint = constraint
        self._topology = topology
        self._alone = will_be_pinned and constraint.honors_affinity and constraint.min_domains > 1
        self._itself = int(bool(constraint.matches_itself))
        self._on: Mapping[str, int] = {}
        domains = topology.domains(pod, constraint)
        self._counts: dict[str, int] = {}
        self._unknown = domains.has_unknown or constraint.matches_itself is None
        if _selects(constraint.selector):
            selection = placed.select((constraint.selector,), with_terminating=False)
            self._unknown |= selection.unknown > 0
            self._on = selection.on
            for node, number in selection.on.items():
                value = domains.value_of.get(node)
                if value is not None:
                    self._counts[value] = self._counts.get(value, 0) + number
        self._least = self._minimum(domains.number)

    def _minimum(self, domains: int) -> float:
        if domains < self._constraint.min_domains:
            return 0
        if domains > len(self._counts):
            return 0
        return min(self._counts.values(), default=math.inf)

    def refused(self) -> set[str]:
        """The nodes whose domain does not take one more."""
        key, itself, most = self._constraint.topology_key, self._itself, self._constraint.max_skew
        refused = set(self._topology.without(key))
        if itself - self._least > most:  # even an empty one
            full = list(self._topology.values(key))
        else:
            full = [value for value, number in self._counts.items() if number + itself - self._least > most]
        for value in full:
            refused.update(self._topology.with_value(key, value))
        if self._alone:
            labelled = self._topology.having(key)
            refused.update(name for name, number in self._on.items() if number + itself > most and name in labelled)
        return refused

    def judge(self, node: NodeFacts) -> NeighboursAnswer:
        """Whether the node's domain takes one more."""
        key = self._constraint.topology_key
        if node.labels is None:
            return "", (f"the labels of node {node.name}, too many to be kept",)
        value = node.labels.get(key)
        if value is None:
            return f"topology spread asks for nodes with the label {key[:_CHARACTERS]}", ()
        there = self._counts.get(value, 0)
        if there + self._itself - self._least > self._constraint.max_skew:
            words = f"{key}={value}"[:_CHARACTERS]
            return f"{words} has {there} of the pods to be spread, the emptiest domain {self._least:.0f}", ()
        if self._alone and self._on.get(node.name, 0) + self._itself > self._constraint.max_skew:
            return "a pod that is pinned has one domain, less than minDomains, and this one is too full for that", ()
        return "", (UNTOLD,) if self._unknown else ()


class _Near:
    """Nodes that are near the pods that match all of some terms, as pairs of a label's key and value."""

    def __init__(self, terms: tuple[PodAffinityTerm, ...], placed: PlacedPods, topology: Topology) -> None:
        self.terms = terms
        self._topology = topology
        self.unknown = any(term.matches_itself is None for term in terms)
        self.pairs: _Pairs = set()
        if terms:
            selection = placed.select(tuple(term.selector for term in terms), with_terminating=True)
            self.unknown |= selection.unknown > 0
            for node in selection.on:
                for term in terms:
                    value = topology.value(node, term.topology_key)
                    if value is not None:
                        self.pairs.add((term.topology_key, value))
        is_first = not self.pairs and all(term.matches_itself for term in terms)
        self._is_open = is_first or self.unknown  # any node will do that has the labels

    def wanted(self) -> set[str] | None:
        """The nodes that are near by all terms, or may be; None for all nodes."""
        if not self.terms:
            return None
        wanted: set[str] | None = None
        for term in self.terms:
            if self._is_open:
                near = self._topology.having(term.topology_key)
            else:
                near = self._topology.of_pairs({pair for pair in self.pairs if pair[0] == term.topology_key})
            wanted = near if wanted is None else wanted & near
        return (wanted or set()) | set(self._topology.unlabelled)

    def is_near(self, labels: Mapping[str, str]) -> bool:
        """Whether a node with these labels is near by any term."""
        return any((term.topology_key, labels.get(term.topology_key)) in self.pairs for term in self.terms)

    def missing(self, labels: Mapping[str, str]) -> str:
        """Why a node with these labels is not near by all terms; empty if it is.

        The first of pods that want to be near each other may go anywhere.
        """
        for term in self.terms:
            if term.topology_key not in labels:
                return f"inter-pod affinity asks for nodes with the label {term.topology_key[:_CHARACTERS]}"
        near = all((term.topology_key, labels[term.topology_key]) in self.pairs for term in self.terms)
        return "" if near or self._is_open else "no pod is near that the pod's affinity asks for"


def _keeping_away(itself: PlacedPod, placed: PlacedPods, topology: Topology) -> tuple[_Pairs, tuple[str, ...]]:
    """The nodes that other pods keep this one away from, and what of that cannot be told."""
    pairs: _Pairs = set()
    labels = pod_selector.unpacked(itself.labels)
    unknown = False
    for pod, nodes in placed.keeping_away():
        for term in pod.anti_affinity:
            meant = term.selector.matches(itself.namespace, labels)
            unknown |= meant is None
            if meant:
                values = (topology.value(node, term.topology_key) for node in nodes)
                pairs.update((term.topology_key, value) for value in values if value is not None)
    untold = ("the anti-affinity of other pods",) if unknown else ()
    return pairs, (*untold, *tuple(placed.unread)[:3])


def _selects(selector: PodSelector) -> bool:
    """Whether a spread constraint counts anything: to kube-scheduler a selector without requirements counts nothing."""
    return selector.labels is not None and bool(selector.labels.requirements)
