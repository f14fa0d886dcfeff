"""From Kubernetes' own words to what a pod says about other pods: topology spread, inter-pod affinity, host ports.

The text is anybody's. What has another form than Kubernetes gives it raises msgspec's errors; `document` translates
them. Used by `document`.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
from msgspec import Struct

from allocator.eligibility import pod_selector
from allocator.eligibility.constraints import PodAffinityTerm, SpreadConstraint
from allocator.eligibility.host_port import HostPort
from allocator.eligibility.node_selector import NodeSelectorRequirement
from allocator.eligibility.pod_selector import Labels, LabelSelector, PodSelector

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


@dataclass(frozen=True, slots=True)
class PodIdentity:
    """What other pods' rules look at: namespace and labels; these are None where they are not known."""

    namespace: str = ""
    labels: Labels | None = None


class WireRequirement(Struct, frozen=True):
    """A requirement of a node or label selector."""

    key: str = ""
    operator: str = ""
    values: tuple[str, ...] | None = None


class WireSelector(Struct, frozen=True, rename="camel"):
    """A metav1.LabelSelector."""

    match_labels: dict[str, str] | None = None
    match_expressions: tuple[WireRequirement, ...] | None = None


class WireSpread(Struct, frozen=True, rename="camel"):
    """A v1.TopologySpreadConstraint."""

    when_unsatisfiable: str = ""
    topology_key: str = ""
    max_skew: int = 1
    min_domains: int | None = None
    label_selector: WireSelector | None = None
    match_label_keys: tuple[str, ...] | None = None
    node_affinity_policy: str | None = None
    node_taints_policy: str | None = None


class WireAffinityTerm(Struct, frozen=True, rename="camel"):
    """A v1.PodAffinityTerm."""

    topology_key: str = ""
    label_selector: WireSelector | None = None
    namespaces: tuple[str, ...] | None = None
    namespace_selector: WireSelector | None = None
    match_label_keys: tuple[str, ...] | None = None
    mismatch_label_keys: tuple[str, ...] | None = None


class WirePodAffinity(Struct, frozen=True):
    """A v1.PodAffinity or v1.PodAntiAffinity."""

    required: tuple[WireAffinityTerm, ...] | None = msgspec.field(default=None, name=REQUIRED)


class WirePort(Struct, frozen=True, rename="camel"):
    """A v1.ContainerPort."""

    host_port: int | None = None
    container_port: int = 0
    protocol: str = ""
    host_ip: str = msgspec.field(default="", name="hostIP")


def spread(wire: Iterable[WireSpread], pod: PodIdentity) -> tuple[SpreadConstraint, ...]:
    """The topology spread constraints that have to hold."""
    constraints = []
    for one in wire:
        if one.when_unsatisfiable == "ScheduleAnyway":
            continue
        labels = _merged(_labels(one.label_selector), pod, one.match_label_keys or (), "In")
        constraints.append(
            SpreadConstraint(
                topology_key=one.topology_key,
                max_skew=one.max_skew,
                selector=PodSelector((pod.namespace,), labels),
                matches_itself=_matches(labels, pod),
                min_domains=1 if one.min_domains is None else one.min_domains,
                honors_affinity=one.node_affinity_policy != "Ignore",
                honors_taints=one.node_taints_policy == "Honor",
            )
        )
    return tuple(constraints)


def terms(wire: WirePodAffinity | None, pod: PodIdentity) -> tuple[PodAffinityTerm, ...]:
    """The required terms of a pod's inter-pod affinity or anti-affinity."""
    return tuple(_term(one, pod) for one in (wire and wire.required) or ())


def ports(wire: Iterable[WirePort], *, host_network: bool) -> tuple[HostPort, ...]:
    """The ports of its node that a pod takes; on the host's network each port is one, as the API server has it."""
    taken = (
        HostPort(number, port.protocol or "TCP", port.host_ip)
        for port in wire
        if (number := port.host_port or (port.container_port if host_network else 0)) > 0
    )
    return tuple(dict.fromkeys(taken))


def _term(wire: WireAffinityTerm, pod: PodIdentity) -> PodAffinityTerm:
    labels = _merged(_labels(wire.label_selector), pod, wire.match_label_keys or (), "In")
    labels = _merged(labels, pod, wire.mismatch_label_keys or (), "NotIn")
    by_label = _labels(wire.namespace_selector)
    names = wire.namespaces or (() if by_label is not None else (pod.namespace,))
    selector = PodSelector(tuple(names), labels, by_label)
    matches_itself = selector.matches(pod.namespace, pod_selector.unpacked(pod.labels))
    return PodAffinityTerm(wire.topology_key, selector, matches_itself)


def _labels(wire: WireSelector | None) -> LabelSelector | None:
    if wire is None:
        return None
    equal = (NodeSelectorRequirement(key, "In", (value,)) for key, value in (wire.match_labels or {}).items())
    others = (NodeSelectorRequirement(one.key, one.operator, one.values or ()) for one in wire.match_expressions or ())
    return LabelSelector((*equal, *others))


def _merged(labels: LabelSelector | None, pod: PodIdentity, keys: Iterable[str], operator: str) -> LabelSelector | None:
    """With the pod's own values of some labels required, or excluded; the API server has done so where it is recent."""
    if labels is None:
        return None
    if keys and pod.labels is None:  # without meaning, so that nothing is told for certain
        return LabelSelector((*labels.requirements, NodeSelectorRequirement(next(iter(keys)), operator)))
    values = pod_selector.unpacked(pod.labels) or {}
    more = (NodeSelectorRequirement(key, operator, (values[key],)) for key in keys if key in values)
    return LabelSelector(tuple(dict.fromkeys((*labels.requirements, *more))))


def _matches(labels: LabelSelector | None, pod: PodIdentity) -> bool | None:
    if labels is None:
        return False
    return labels.matches(pod_selector.unpacked(pod.labels))
