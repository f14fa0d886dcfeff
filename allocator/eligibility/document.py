"""From Kubernetes' own words to `PodConstraints` and `NodeFacts`: the parts of a pod and a node that decide where pods
may run, as types and by `pod` and `node`.

The text is anybody's. What is too large, or has another form than Kubernetes gives it, is left out and named in what
comes back; nothing is raised.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from allocator.eligibility import amounts
from allocator.eligibility.amounts import ContainerQuantities, Quantities
from allocator.eligibility.constraints import PodConstraints, Toleration, VolumeTopology
from allocator.eligibility.node import NO_SCHEDULE, UNREACHABLE, NodeFacts, Taint
from allocator.eligibility.node_selector import NodeSelectorRequirement, NodeSelectorTerm
from allocator.eligibility.zones import ZONES
from allocator.mig.profile import RESOURCE_PREFIX

MAX_LABELS, MAX_LABEL_CHARACTERS = 256, 24_576  # of a node, to be kept
MAX_TAINTS = 64
VOLUMES = "volumes"  # as answers name what was not judged
_T = TypeVar("_T", bound=Struct)


class _Requirement(Struct, frozen=True):
    key: str = ""
    operator: str = ""
    values: tuple[str, ...] | None = None


class _Term(Struct, frozen=True, rename="camel"):
    match_expressions: tuple[_Requirement, ...] | None = None
    match_fields: tuple[_Requirement, ...] | None = None


class _Required(Struct, frozen=True, rename="camel"):
    node_selector_terms: tuple[_Term, ...] | None = None


_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


class _VolumeNodeAffinity(Struct, frozen=True):
    required: _Required | None = None


class _NodeAffinity(Struct, frozen=True):
    required: _Required | None = msgspec.field(default=None, name=_REQUIRED)


class _PodAffinity(Struct, frozen=True):
    required: tuple[Any, ...] | None = msgspec.field(default=None, name=_REQUIRED)


class _Affinity(Struct, frozen=True, rename="camel"):
    node_affinity: _NodeAffinity | None = None
    pod_affinity: _PodAffinity | None = None
    pod_anti_affinity: _PodAffinity | None = None


class _Toleration(Struct, frozen=True):
    key: str = ""
    operator: str = ""
    value: str = ""
    effect: str = ""


class _Spread(Struct, frozen=True, rename="camel"):
    when_unsatisfiable: str = ""


class _Volume(Struct, frozen=True, rename="camel"):
    persistent_volume_claim: Any = None
    ephemeral: Any = None
    csi: Any = None


class _PodResources(Struct, frozen=True):
    requests: dict[str, str | int] | None = None


class PodSpecPart(Struct, frozen=True, rename="camel"):
    """A pod's spec, as far as it says where the pod may run, without its containers."""

    node_name: str = ""
    node_selector: dict[str, str] | None = None
    affinity: _Affinity | None = None
    tolerations: tuple[_Toleration, ...] | None = None
    topology_spread_constraints: tuple[_Spread, ...] | None = None
    volumes: tuple[_Volume, ...] | None = None
    resource_claims: tuple[Any, ...] | None = None
    resources: _PodResources | None = None
    overhead: dict[str, str | int] | None = None


class _Port(Struct, frozen=True, rename="camel"):
    host_port: int | None = None


class _Resources(Struct, frozen=True):
    limits: dict[str, str | int] | None = None
    requests: dict[str, str | int] | None = None


class _Container(Struct, frozen=True, rename="camel"):
    resources: _Resources | None = None
    restart_policy: str | None = None
    ports: tuple[_Port, ...] | None = None


class _PodSpec(PodSpecPart, frozen=True, rename="camel"):
    containers: tuple[_Container, ...] | None = None
    init_containers: tuple[_Container, ...] | None = None
    host_network: bool | None = None


class _Taint(Struct, frozen=True):
    key: str = ""
    effect: str = ""
    value: str = ""


class _NodeSpec(Struct, frozen=True):
    unschedulable: bool | None = None
    taints: tuple[_Taint, ...] | None = None


class _Condition(Struct, frozen=True):
    type: str = ""
    status: str = ""


class _NodeStatus(Struct, frozen=True):
    allocatable: dict[str, str | int] | None = None
    conditions: tuple[_Condition, ...] | None = None


def pod(
    part: PodSpecPart,
    containers: Sequence[ContainerQuantities],
    init: Sequence[ContainerQuantities] = (),
    *,
    host_ports: bool = False,
) -> PodConstraints:
    """What a pod asks of its node.

    `node_name` is kept: of a pod that has a node already, the caller leaves it out to ask where else it may run.
    """
    of_pod = part.resources.requests if part.resources else None
    requests, unreadable = amounts.requested(containers, init, of_pod=of_pod, overhead=part.overhead)
    asked = [*(container.requests for container in (*containers, *init)), of_pod, part.overhead]
    required = part.affinity and part.affinity.node_affinity and part.affinity.node_affinity.required
    return PodConstraints(
        node_name=part.node_name,
        node_selector=tuple((part.node_selector or {}).items()),
        node_affinity=tuple(map(_term, required.node_selector_terms or ())) if required else None,
        tolerations=tuple(Toleration(t.key, t.operator, t.value, t.effect) for t in part.tolerations or ()),
        requests=requests,
        unjudged=(*unreadable, *amounts.unjudged(asked, (RESOURCE_PREFIX,)), *_unjudged(part, host_ports=host_ports)),
    )


