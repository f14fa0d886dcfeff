"""The node agent's port over a server in memory: an agent sees its own node and the pods there."""

import contextlib
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import msgspec

from allocator import errors
from kubeclient import events
from kubeclient.changes import Change, ChangeType, Listing
from kubeclient.events import PodEvent
from kubeclient.objects import Node, NodeWithStatus
from node_agent.cluster.node_pod import NodePod
from simulator.cluster import api
from simulator.cluster.memory_cluster.faults import ApiFaults
from simulator.cluster.memory_cluster.server import MemoryServer

_POD = msgspec.json.Decoder(NodePod).decode
_NODE = msgspec.json.Decoder(Node).decode


class MemoryAgentCluster:
    """`node_agent.cluster.port.Cluster` over a server in memory. `faults` says what goes wrong between the two."""

    def __init__(self, server: MemoryServer, faults: ApiFaults | None = None) -> None:
        self.server = server
        self.faults = faults or ApiFaults()

    async def pods(self, node: str) -> Listing[NodePod]:
        """All pods bound to a node."""
        async with self.faults.around("list", api.POD.plural):
            pods = (stored.raw for stored in self.server.list(api.POD) if _is_on(stored.document, node))
            return Listing(tuple(_POD(raw) for raw in pods), str(self.server.version))

    async def watch_pods(self, node: str, resource_version: str) -> AsyncGenerator[Change[NodePod], None]:
        """Changes of a node's pods until the server ends the watch. GoneError if the version is too old."""
        async with self.faults.around("watch", api.POD.plural):
            entries = self.server.watch(api.POD, resource_version)
        async for entry in entries:
            if entry.type is ChangeType.BOOKMARK:
                yield Change(entry.type, None, str(entry.version))
            elif node.encode() in entry.raw:  # cheaper than decoding the pods of all nodes
                pod = _POD(entry.raw)
                if pod.spec.node_name == node:
                    yield Change(entry.type, pod, str(entry.version))

    async def node(self, name: str) -> NodeWithStatus:
        """The node."""
        async with self.faults.around("get", api.NODE.plural):
            return msgspec.json.decode(self.server.get(api.NODE, name).raw, type=NodeWithStatus)

    async def list_node(self, name: str) -> Listing[Node]:
        """The node alone, to be watched from there."""
        async with self.faults.around("list", api.NODE.plural):
            nodes = (stored for stored in self.server.list(api.NODE) if stored.document["metadata"]["name"] == name)
            return Listing(tuple(_NODE(stored.raw) for stored in nodes), str(self.server.version))

    async def watch_node(self, name: str, resource_version: str) -> AsyncGenerator[Change[Node], None]:
        """Changes of the node until the server ends the watch. GoneError if the version is too old."""
        async with self.faults.around("watch", api.NODE.plural):
            entries = self.server.watch(api.NODE, resource_version)
        async for entry in entries:
            node = None if entry.type is ChangeType.BOOKMARK else _NODE(entry.raw)
            if node is None or node.metadata.name == name:
                yield Change(entry.type, node, str(entry.version))

    async def label_node(self, name: str, labels: Mapping[str, str]) -> None:
        """Set labels of the node."""
        async with self.faults.around("patch", api.NODE.plural):
            self.server.patch(api.NODE, name, {"metadata": {"labels": dict(labels)}})

    async def write_status(self, node: Node, status: Mapping[str, Any]) -> None:
        """Replace the status of the node's MigNode, which is made first if there is none."""
        name = node.metadata.name
        async with self.faults.around("patch_status", api.MIG_NODE.plural):
            with contextlib.suppress(errors.ConflictError):
                self.server.create(api.MIG_NODE, {"metadata": {"name": name}})
            self.server.replace_status(api.MIG_NODE, name, msgspec.to_builtins(status))

    async def event(self, event: PodEvent, component: str, node: str) -> None:
        """Record an Event, as told by a component on a node."""
        document = msgspec.json.decode(events.body_of(event, component, node))
        async with self.faults.around("create", api.EVENT.plural):
            self.server.create(api.EVENT, document)

    async def close(self) -> None:
        """Nothing is open."""


def _is_on(pod: api.Document, node: str) -> bool:
    return bool(pod["spec"].get("nodeName") == node)
