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
from allocator.queueing.gang import Gang, GangPart
from kubeclient.changes import Change, Listing
from kubeclient.events import PodEvent
from kubeclient.objects import Meta, Node, Pod
from scheduler.cache.disruption_budget import PodDisruptionBudget
from scheduler.cache.lease import Lease
from scheduler.cache.watched_pod import WatchedPod

COMPONENT = "migsched-queue"  # the source of this service's Events; kube-scheduler's own are of its schedulerName


class MigNode(msgspec.Struct, frozen=True):
    """A MigNode; its status stays raw until `allocator.claims.contract` reads it."""

    metadata: Meta
    status: msgspec.Raw = msgspec.Raw(b"{}")


class WatchedNode(Node, frozen=True):
    """A v1.Node; its spec and status stay raw until `allocator.eligibility.document` reads them."""

    spec: msgspec.Raw = msgspec.Raw(b"null")
    status: msgspec.Raw = msgspec.Raw(b"null")


class Repack(msgspec.Struct, frozen=True):
    """A Repack; spec and status stay raw until `allocator.moves.document` reads them."""

    metadata: Meta
    spec: msgspec.Raw = msgspec.Raw(b"{}")
    status: msgspec.Raw = msgspec.Raw(b"{}")


class Namespace(msgspec.Struct, frozen=True):
    """A v1.Namespace."""

    metadata: Meta


Object = Pod | Node | MigNode | Repack | Namespace


class WatchedKind(enum.Enum):
    """The kinds we follow."""

    POD = "pods"
    NODE = "nodes"
    MIG_NODE = "mignodes"
    REPACK = "repacks"  # only where moves are made
    NAMESPACE = "namespaces"  # the same


TYPES: Mapping[WatchedKind, type[Pod] | type[Node] | type[MigNode] | type[Repack] | type[Namespace]] = {
    WatchedKind.POD: WatchedPod,
    WatchedKind.NODE: WatchedNode,
    WatchedKind.MIG_NODE: MigNode,
    WatchedKind.REPACK: Repack,
    WatchedKind.NAMESPACE: Namespace,
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


@dataclass(frozen=True, slots=True)
class GatedPodMessage:
    """Why a gated pod waits, for its condition PodScheduled; `uid` and `version` are preconditions."""

    namespace: str
    name: str
    uid: str
    version: str
    message: str


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

    async def nominate(self, release: Release, node: str) -> str:
        """Name a node in the status of a pod that is to be released there; the version that the pod has then.

        The preconditions are those of the release. ConflictError as for it.
        """

    async def volume_of_claim(self, namespace: str, claim: str) -> VolumeTopology:
        """Where a pod that uses a PersistentVolumeClaim may run: where its volume is, or can be made. Of one that is
        missing or not bound in time, `problem` says so.
        """

    async def gang_parts(self, gang: Gang) -> Sequence[GangPart]:
        """How many pods of a gang have to start together, as its PodGroup or PodGang says. NotFoundError where there is
        none, or the cluster does not serve its kind.
        """

    async def delete_pod(self, namespace: str, name: str, uid: str) -> None:
        """Delete a pod that never ran. ConflictError if another has its name by now."""

    async def evict(self, namespace: str, name: str, uid: str) -> None:
        """Have a pod deleted, if the PodDisruptionBudgets allow it (policy/v1 Eviction).

        TooManyRequestsError if its budget allows none now, and it may be tried again; ConflictError if another has its
        name by now; RefusedError if the service may not, UnreachableError also where two budgets cover it.
        """

    async def record_event(self, event: PodEvent) -> None:
        """Create an Event about a pod, as this service."""

    async def set_pod_condition(self, said: GatedPodMessage) -> None:
        """Write the message of a gated pod's condition PodScheduled, and nothing else.

        ConflictError if the pod is another by now, or not as it was at that version.
        """

    async def annotate_node(self, node: str, key: str, value: str) -> None:
        """Set one annotation of one node."""

    async def create_repack(self, name: str, spec: bytes) -> None:
        """Make a Repack with a spec (JSON). ConflictError if there is one of that name."""

    async def approve_repack(self, name: str, uid: str) -> None:
        """Let a Repack of mode Approve be carried out; again too. ConflictError if another has its name by now."""

    async def delete_repack(self, name: str, uid: str) -> None:
        """Delete a Repack. ConflictError if another has its name by now."""

    async def write_repack_status(self, name: str, uid: str, status: bytes) -> None:
        """Write a Repack's status (JSON), whole. ConflictError if it is another by now."""

    async def get_lease(self, namespace: str, name: str) -> Lease:
        """One lease, from the API server itself."""

    async def create_lease(self, lease: Lease) -> Lease:
        """Make a lease; as it is then. ConflictError if there is one of that name."""

    async def write_lease(self, lease: Lease) -> Lease:
        """Write all of a lease's spec; as it is then. ConflictError if it is another by now, or at another version."""

    async def close(self) -> None:
        """Give back connections."""