def pod_part(parts: Mapping[str, bytes]) -> PodSpecPart | None:
    """A pod's spec, without its containers, from the texts (JSON) of its fields; None if they cannot be read."""
    text = b",".join(b'"%b":%b' % (name.encode(), part) for name, part in parts.items())
    try:
        return msgspec.json.decode(b"{%b}" % text, type=PodSpecPart)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None


def pod_of(spec: Any) -> PodConstraints:
    """What a pod with this spec asks of its node; `spec` is decoded JSON or YAML."""
    try:
        whole = msgspec.convert(spec, _PodSpec)
    except (msgspec.ValidationError, RecursionError):
        return unreadable_pod("which cannot be read")
    main, init = whole.containers or (), whole.init_containers or ()
    ports = [port for container in (*main, *init) for port in container.ports or ()]
    asked_ports = any(port.host_port for port in ports) or bool(whole.host_network and ports)
    return pod(whole, _quantities(main), _quantities(init), host_ports=asked_ports)


def _quantities(containers: Iterable[_Container]) -> list[ContainerQuantities]:
    return [
        container_quantities(resources.limits, resources.requests, container.restart_policy)
        for container in containers
        for resources in (container.resources or _Resources(),)
    ]


def container_quantities(
    limits: Quantities | None, requests: Quantities | None, restart_policy: str | None
) -> ContainerQuantities:
    """What a container asks for: its requests, and its limits where it has none, as the API server completes them."""
    return ContainerQuantities({**(limits or {}), **(requests or {})}, restart_policy == "Always")


def _term(term: _Term) -> NodeSelectorTerm:
    return NodeSelectorTerm(_requirements(term.match_expressions), _requirements(term.match_fields))


def _requirements(wire: Iterable[_Requirement] | None) -> tuple[NodeSelectorRequirement, ...]:
    return tuple(NodeSelectorRequirement(one.key, one.operator, one.values or ()) for one in wire or ())


def _unjudged(part: PodSpecPart, *, host_ports: bool) -> list[str]:
    affinity, volumes = part.affinity or _Affinity(), part.volumes or ()
    names = {
        "inter-pod affinity": affinity.pod_affinity is not None and bool(affinity.pod_affinity.required),
        "inter-pod anti-affinity": affinity.pod_anti_affinity is not None and bool(affinity.pod_anti_affinity.required),
        "topology spread": any(
            spread.when_unsatisfiable != "ScheduleAnyway" for spread in part.topology_spread_constraints or ()
        ),
        "host ports": host_ports,
        VOLUMES: any(v.persistent_volume_claim or v.ephemeral or v.csi for v in volumes),
        "resource claims": bool(part.resource_claims),
    }
    return [name for name, asked in names.items() if asked]


def unreadable_pod(why: str) -> PodConstraints:
    """The constraints of a pod whose own cannot be read, or are too large."""
    return PodConstraints(unjudged=(f"its scheduling constraints, {why}",))


def node(name: str, labels: Mapping[str, str] | None, spec: Any, status: Any) -> NodeFacts:
    """What decides which pods a node takes, from its `spec` and `status`, as text (JSON) or as decoded JSON."""
    kept = dict(labels or {}) if _are_few(labels or {}) else None
    try:
        spec, status = _read(spec, _NodeSpec), _read(status, _NodeStatus)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        unknown = ("what the node says of itself, which cannot be read",)
        return NodeFacts(name, labels=kept, allocatable=amounts.NO_LIMIT, unreadable=unknown)
    taints = tuple(Taint(taint.key, taint.effect, taint.value) for taint in (spec.taints or ())[:MAX_TAINTS])
    left_out = len(spec.taints or ()) - len(taints)
    offered, unreadable = amounts.allocatable(status.allocatable or {})
    ready = next((condition.status for condition in status.conditions or () if condition.type == "Ready"), "")
    if ready == "Unknown" and not any(taint.key == UNREACHABLE for taint in taints):
        taints = (*taints, Taint(UNREACHABLE, NO_SCHEDULE))
    return NodeFacts(
        name=name,
        unschedulable=bool(spec.unschedulable),
        ready=ready not in ("False", "Unknown"),
        taints=taints,
        labels=kept,
        allocatable=offered,
        unreadable=(*unreadable, *((f"{left_out} of the node's taints",) if left_out else ())),
    )


def volume(name: str, labels: Mapping[str, str] | None, node_affinity: Any) -> VolumeTopology:
    """Where a PersistentVolume can be used, from its labels and its `spec.nodeAffinity` as decoded JSON.

    Raises ValidationError (msgspec) for another form. A zone label may name several zones, `a__b`, as cloud providers
    write it (Kubernetes' volume helpers).
    """
    required = msgspec.convert(node_affinity, _VolumeNodeAffinity | None)
    terms = required and required.required and tuple(map(_term, required.required.node_selector_terms or ()))
    zones = [(label, tuple(value.split("__"))) for label, value in (labels or {}).items() if label in ZONES]
    return VolumeTopology(name, terms or None, tuple(zones))


def _are_few(labels: Mapping[str, str]) -> bool:
    return len(labels) <= MAX_LABELS and sum(map(len, (*labels, *labels.values()))) <= MAX_LABEL_CHARACTERS


def _read(part: Any, type_: type[_T]) -> _T:
    """A part of an object; without it, all of its fields are unset. Raises msgspec's errors."""
    is_text = isinstance(part, bytes | msgspec.Raw)
    wire = msgspec.json.decode(part, type=type_ | None) if is_text else msgspec.convert(part, type_ | None)
    return wire if isinstance(wire, type_) else type_()
