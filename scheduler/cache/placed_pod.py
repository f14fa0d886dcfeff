"""From a watched pod to what other pods have to know of it, bounded, whatever its author wrote. Asked by `used_amounts`
and `queued_pods`.
"""

import sys
from functools import lru_cache

import msgspec

from allocator.eligibility import document
from allocator.eligibility.constraints import PodAffinityTerm
from allocator.eligibility.host_port import HostPort
from allocator.eligibility.peer_document import PodIdentity
from allocator.eligibility.placed_pods import PlacedPod
from kubeclient.objects import Pod
from scheduler.cache import pod_labels, volumes
from scheduler.cache.pod_decoding import UnlabelledPod
from scheduler.cache.watched_pod import NOTHING, WatchedPod

MAX_TEXT = 4_096  # bytes of a pod's ports, or of its affinity, that are read; most have none
_UNREAD = "what other pods say of their neighbours, which cannot be read or is too large"


def of(pod: Pod) -> PlacedPod:
    """What others have to know of a pod, wherever it is."""
    identity = identity_of(pod)
    try:
        ports, anti_affinity = _ports(pod), _anti_affinity(pod, identity)
    except (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError):
        return PlacedPod(identity.namespace, identity.labels, _ends(pod), unread=_UNREAD)
    unread = _UNREAD if ports is None or anti_affinity is None else ""
    claims = volumes.claims_of(pod) if _has_claims(pod) else ()
    return PlacedPod(
        identity.namespace, identity.labels, _ends(pod), ports or (), anti_affinity or (), claims, unread=unread
    )


def identity_of(pod: Pod) -> PodIdentity:
    """A pod's namespace and labels; these are None where they are too many to be kept."""
    labels = None if isinstance(pod, UnlabelledPod) else pod_labels.of(pod.metadata.labels)
    return PodIdentity(sys.intern(pod.metadata.namespace), None if labels is None else labels.text)


def port_texts(pod: WatchedPod) -> tuple[bytes, ...]:
    """The ports (JSON) of the containers and sidecars that name ports of the host."""
    spec = pod.spec
    lasting = (container for container in spec.init_containers or () if container.restart_policy == document.ALWAYS)
    texts = (bytes(container.ports) for container in (*spec.containers, *lasting))
    return tuple(text for text in texts if b'"hostPort"' in text)


def _ends(pod: Pod) -> bool:
    return pod.metadata.deletion_timestamp is not None


def _ports(pod: Pod) -> tuple[HostPort, ...] | None:
    if not isinstance(pod, WatchedPod):
        return ()
    if pod.spec.left_out:
        return None
    texts = port_texts(pod)
    if not texts:
        return ()
    return _read_ports(texts) if sum(map(len, texts)) <= MAX_TEXT else None


def _anti_affinity(pod: Pod, identity: PodIdentity) -> tuple[PodAffinityTerm, ...] | None:
    if not isinstance(pod, WatchedPod):
        return ()
    if pod.spec.left_out:
        return None
    text = bytes(pod.spec.affinity)
    if b'"podAntiAffinity"' not in text:
        return ()
    return _read_anti_affinity(text, identity) if len(text) <= MAX_TEXT else None


def _has_claims(pod: Pod) -> bool:
    if not isinstance(pod, WatchedPod) or pod.spec.volumes is NOTHING:
        return False
    text = bytes(pod.spec.volumes)
    return b'"persistentVolumeClaim"' in text or b'"ephemeral"' in text


@lru_cache(maxsize=256)  # of up to some KiB each
def _read_ports(texts: tuple[bytes, ...]) -> tuple[HostPort, ...]:
    return document.host_ports(texts)


@lru_cache(maxsize=256)  # of up to some KiB each
def _read_anti_affinity(text: bytes, identity: PodIdentity) -> tuple[PodAffinityTerm, ...]:
    return document.anti_affinity(text, identity)
