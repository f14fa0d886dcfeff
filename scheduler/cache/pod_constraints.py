"""From a watched pod to what it says about the nodes where it may run; equal texts are read once. Asked by
`cluster_cache`.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache

import msgspec

from allocator.eligibility import amounts, document
from allocator.eligibility.amounts import Amounts, ContainerQuantities
from allocator.eligibility.constraints import PodConstraints
from allocator.eligibility.peer_document import PodIdentity
from allocator.mig.profile import is_mig_resource
from kubeclient.objects import Pod
from scheduler.cache import placed_pod
from scheduler.cache.watched_pod import NOTHING, WatchedContainer, WatchedPod

MAX_TEXT = 8_192  # bytes of a pod's scheduling constraints that are read; most have 500
_MAX_CONTAINERS = 32

_Items = tuple[tuple[str, str | int], ...]
_Asked = tuple[_Items, _Items, str | None]  # limits, requests, restart policy


def of(pod: Pod) -> PodConstraints | None:
    """What a pod says about the nodes where it may run, wherever it is now; None if the pod came without."""
    if not isinstance(pod, WatchedPod):
        return None
    spec = pod.spec
    parts = {
        "nodeSelector": spec.node_selector,
        "affinity": spec.affinity,
        "tolerations": spec.tolerations,
        "topologySpreadConstraints": spec.topology_spread_constraints,
        "volumes": spec.volumes,
        "resourceClaims": spec.resource_claims,
        "resources": spec.resources,
        "overhead": spec.overhead,
    }
    kept = tuple((name, bytes(raw)) for name, raw in parts.items() if raw is not NOTHING)
    containers, init = spec.containers, spec.init_containers or ()
    too_large = spec.left_out or sum(len(text) for _, text in kept) > MAX_TEXT
    if too_large or len(containers) + len(init) > _MAX_CONTAINERS:
        return document.unreadable_pod("too large to be read")
    ports = placed_pod.port_texts(pod)
    if sum(map(len, ports)) > MAX_TEXT:
        return document.unreadable_pod("too large to be read")
    beside_others = b'"podA' in bytes(spec.affinity) or spec.topology_spread_constraints is not NOTHING
    identity = placed_pod.identity_of(pod) if beside_others else document.NOBODY
    return _constraints(kept, _asked(containers), _asked(init), ports, identity)


def requests_of(pod: Pod) -> Amounts | None:
    """What a pod asks of its node's CPU, memory, ephemeral storage and pods; None if that cannot be read."""
    if not isinstance(pod, WatchedPod):
        return None
    spec = pod.spec
    containers, init = (
        (spec.containers, spec.init_containers or ()) if spec.measured is None else (spec.measured, spec.measured_init)
    )
    parts = tuple(
        (name, bytes(raw))
        for name, raw in (("resources", spec.resources), ("overhead", spec.overhead))
        if raw is not NOTHING
    )
    too_large = spec.left_out and spec.measured is None
    if too_large or len(containers) + len(init) > _MAX_CONTAINERS or sum(len(text) for _, text in parts) > MAX_TEXT:
        return None
    return _requests(parts, _asked(containers), _asked(init))


@lru_cache(maxsize=1_024)  # of less than a KiB each
def _requests(
    parts: tuple[tuple[str, bytes], ...], containers: tuple[_Asked, ...], init: tuple[_Asked, ...]
) -> Amounts | None:
    part = document.pod_part(dict(parts))
    if part is None:
        return None
    main, before = (_quantities(asked) for asked in (containers, init))
    constraints = document.pod(part, main, before)
    bad = any(what.startswith(amounts.UNREADABLE) for what in constraints.unjudged)
    return None if bad else constraints.requests


def _asked(containers: Iterable[WatchedContainer]) -> tuple[_Asked, ...]:
    return tuple(
        (
            _but_slices(container.resources.limits) if container.resources else (),
            _but_slices(container.resources.requests) if container.resources else (),
            container.restart_policy,
        )
        for container in containers
    )


def _but_slices(quantities: Mapping[str, str | int] | None) -> _Items:
    """What is asked for beside slices, which are not judged here: pods that differ in slices alone are read once."""
    return tuple((name, amount) for name, amount in (quantities or {}).items() if not is_mig_resource(name))


@lru_cache(maxsize=256)  # of some KiB each; most pods of a cluster come from a few templates
def _constraints(
    parts: tuple[tuple[str, bytes], ...],
    containers: tuple[_Asked, ...],
    init: tuple[_Asked, ...],
    ports: tuple[bytes, ...],
    identity: PodIdentity,
) -> PodConstraints:
    part = document.pod_part(dict(parts))
    try:
        taken = document.host_ports(ports)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        part = None
    if part is None:
        return document.unreadable_pod("which cannot be read")
    main, before = (_quantities(asked) for asked in (containers, init))
    return document.pod(part, main, before, host_ports=taken, identity=identity)


def _quantities(of_containers: Iterable[_Asked]) -> list[ContainerQuantities]:
    return [
        document.container_quantities(dict(limits), dict(requests), policy)
        for limits, requests, policy in of_containers
    ]
