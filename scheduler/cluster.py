"""The port to Kubernetes: what the scheduler service needs of a cluster, and the partial objects that cross it.

Implemented by `scheduler.kube` (the real API server) and `simulator.memory_cluster` (in memory, with fault
injection); one contract suite runs on both. Objects are decoded into only the fields that we use: at 5,000 nodes
full models would cost hundreds of megabytes and tens of seconds (docs/adr/0004).
"""

import enum
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import msgspec


class Meta(msgspec.Struct, frozen=True, rename="camel"):
    """The metadata we read."""

    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    annotations: dict[str, str] | None = None
    labels: dict[str, str] | None = None
    deletion_timestamp: str | None = None


class Resources(msgspec.Struct, frozen=True):
    """A container's resource quantities, as Kubernetes writes them."""

    limits: dict[str, str | int] | None = None
    requests: dict[str, str | int] | None = None


class Container(msgspec.Struct, frozen=True, rename="camel"):
    """What the effective-request rule reads of a container."""

    name: str = ""
    resources: Resources | None = None
    restart_policy: str | None = None


class PodSpec(msgspec.Struct, frozen=True, rename="camel"):
    """What we read of a pod's spec."""

    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] | None = None
    node_name: str = ""
    scheduler_name: str = ""
    priority: int | None = None


class PodStatus(msgspec.Struct, frozen=True):
    """What we read of a pod's status."""

    phase: str = ""


class Pod(msgspec.Struct, frozen=True):
    """A v1.Pod, in part."""

    metadata: Meta
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class Node(msgspec.Struct, frozen=True):
    """A v1.Node, in part."""

    metadata: Meta


class MigNode(msgspec.Struct, frozen=True):
    """A MigNode; its status stays raw until `allocator.contract` reads it."""

    metadata: Meta
    status: msgspec.Raw = msgspec.Raw(b"{}")


Object = Pod | Node | MigNode


class Kind(enum.Enum):
    """The kinds we follow."""

    POD = "pods"
    NODE = "nodes"
    MIG_NODE = "mignodes"


TYPES: Mapping[Kind, type[Pod] | type[Node] | type[MigNode]] = {
    Kind.POD: Pod,
    Kind.NODE: Node,
    Kind.MIG_NODE: MigNode,
}


class ChangeType(enum.Enum):
    """What a watch says happened. A bookmark only moves the resource version on."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    BOOKMARK = "BOOKMARK"


@dataclass(frozen=True, slots=True)
class Change:
    """One watch event; `item` is None for a bookmark."""

    type: ChangeType
    item: Object | None
    resource_version: str


@dataclass(frozen=True, slots=True)
class Listing:
    """All objects of a kind at one resource version."""

    items: tuple[Object, ...]
    resource_version: str


@dataclass(frozen=True, slots=True)
class Binding:
    """A pod bound to a node, with annotations in the same write; `uid` is a precondition."""

    namespace: str
    name: str
    uid: str
    node: str
    annotations: Mapping[str, str]


class Cluster(Protocol):
    """What the scheduler service asks of Kubernetes.

    Every method raises the ClusterError that fits: ConflictError, NotFoundError, GoneError, RefusedError, or
    UnreachableError where nobody knows whether it was done.
    """

    async def list(self, kind: Kind) -> Listing:
        """All objects of a kind."""

    def watch(self, kind: Kind, resource_version: str) -> AsyncIterator[Change]:
        """Changes after a resource version, until the server ends the watch. GoneError if that version is too old."""

    async def get_pod(self, namespace: str, name: str) -> Pod:
        """One pod, from the API server itself."""

    async def bind(self, binding: Binding) -> None:
        """Write nodeName and annotations in one step. ConflictError if it is bound, deleting or another's namesake."""

    async def annotate_node(self, node: str, key: str, value: str) -> None:
        """Set one annotation of one node."""

    async def close(self) -> None:
        """Give back connections."""
