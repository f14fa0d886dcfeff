"""From a pod object to the core's words: what it asks, what it was promised, whose it is."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache

from allocator import request
from allocator.claims import contract, placement_annotation, slices_annotation
from allocator.claims.placement_annotation import Promise
from allocator.claims.slices_annotation import SlicesWish
from allocator.queueing.queued_pod import GATE
from allocator.request import Request
from kubeclient import containers
from kubeclient.objects import Pod
from scheduler.cache import pod_labels
from scheduler.cache.pod_decoding import UnlabelledPod
from scheduler.cache.pod_labels import PodLabels

_CONTAINERS, _CHARACTERS = 16, 512  # containers, their resources and characters of requests that are kept
_NAME = 2 * 253  # characters of an owner's kind and name; no object's has more
_TIME = 64  # characters of a point in time that are read
_NEVER = datetime.max.replace(tzinfo=UTC)
_TEMPLATE_HASH = "pod-template-hash"  # the label that a Deployment gives to a ReplicaSet's pods; the name ends in it


def is_ours(pod: Pod) -> bool:
    """Whether any container names a MIG resource, well-formed or not."""
    of_pod = (*pod.spec.containers, *(pod.spec.init_containers or ()))
    return any(containers.quantities(container) for container in of_pod)


def is_at_our_gate(pod: Pod) -> bool:
    """Whether the gate of our queue holds it; also a pod that asks for nothing may have it, and is let go."""
    return any(gate.name == GATE for gate in pod.spec.scheduling_gates or ())


def request_of(pod: Pod) -> Request:
    """The slices a pod asks for. Raises RequestError naming container, resource and fix."""
    main, init = containers.of(pod.spec.containers), containers.of(pod.spec.init_containers)
    asked = _request(main, init) if _is_small((*main, *init)) else request.of_containers(main, init)
    return wished(asked, slices_wish(pod))


def slices_wish(pod: Pod) -> SlicesWish:
    """What a pod's annotation says of several slices of one container."""
    return slices_annotation.read((pod.metadata.annotations or {}).get(contract.SLICES_ANNOTATION))


def wished(asked: Request, wish: SlicesWish) -> Request:
    """A request, its slices packed or apart as wished."""
    return asked if asked.packed == wish.packed else replace(asked, packed=wish.packed)


def _is_small(of_pod: tuple[request.ContainerRequest, ...]) -> bool:
    """Whether what a pod asks for is written as shortly as most do."""
    if len(of_pod) > _CONTAINERS or sum(len(container.resources) for container in of_pod) > _CONTAINERS:
        return False
    texts = [text for container in of_pod for quantity in container.resources.items() for text in map(str, quantity)]
    return sum(map(len, (*texts, *(container.name for container in of_pod)))) <= _CHARACTERS


@lru_cache(maxsize=256)  # of about 2 KiB each
def _request(main: tuple[request.ContainerRequest, ...], init: tuple[request.ContainerRequest, ...]) -> Request:
    """Read once: most pods of a cluster come from a few templates."""
    return request.of_containers(main, init)


def promises_of(pod: Pod) -> tuple[Promise, ...]:
    """What the pod's placement annotation promises it on its node, or nothing if it has none. Raises ContractError if
    it cannot be read.
    """
    text = (pod.metadata.annotations or {}).get(contract.PLACEMENT_ANNOTATION)
    return () if text is None else placement_annotation.decode(text, pod.spec.node_name)


def spares_of(pod: Pod) -> Mapping[str, tuple[Promise, ...]]:
    """What it is promised on other nodes, by node, until it is bound. Raises ContractError if it cannot be read."""
    text = (pod.metadata.annotations or {}).get(contract.PLACEMENT_ANNOTATION)
    return {} if text is None else placement_annotation.decode_spares(text)


def is_movable(pod: Pod) -> bool:
    """Whether the pod's owner allows it to be restarted elsewhere."""
    return (pod.metadata.annotations or {}).get(contract.MOVABLE_ANNOTATION) == "true"


def stays(pod: Pod) -> bool:
    """Whether its owner forbids to restart it elsewhere, whatever its namespace's pods are."""
    return (pod.metadata.annotations or {}).get(contract.MOVABLE_ANNOTATION) == "false"


def not_before(pod: Pod) -> datetime | None:
    """Until when a pod is to be left alone; for ever where that cannot be read."""
    text = (pod.metadata.annotations or {}).get(contract.NOT_BEFORE_ANNOTATION)
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text[:_TIME])
    except ValueError:
        return _NEVER
    return at.replace(tzinfo=at.tzinfo or UTC)


def service_of(pod: Pod) -> str:
    """What a pod belongs to, such as `Deployment/chat`: its controller, for a ReplicaSet the Deployment above it."""
    owner = next((ref for ref in pod.metadata.owner_references or () if ref.controller), None)
    if owner is None or len(owner.kind) + len(owner.name) > _NAME:
        return ""
    suffix = "-" + (pod.metadata.labels or {}).get(_TEMPLATE_HASH, "")
    if owner.kind == "ReplicaSet" and suffix != "-" and owner.name.endswith(suffix):
        return f"Deployment/{owner.name.removesuffix(suffix)}"
    return f"{owner.kind}/{owner.name}"


def labels_of(pod: Pod) -> PodLabels | None:
    """A pod's labels; None if they are not kept: there are too many, or it is on no node, so that no budget is asked
    about it.
    """
    if not pod.spec.node_name or isinstance(pod, UnlabelledPod):
        return None
    return pod_labels.of(pod.metadata.labels)
