"""From a pod object to the core's words: what it asks, what it was promised, whose it is."""

from collections.abc import Mapping
from functools import lru_cache

from allocator import request
from allocator.claims import contract
from allocator.claims.contract import Promise
from allocator.request import Request
from kubeclient import containers
from kubeclient.objects import Pod

_TEMPLATE_HASH = "pod-template-hash"  # the label that a Deployment gives to a ReplicaSet's pods; the name ends in it


def is_ours(pod: Pod) -> bool:
    """Whether any container names a MIG resource, well-formed or not."""
    of_pod = (*pod.spec.containers, *(pod.spec.init_containers or ()))
    return any(containers.quantities(container) for container in of_pod)


def request_of(pod: Pod) -> Request:
    """The slices a pod asks for. Raises RequestError naming container, resource and fix."""
    return _request(containers.of(pod.spec.containers), containers.of(pod.spec.init_containers))


@lru_cache(maxsize=4096)
def _request(main: tuple[request.ContainerRequest, ...], init: tuple[request.ContainerRequest, ...]) -> Request:
    """Read once: most pods of a cluster come from a few templates."""
    return request.of_containers(main, init)


def promises_of(pod: Pod) -> tuple[Promise, ...]:
    """The pod's placement annotation, or nothing if it has none. Raises ContractError if it cannot be read."""
    text = (pod.metadata.annotations or {}).get(contract.PLACEMENT_ANNOTATION)
    return () if text is None else contract.decode_placement(text)


def is_movable(pod: Pod) -> bool:
    """Whether the pod's owner allows it to be restarted elsewhere."""
    return (pod.metadata.annotations or {}).get(contract.MOVABLE_ANNOTATION) == "true"


def service_of(pod: Pod) -> str:
    """What a pod belongs to, such as `Deployment/chat`: its controller, for a ReplicaSet the Deployment above it."""
    owner = next((ref for ref in pod.metadata.owner_references or () if ref.controller), None)
    if owner is None:
        return ""
    suffix = "-" + (pod.metadata.labels or {}).get(_TEMPLATE_HASH, "")
    if owner.kind == "ReplicaSet" and suffix != "-" and owner.name.endswith(suffix):
        return f"Deployment/{owner.name.removesuffix(suffix)}"
    return f"{owner.kind}/{owner.name}"


def labels_of(pod: Pod) -> Mapping[str, str]:
    """A pod's labels; equal ones are kept once, since pods of one owner mostly share them."""
    return _shared(tuple((pod.metadata.labels or {}).items()))


@lru_cache(maxsize=4096)
def _shared(labels: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    return dict(labels)
