"""From Kubernetes' own words to `PodConstraints` and `NodeFacts`: the parts of a pod and a node that decide where pods
may run, as types and by `pod` and `node`.

The text is anybody's. What is too large, or has another form than Kubernetes gives it, is left out and named in what
comes back; nothing is raised.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from allocator.eligibility import amounts, peer_document
from allocator.eligibility.amounts import ContainerQuantities, Quantities
from allocator.eligibility.constraints import VOLUMES, PodAffinityTerm, PodConstraints, Toleration, VolumeTopology
from allocator.eligibility.host_port import HostPort
from allocator.eligibility.node import NO_SCHEDULE, UNREACHABLE, NodeFacts, Taint
from allocator.eligibility.node_selector import NodeSelectorRequirement, NodeSelectorTerm
from allocator.eligibility.peer_document import (
    REQUIRED,
    PodIdentity,
    WirePodAffinity,
    WirePort,
    WireRequirement,
    WireSpread,
)
from allocator.eligibility.zones import ZONES
from allocator.mig.profile import RESOURCE_PREFIX

MAX_LABELS, MAX_LABEL_CHARACTERS = 256, 24_576  # of a node, to be kept
MAX_TAINTS = 64
ALWAYS = "Always"  # the restart policy of an init container that keeps running
NOBODY = PodIdentity()
_T = TypeVar("_T", bound=Struct)


class _Term(Struct, frozen=True, rename="camel"):
    match_expressions: tuple[WireRequirement, ...] | None = None
    match_fields: tuple[WireRequirement, ...] | None = None


class _Required(Struct, frozen=True, rename="camel"):
    node_selector_terms: tuple[_Term, ...] | None = None


class _VolumeNodeAffinity(Struct, frozen=True):
    required: _Required | None = None


class _NodeAffinity(Struct, frozen=True):
    required: _Required | None = msgspec.field(default=None, name=REQUIRED)


class _Affinity(Struct, frozen=True, rename="camel"):
    node_affinity: _NodeAffinity | None = None
    pod_affinity: WirePodAffinity | None = None
    pod_anti_affinity: WirePodAffinity | None = None


class _Toleration(Struct, frozen=True):
    key: str = ""
    operator: str = ""
    value: str = ""
    effect: str = ""


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
    topology_spread_constraints: tuple[WireSpread, ...] | None = None
    volumes: tuple[_Volume, ...] | None = None
    resource_claims: tuple[Any, ...] | None = None
    resources: _PodResources | None = None
    overhead: dict[str, str | int] | None = None


class _Resources(Struct, frozen=True):
    limits: dict[str, str | int] | None = None
    requests: dict[str, str | int] | None = None


class _Container(Struct, frozen=True, rename="camel"):
    resources: _Resources | None = None
    restart_policy: str | None = None
    ports: tuple[WirePort, ...] | None = None


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


_DECODE_PORTS = msgspec.json.Decoder(tuple[WirePort, ...] | None).decode
_DECODE_AFFINITY = msgspec.json.Decoder(_Affinity | None).decode


def pod(
    part: PodSpecPart,
    containers: Sequence[ContainerQuantities],
    init: Sequence[ContainerQuantities] = (),
    *,
    host_ports: tuple[HostPort, ...] = (),
    identity: PodIdentity = NOBODY,
) -> PodConstraints:
    """What a pod asks of its node. `identity` is its own, as its rules about other pods may be about itself.

    `node_name` is kept: of a pod that has a node already, the caller leaves it out to ask where else it may run.
    """
    of_pod = part.resources.requests if part.resources else None
    requests, unreadable = amounts.requested(containers, init, of_pod=of_pod, overhead=part.overhead)
    asked = [*(container.requests for container in (*containers, *init)), of_pod, part.overhead]
    affinity = part.affinity or _Affinity()
    required = affinity.node_affinity and affinity.node_affinity.required
    return PodConstraints(
        node_name=part.node_name,
        node_selector=tuple((part.node_selector or {}).items()),
        node_affinity=tuple(map(_term, required.node_selector_terms or ())) if required else None,
        tolerations=tuple(Toleration(t.key, t.operator, t.value, t.effect) for t in part.tolerations or ()),
        requests=requests,
        unjudged=(*unreadable, *amounts.unjudged(asked, (RESOURCE_PREFIX,)), *_unjudged(part)),
        spread=peer_document.spread(part.topology_spread_constraints or (), identity),
        affinity=peer_document.terms(affinity.pod_affinity, identity),
        anti_affinity=peer_document.terms(affinity.pod_anti_affinity, identity),
        host_ports=host_ports,
    )


def pod_part(parts: Mapping[str, bytes]) -> PodSpecPart | None:
    """A pod's spec, without its containers, from the texts (JSON) of its fields; None if they cannot be read."""
    text = b",".join(b'"%b":%b' % (name.encode(), part) for name, part in parts.items())
    try:
        return msgspec.json.decode(b"{%b}" % text, type=PodSpecPart)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None


def pod_of(spec: Any, identity: PodIdentity = NOBODY) -> PodConstraints:
    """What a pod with this spec asks of its node; `spec` is decoded JSON or YAML."""
    try:
        whole = msgspec.convert(spec, _PodSpec)
    except (msgspec.ValidationError, RecursionError):
        return unreadable_pod("which cannot be read")
    main, init = whole.containers or (), whole.init_containers or ()
    lasting = (*main, *(container for container in init if container.restart_policy == ALWAYS))
    wire = [port for container in lasting for port in container.ports or ()]
    ports = peer_document.ports(wire, host_network=bool(whole.host_network))
    return pod(whole, _quantities(main), _quantities(init), host_ports=ports, identity=identity)


def host_ports(texts: Iterable[bytes]) -> tuple[HostPort, ...]:
    """The ports of its node that a pod takes, by the `ports` (JSON) of its containers and sidecars.

    Raises msgspec's errors where they cannot be read.
    """
    wire = [port for text in texts for port in _DECODE_PORTS(text) or ()]
    return peer_document.ports(wire, host_network=False)


def anti_affinity(affinity: bytes, identity: PodIdentity) -> tuple[PodAffinityTerm, ...]:
    """The required anti-affinity of a pod, by its `affinity` (JSON). Raises msgspec's errors if it cannot be read."""
    wire = _DECODE_AFFINITY(affinity) or _Affinity()
    return peer_document.terms(wire.pod_anti_affinity, identity)


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
    return ContainerQuantities({**(limits or {}), **(requests or {})}, restart_policy == ALWAYS)


def _term(term: _Term) -> NodeSelectorTerm:
    return NodeSelectorTerm(_requirements(term.match_expressions), _requirements(term.match_fields))


def _requirements(wire: Iterable[WireRequirement] | None) -> tuple[NodeSelectorRequirement, ...]:
    return tuple(NodeSelectorRequirement(one.key, one.operator, one.values or ()) for one in wire or ())


def _unjudged(part: PodSpecPart) -> list[str]:
    names = {
        VOLUMES: any(v.persistent_volume_claim or v.ephemeral or v.csi for v in part.volumes or ()),
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
