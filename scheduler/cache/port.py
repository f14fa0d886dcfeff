"""The port to Kubernetes: what the scheduler service needs of a cluster, and what crosses it beside
`kubeclient.objects`.

Implemented by `scheduler.cache.kube` (the real API server) and `simulator.cluster.memory_cluster` (in memory, with
fault injection); one contract suite runs on both.
"""

import enum
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from allocator.eligibility.constraints import VolumeTopology
from kubeclient.changes import Change, Listing
from kubeclient.objects import Meta, Node, Pod
from scheduler.cache.disruption_budget import PodDisruptionBudget
from scheduler.cache.watched_pod import WatchedPod


class MigNode(msgspec.Struct, frozen=True):
    """A MigNode; its status stays raw until `allocator.claims.contract` reads it."""

    metadata: Meta
    status: msgspec.Raw = msgspec.Raw(b"{}")


class WatchedNode(Node, frozen=True):
    """A v1.Node; its spec and status stay raw until `allocator.eligibility.document` reads them."""

    spec: msgspec.Raw = msgspec.Raw(b"null")
    status: msgspec.Raw = msgspec.Raw(b"null")


Object = Pod | Node | MigNode


class WatchedKind(enum.Enum):
    """The kinds we follow."""

    POD = "pods"
    NODE = "nodes"
    MIG_NODE = "mignodes"


TYPES: Mapping[WatchedKind, type[Pod] | type[Node] | type[MigNode]] = {
    WatchedKind.POD: WatchedPod,
    WatchedKind.NODE: WatchedNode,
    WatchedKind.MIG_NODE: MigNode,
}


@dataclass(frozen=True, slots=True)
class Binding:
    """A pod bound to a node, with annotations in the same write; `uid` is a precondition."""

    namespace: str
    name: str
    uid: str
    node: str
    annotations: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Release:
    """The end of a pod's wait at a gate; `uid` and `version` are preconditions.

    `affinity` is the text (JSON) of the pod's affinity as it shall be, None to leave it; `annotations` are added.
    """

    namespace: str
    name: str
    uid: str
    version: str
    gate: str
    affinity: bytes | None
    annotations: Mapping[str, str]


class Cluster(Protocol):
    """What the scheduler service asks of Kubernetes.

    Every method raises the ClusterError that fits: ConflictError, NotFoundError, GoneError, RefusedError, or
    TooManyRequestsError where it certainly was not done and may be tried again, or UnreachableError where it is unknown
    whether it was done.
    """

    async def list(self, kind: WatchedKind) -> Listing[Object]:
        """All objects of a kind."""

    def watch(self, kind: WatchedKind, resource_version: str) -> AsyncIterator[Change[Object]]:
        """Changes after a resource version, until the server ends the watch. GoneError if that version is too old."""

    async def get_pod(self, namespace: str, name: str) -> Pod:
        """One pod, from the API server itself."""

    async def disruption_budgets(self) -> Sequence[PodDisruptionBudget]:
        """All PodDisruptionBudgets. RefusedError where the service may not read them."""

    async def bind(self, binding: Binding) -> None:
        """Write nodeName and annotations in one step. ConflictError if it is bound, deleting or another's namesake."""

    async def release(self, release: Release) -> None:
        """Take a scheduling gate from a pod, pin and annotate it, in one step.

        ConflictError if the pod is another by now, or not as it was at that version.
        """

    async def volume_of_claim(self, namespace: str, claim: str) -> VolumeTopology | None:
        """Where the volume can be used that a PersistentVolumeClaim is bound to; None if it is bound to none yet."""

    async def delete_pod(self, namespace: str, name: str, uid: str) -> None:
        """Delete a pod that never ran. ConflictError if another has its name by now."""

    async def annotate_node(self, node: str, key: str, value: str) -> None:
        """Set one annotation of one node."""

    async def close(self) -> None:
        """Give back connections."""
