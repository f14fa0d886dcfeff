"""The port to Kubernetes over the real API server: the calls of the node agent on a `kubeclient.kube.Connection`.

Only pods of the own node are asked for: an agent on each of 5,000 nodes must not make the API server send everything
5,000 times.
"""

import contextlib
import dataclasses
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from allocator import errors
from allocator.claims import contract
from kubeclient import events, kube
from kubeclient.changes import Change, Listing
from kubeclient.events import PodEvent
from kubeclient.objects import Node, NodeWithStatus
from node_agent.cluster.access import Right
from node_agent.cluster.node_pod import NodePod

CALLS = 8

_PODS = "/api/v1/pods"
_NODES = "/api/v1/nodes"
_MIG_NODES = f"/apis/{contract.GROUP}/{contract.VERSION}/{contract.PLURAL}"
_API_GROUP = f"/apis/{contract.GROUP}/{contract.VERSION}"
_ACCESS_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_JSON_PATCH = "application/json-patch+json"
_POD = msgspec.json.Decoder(NodePod).decode
_NODE = msgspec.json.Decoder(Node).decode


class _ReviewStatus(msgspec.Struct, frozen=True):
    allowed: bool = False


class _AccessReview(msgspec.Struct, frozen=True):
    status: _ReviewStatus = _ReviewStatus()


class _ApiResource(msgspec.Struct, frozen=True):
    name: str = ""


class _ApiResources(msgspec.Struct, frozen=True):
    resources: tuple[_ApiResource, ...] = ()


class KubeClient:
    """`port.Cluster` and `access.AccessReviewer` over a connection, which goes when this is closed."""

    def __init__(self, connection: kube.Connection) -> None:
        self._connection = connection

    @classmethod
    async def connect(cls, kubeconfig: Path | None = None) -> "KubeClient":
        """Over a connection of its own. Raises SettingsError if the configuration cannot be read."""
        return cls(await kube.Connection.connect(kubeconfig, user_agent="migsched-agent", calls=CALLS))

    async def pods(self, node: str) -> Listing[NodePod]:
        """All pods bound to a node."""
        return await self._connection.list(_PODS, _POD, _of_node(node))

    def watch_pods(self, node: str, resource_version: str) -> AsyncGenerator[Change[NodePod], None]:
        """Changes of a node's pods until the server ends the watch. GoneError if the version is too old."""
        return self._connection.watch(_PODS, _POD, resource_version, _of_node(node))

    async def node(self, name: str) -> NodeWithStatus:
        """The node."""
        return await self._connection.get(_path(_NODES, name), NodeWithStatus)

    async def list_node(self, name: str) -> Listing[Node]:
        """The node alone, to be watched from there."""
        return await self._connection.list(_NODES, _NODE, _named(name))

    def watch_node(self, name: str, resource_version: str) -> AsyncGenerator[Change[Node], None]:
        """Changes of the node until the server ends the watch. GoneError if the version is too old."""
        return self._connection.watch(_NODES, _NODE, resource_version, _named(name))

    async def label_node(self, name: str, labels: Mapping[str, str]) -> None:
        """Set labels of the node."""
        body = msgspec.json.encode({"metadata": {"labels": dict(labels)}})
        await self._connection.request("PATCH", _path(_NODES, name), body=body, content_type=kube.MERGE_PATCH)

    async def write_status(self, node: Node, status: Mapping[str, Any]) -> None:
        """Replace the status of the node's MigNode, which is made first if there is none.

        Replaced, not merged: a merge would keep what the new status no longer has.
        """
        body = msgspec.json.encode([{"op": "add", "path": "/status", "value": status}])
        path = _path(_MIG_NODES, node.metadata.name) + "/status"
        try:
            await self._connection.request("PATCH", path, body=body, content_type=_JSON_PATCH)
        except errors.NotFoundError:
            await self._make_mig_node(node)
            await self._connection.request("PATCH", path, body=body, content_type=_JSON_PATCH)

    async def _make_mig_node(self, node: Node) -> None:
        """A MigNode that goes with its node."""
        owner = {"apiVersion": "v1", "kind": "Node", "name": node.metadata.name, "uid": node.metadata.uid}
        body = {
            "apiVersion": f"{contract.GROUP}/{contract.VERSION}",
            "kind": "MigNode",
            "metadata": {"name": node.metadata.name, "ownerReferences": [owner]},
        }
        with contextlib.suppress(errors.ConflictError):
            await self._connection.request("POST", _MIG_NODES, body=msgspec.json.encode(body))

    async def event(self, event: PodEvent, component: str, node: str) -> None:
        """Record an Event, as told by a component on a node."""
        await self._connection.request("POST", events.path_of(event), body=events.body_of(event, component, node))

    async def serves_mig_nodes(self) -> bool:
        """Whether the CRD of MigNodes is there, in our version."""
        try:
            served = await self._connection.get(_API_GROUP, _ApiResources)
        except errors.NotFoundError:
            return False
        return any(resource.name == contract.PLURAL for resource in served.resources)

    async def may(self, right: Right) -> bool:
        """Whether this account has a right."""
        asked = {name: value for name, value in dataclasses.asdict(right).items() if value}
        body = msgspec.json.encode({"spec": {"resourceAttributes": asked}})
        answer = await self._connection.request("POST", _ACCESS_REVIEWS, body=body)
        try:
            return msgspec.json.decode(answer, type=_AccessReview).status.allowed
        except msgspec.MsgspecError as error:
            raise errors.UnreachableError(f"POST {_ACCESS_REVIEWS}: unreadable answer: {error}") from error

    async def close(self) -> None:
        """Give back connections."""
        await self._connection.close()


def _of_node(node: str) -> dict[str, str]:
    return {"fieldSelector": f"spec.nodeName={node}"}


def _named(node: str) -> dict[str, str]:
    return {"fieldSelector": f"metadata.name={node}"}


def _path(collection: str, name: str) -> str:
    return f"{collection}/{quote(name, safe='')}"
