"""The port to Kubernetes: what the node agent needs of a cluster, and the partial objects that cross it.

Implemented by `node_agent.kube`, the real API server. Objects are decoded into only the fields that are used.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec


class Meta(msgspec.Struct, frozen=True, rename="camel"):
    """The metadata we read."""

    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    annotations: dict[str, str] | None = None
    labels: dict[str, str] | None = None


class Resources(msgspec.Struct, frozen=True):
    """A container's resource quantities."""

    limits: dict[str, str | int] | None = None
    requests: dict[str, str | int] | None = None


class Container(msgspec.Struct, frozen=True, rename="camel"):
    """What we read of a container."""

    name: str = ""
    resources: Resources | None = None
    restart_policy: str | None = None


class PodSpec(msgspec.Struct, frozen=True, rename="camel"):
    """What we read of a pod's spec."""

    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] | None = None


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


@dataclass(frozen=True, slots=True)
class PodList:
    """All pods of a node at one resource version."""

    pods: tuple[Pod, ...]
    resource_version: str


@dataclass(frozen=True, slots=True)
class PodChange:
    """One event of a watch: ADDED, MODIFIED, DELETED, or BOOKMARK without a pod."""

    type: str
    pod: Pod | None
    resource_version: str


@dataclass(frozen=True, slots=True)
class PodEvent:
    """A Kubernetes Event about a pod. `type` is Normal or Warning."""

    namespace: str
    pod: str
    uid: str
    type: str
    reason: str
    message: str


class Cluster(Protocol):
    """What the node agent asks of Kubernetes. Every method raises the ClusterError that fits."""

    async def pods(self, node: str) -> PodList:
        """All pods bound to a node."""

    def watch_pods(self, node: str, resource_version: str) -> AsyncIterator[PodChange]:
        """Changes of a node's pods until the server ends the watch. GoneError if the version is too old."""

    async def node(self, name: str) -> Node:
        """The node."""

    async def label_node(self, name: str, labels: Mapping[str, str]) -> None:
        """Set labels of the node."""

    async def write_status(self, node: Node, status: Mapping[str, Any]) -> None:
        """Replace the status of the node's MigNode, which is made first if there is none."""

    async def event(self, event: PodEvent, component: str) -> None:
        """Record an Event."""

    async def close(self) -> None:
        """Give back connections."""
