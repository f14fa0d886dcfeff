"""PersistentVolumeClaims and PersistentVolumes, in part, and the claims that a pod names. Read for queued pods."""

from collections.abc import Iterable
from typing import Any

import msgspec

from allocator.eligibility import document
from allocator.eligibility.constraints import VolumeTopology
from kubeclient.objects import Meta, Pod
from scheduler.cache import pod_constraints
from scheduler.cache.watched_pod import NOTHING, WatchedPod

MAX_CLAIMS = 32  # of one pod


class VolumeClaimSpec(msgspec.Struct, frozen=True, rename="camel"):
    """What a claim is bound to."""

    volume_name: str = ""


class VolumeClaim(msgspec.Struct, frozen=True):
    """A v1.PersistentVolumeClaim, in part."""

    metadata: Meta
    spec: VolumeClaimSpec = VolumeClaimSpec()


class PersistentVolumeSpec(msgspec.Struct, frozen=True, rename="camel"):
    """Where a volume can be used."""

    node_affinity: Any = None


class PersistentVolume(msgspec.Struct, frozen=True):
    """A v1.PersistentVolume, in part."""

    metadata: Meta
    spec: PersistentVolumeSpec = PersistentVolumeSpec()

    @property
    def topology(self) -> VolumeTopology:
        """Where it can be used. Raises ValidationError (msgspec) if that has another form than Kubernetes gives it."""
        return document.volume(self.metadata.name, self.metadata.labels, self.spec.node_affinity)


class _OfClaim(msgspec.Struct, frozen=True, rename="camel"):
    claim_name: str = ""


class _PodVolume(msgspec.Struct, frozen=True, rename="camel"):
    name: str = ""
    persistent_volume_claim: _OfClaim | None = None
    ephemeral: Any = None


_DECODE = msgspec.json.Decoder(tuple[_PodVolume, ...] | None).decode


def claims_of(pod: Pod) -> tuple[str, ...]:
    """The names of a pod's claims, those of its ephemeral volumes too; none where they cannot be read or are too many,
    which leaves the volumes unjudged.
    """
    if not isinstance(pod, WatchedPod) or pod.spec.volumes is NOTHING:
        return ()
    text = bytes(pod.spec.volumes)
    if len(text) > pod_constraints.MAX_TEXT:
        return ()
    try:
        names = tuple(dict.fromkeys(_names(pod.metadata.name, _DECODE(text) or ())))
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return ()
    return names if len(names) <= MAX_CLAIMS else ()


def _names(pod: str, volumes: Iterable[_PodVolume]) -> Iterable[str]:
    for volume in volumes:
        if volume.persistent_volume_claim is not None:
            yield volume.persistent_volume_claim.claim_name
        elif volume.ephemeral:
            yield f"{pod}-{volume.name}"  # the claim that Kubernetes makes for it
