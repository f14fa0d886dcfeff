"""PersistentVolumeClaims, PersistentVolumes and StorageClasses, in part, and the claims that a pod names. Read for
queued pods. What a claim means for where a pod may run is kube-scheduler's rule (its VolumeBinding plugin, 1.37).
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import msgspec

from allocator.eligibility import document
from allocator.eligibility.constraints import VolumeTopology
from allocator.eligibility.node_selector import NodeSelectorRequirement, NodeSelectorTerm
from kubeclient.objects import Meta, Pod
from scheduler.cache import pod_constraints
from scheduler.cache.watched_pod import NOTHING, WatchedPod

MAX_CLAIMS = 32  # of one pod
UNBOUND = "volumes that are not bound yet and not made by a provisioner"
STORAGE = "how much storage a provisioner has left"
_OLD_CLASS = "volume.beta.kubernetes.io/storage-class"
_BOUND = "pv.kubernetes.io/bind-completed"
_SELECTED_NODE = "volume.kubernetes.io/selected-node"
_MADE_BY_HAND = "kubernetes.io/no-provisioner"
_ONE_POD = "ReadWriteOncePod"


class VolumeClaimSpec(msgspec.Struct, frozen=True, rename="camel"):
    """What a claim is bound to, or how it comes to be."""

    volume_name: str = ""
    storage_class_name: str | None = None
    access_modes: tuple[str, ...] | None = None


class VolumeClaim(msgspec.Struct, frozen=True):
    """A v1.PersistentVolumeClaim, in part."""

    metadata: Meta
    spec: VolumeClaimSpec = VolumeClaimSpec()

    @property
    def storage_class(self) -> str:
        """The name of its StorageClass, empty for none."""
        return (self.metadata.annotations or {}).get(_OLD_CLASS, self.spec.storage_class_name or "")

    @property
    def is_bound(self) -> bool:
        """Whether its volume is certain, as kube-scheduler sees it."""
        return bool(self.spec.volume_name) and _BOUND in (self.metadata.annotations or {})

    def as_topology(self, topology: VolumeTopology) -> VolumeTopology:
        """Where its volume can be used, and whether by one pod only."""
        if _ONE_POD not in (self.spec.access_modes or ()):
            return topology
        return replace(topology, claim=f"{self.metadata.namespace}/{self.metadata.name}")

    def unbound(self, storage_class: "StorageClass | None") -> VolumeTopology:
        """Where its volume can be made; `storage_class` is None where it has none or may not be read."""
        name = self.metadata.name
        if storage_class is None and self.storage_class and not self.spec.volume_name:
            return self.as_topology(VolumeTopology(name, bound=False, unjudged=UNBOUND))
        if storage_class is None or not storage_class.waits or self.spec.volume_name:
            return VolumeTopology(name, bound=False, problem=f"the PersistentVolumeClaim {name} is not bound yet")
        chosen = (self.metadata.annotations or {}).get(_SELECTED_NODE, "")
        made = storage_class.provisioner != _MADE_BY_HAND
        affinity = storage_class.affinity if made else None
        unjudged = STORAGE if made else UNBOUND
        return self.as_topology(VolumeTopology(name, affinity, bound=False, node=chosen, unjudged=unjudged))


class _TopologyRequirement(msgspec.Struct, frozen=True):
    key: str = ""
    values: tuple[str, ...] | None = None


class _TopologyTerm(msgspec.Struct, frozen=True, rename="camel"):
    match_label_expressions: tuple[_TopologyRequirement, ...] | None = None


class StorageClass(msgspec.Struct, frozen=True, rename="camel"):
    """A storage.k8s.io/v1 StorageClass, in part."""

    metadata: Meta
    provisioner: str = ""
    volume_binding_mode: str = "Immediate"
    allowed_topologies: tuple[_TopologyTerm, ...] | None = None

    @property
    def waits(self) -> bool:
        """Whether volumes are made when a pod that uses them has a node."""
        return self.volume_binding_mode == "WaitForFirstConsumer"

    @property
    def affinity(self) -> tuple[NodeSelectorTerm, ...] | None:
        """Nodes where its volumes can be made; None for all."""
        terms = tuple(
            NodeSelectorTerm(
                tuple(
                    NodeSelectorRequirement(wish.key, "In", wish.values or ())
                    for wish in term.match_label_expressions or ()
                )
            )
            for term in self.allowed_topologies or ()
        )
        return terms or None


def missing(claim: str, what: str) -> VolumeTopology:
    """Of a claim that does not exist, or whose volume or class does not."""
    return VolumeTopology(claim, bound=False, problem=f"there is no {what}")


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
