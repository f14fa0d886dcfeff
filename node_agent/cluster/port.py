"""The port to Kubernetes: what the node agent needs of a cluster, and what crosses it beside `kubeclient.objects`.

Implemented by `node_agent.cluster.kube`, the real API server.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

from kubeclient.changes import Change, Listing
from kubeclient.events import PodEvent
from kubeclient.objects import Node, NodeWithStatus
from node_agent.cluster.node_pod import NodePod


class Cluster(Protocol):
    """What the node agent asks of Kubernetes. Every method raises the ClusterError that fits."""

    async def pods(self, node: str) -> Listing[NodePod]:
        """All pods bound to a node."""

    def watch_pods(self, node: str, resource_version: str) -> AsyncIterator[Change[NodePod]]:
        """Changes of a node's pods until the server ends the watch. GoneError if the version is too old."""

    async def node(self, name: str) -> NodeWithStatus:
        """The node."""

    async def list_node(self, name: str) -> Listing[Node]:
        """The node alone, to be watched from there."""

    def watch_node(self, name: str, resource_version: str) -> AsyncIterator[Change[Node]]:
        """Changes of the node until the server ends the watch. GoneError if the version is too old."""

    async def label_node(self, name: str, labels: Mapping[str, str]) -> None:
        """Set labels of the node."""

    async def write_status(self, node: Node, status: Mapping[str, Any]) -> None:
        """Replace the status of the node's MigNode, which is made first if there is none."""

    async def event(self, event: PodEvent, component: str, node: str) -> None:
        """Record an Event, as told by a component on a node."""

    async def close(self) -> None:
        """Give back connections."""
