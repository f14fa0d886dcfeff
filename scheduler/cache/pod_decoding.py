"""From a pod's text to the pod, with little work for a large one: a tenant may write 1.5 MB of labels, annotations or
quantities of nothing, and have it sent again with each update. Called by `kube` for each pod of a list or a watch.
"""

from collections.abc import Iterable

import msgspec

from allocator.claims import contract
from allocator.mig.profile import RESOURCE_PREFIX
from kubeclient.objects import (
    MIRROR_ANNOTATION,
    Meta,
    OwnerReference,
    Pod,
    PodCondition,
    PodStatus,
    Resources,
    SchedulingGate,
)
from scheduler.cache.watched_pod import NOTHING, WatchedContainer, WatchedPod, WatchedSpec

LARGE = 32_768  # bytes of a pod's text, from which on it is not decoded as it is; most have 5,000
MAX_PART = 16_384  # bytes of one part of a large pod, such as its labels or one container's resources, to be looked at
MAX_CONTAINERS = 131_072  # bytes of a large pod's containers, to be looked at for what they ask for

_MIG = RESOURCE_PREFIX.encode()


class UnlabelledPod(WatchedPod, frozen=True):
    """A pod whose labels were too large to be looked at."""


class _Annotations(msgspec.Struct, frozen=True):
    """Those that we read."""

    placement: str | None = msgspec.field(default=None, name=contract.PLACEMENT_ANNOTATION)
    movable: str | None = msgspec.field(default=None, name=contract.MOVABLE_ANNOTATION)
    not_before: str | None = msgspec.field(default=None, name=contract.NOT_BEFORE_ANNOTATION)
    slices: str | None = msgspec.field(default=None, name=contract.SLICES_ANNOTATION)
    mirror: str | None = msgspec.field(default=None, name=MIRROR_ANNOTATION)


class _Meta(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    annotations: _Annotations | None = None
    labels: msgspec.Raw = NOTHING
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    owner_references: msgspec.Raw = NOTHING


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    containers: msgspec.Raw = NOTHING
    init_containers: msgspec.Raw = NOTHING
    node_name: str = ""
    scheduler_name: str = ""
    priority: int | None = None
    scheduling_gates: msgspec.Raw = NOTHING
    active_deadline_seconds: int | None = None
    resources: msgspec.Raw = NOTHING
    overhead: msgspec.Raw = NOTHING
    preemption_policy: str = ""


class _Status(msgspec.Struct, frozen=True, rename="camel"):
    phase: str = ""
    nominated_node_name: str = ""
    reason: str = ""
    message: str = ""
    start_time: str | None = None
    conditions: msgspec.Raw = NOTHING


class _Pod(msgspec.Struct, frozen=True):
    metadata: _Meta
    spec: _Spec = _Spec()
    status: _Status = _Status()


class _Resources(msgspec.Struct, frozen=True):
    limits: msgspec.Raw = NOTHING
    requests: msgspec.Raw = NOTHING


class _Container(msgspec.Struct, frozen=True, rename="camel"):
    name: str = ""
    resources: _Resources | None = None
    restart_policy: str | None = None


_DECODE = msgspec.json.Decoder(WatchedPod).decode
_DECODE_LARGE = msgspec.json.Decoder(_Pod).decode
_DECODE_CONTAINERS = msgspec.json.Decoder(tuple[_Container, ...] | None).decode
_DECODE_QUANTITIES = msgspec.json.Decoder(dict[str, str | int] | None).decode
_DECODE_LABELS = msgspec.json.Decoder(dict[str, str] | None).decode
_DECODE_GATES = msgspec.json.Decoder(tuple[SchedulingGate, ...] | None).decode
_DECODE_CONDITIONS = msgspec.json.Decoder(tuple[PodCondition, ...] | None).decode
_DECODE_OWNERS = msgspec.json.Decoder(tuple[OwnerReference, ...] | None).decode


def decode(text: bytes | msgspec.Raw) -> Pod:
    """A pod, in part. Raises msgspec's errors.

    Of a large one only what asks for slices is looked at of its containers, and only the annotations that we read.
    Labels or owners of more than MAX_PART bytes are left out, resources of more ask for a number of slices that cannot
    be read, and of gates or conditions of more is only said how large they are.
    """
    return _DECODE(text) if memoryview(text).nbytes < LARGE else _large(_DECODE_LARGE(text))


def _large(pod: _Pod) -> Pod:
    meta, spec = pod.metadata, pod.spec
    ours = meta.annotations or _Annotations()
    annotations = {
        contract.PLACEMENT_ANNOTATION: ours.placement,
        contract.MOVABLE_ANNOTATION: ours.movable,
        contract.NOT_BEFORE_ANNOTATION: ours.not_before,
        contract.SLICES_ANNOTATION: ours.slices,
        MIRROR_ANNOTATION: ours.mirror,
    }
    readable = all(map(_is_small, (spec.resources, spec.overhead))) and _measured(spec.init_containers) is not None
    measured = _measured(spec.containers) if readable else None
    type_ = WatchedPod if _is_small(meta.labels) else UnlabelledPod
    return type_(
        Meta(
            meta.name,
            meta.namespace,
            meta.uid,
            meta.resource_version,
            {key: value for key, value in annotations.items() if value is not None},
            _DECODE_LABELS(meta.labels) if _is_small(meta.labels) else None,
            meta.creation_timestamp,
            meta.deletion_timestamp,
            _DECODE_OWNERS(meta.owner_references) if _is_small(meta.owner_references) else None,
        ),
        WatchedSpec(
            containers=tuple(_asking(spec.containers)),
            init_containers=tuple(_asking(spec.init_containers)),
            node_name=spec.node_name,
            scheduler_name=spec.scheduler_name,
            priority=spec.priority,
            scheduling_gates=_gates(spec.scheduling_gates),
            active_deadline_seconds=spec.active_deadline_seconds,
            left_out=True,
            resources=spec.resources if _is_small(spec.resources) else NOTHING,
            overhead=spec.overhead if _is_small(spec.overhead) else NOTHING,
            preemption_policy=spec.preemption_policy,
            measured=measured,
            measured_init=_measured(spec.init_containers) or (),
        ),
        PodStatus(
            pod.status.phase,
            pod.status.nominated_node_name,
            pod.status.reason,
            pod.status.message,
            pod.status.start_time,
            _conditions(pod.status.conditions),
        ),
    )


def _gates(gates: msgspec.Raw) -> tuple[SchedulingGate, ...] | None:
    """A pod's gates; of too many only that there are some, since any of them holds the pod."""
    if _is_small(gates):
        return _DECODE_GATES(gates)
    return (SchedulingGate(f"{memoryview(gates).nbytes} bytes of gates, too many to be read"),)


def _conditions(conditions: msgspec.Raw) -> tuple[PodCondition, ...] | None:
    """A pod's conditions; of too large ones only how large they are."""
    if _is_small(conditions):
        return _DECODE_CONDITIONS(conditions)
    size = f"{memoryview(conditions).nbytes} bytes of conditions, too many to be read"
    return (PodCondition("PodScheduled", "Unknown", "", size),)


def _measured(containers: msgspec.Raw) -> tuple[WatchedContainer, ...] | None:
    """The containers with what they ask for; None if there is too much of that to be looked at."""
    if memoryview(containers).nbytes > MAX_CONTAINERS:
        return None
    measured = []
    for container in _DECODE_CONTAINERS(containers) or ():
        asked = container.resources or _Resources()
        if not (_is_small(asked.limits) and _is_small(asked.requests)):
            return None
        resources = Resources(_DECODE_QUANTITIES(asked.limits), _DECODE_QUANTITIES(asked.requests))
        measured.append(WatchedContainer("", resources, container.restart_policy))
    return tuple(measured)


def _asking(containers: msgspec.Raw) -> Iterable[WatchedContainer]:
    """The containers that name slices."""
    if _MIG not in bytes(containers):
        return
    for container in _DECODE_CONTAINERS(containers) or ():
        if container.resources is not None:
            limits, requests = _quantities(container.resources.limits), _quantities(container.resources.requests)
            if limits or requests:
                yield WatchedContainer(container.name, Resources(limits, requests), container.restart_policy)


def _quantities(resources: msgspec.Raw) -> dict[str, str | int] | None:
    if _MIG not in bytes(resources):
        return None
    if not _is_small(resources):
        return {RESOURCE_PREFIX: f"{memoryview(resources).nbytes} bytes of resources"}  # refused where it is counted
    return _DECODE_QUANTITIES(resources)


def _is_small(part: msgspec.Raw) -> bool:
    return memoryview(part).nbytes <= MAX_PART
