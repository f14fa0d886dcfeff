"""Api over the real API server. `simulator.cluster.memory_cluster` is the other one.

Used by the local cluster: simulated agents and kubelets in front of a genuine control plane.
"""

from collections.abc import AsyncGenerator
from typing import Any

import msgspec

from kubeclient import kube
from kubeclient.changes import Change, ChangeType, Listing
from scheduler.cache.kube import KubeClient
from scheduler.cache.port import Binding
from simulator.cluster.api import Document, ResourceKind


class KubeApi:
    """`simulator.cluster.api.Api` over a connection to an API server, which its owner closes."""

    def __init__(self, connection: kube.Connection) -> None:
        self._connection = connection
        self._port = KubeClient(connection)

    async def create(self, kind: ResourceKind, document: Document) -> Document:
        """Create an object."""
        body = {"apiVersion": kind.api_version, "kind": kind.name} | document
        path = kind.path((document.get("metadata") or {}).get("namespace", "default"))
        return _parsed(await self._connection.request("POST", path, body=msgspec.json.encode(body)))

    async def get(self, kind: ResourceKind, name: str, namespace: str = "") -> Document:
        """One object."""
        return _parsed(await self._connection.request("GET", kind.path(namespace, name)))

    async def list(self, kind: ResourceKind) -> Listing[Document]:
        """All objects of a kind."""
        names = {"apiVersion": kind.api_version, "kind": kind.name}  # the items of a list bear none
        return await self._connection.list(kind.path(), lambda raw: names | _parsed(raw))

    async def watch(self, kind: ResourceKind, resource_version: str) -> AsyncGenerator[Change[Document], None]:
        """Changes after a resource version, until the server ends the watch."""
        async for type_, raw in self._connection.watch_raw(kind.path(), resource_version):
            document = _parsed(raw)
            version = document["metadata"]["resourceVersion"]
            yield Change(type_, None if type_ is ChangeType.BOOKMARK else document, version)

    async def patch(self, kind: ResourceKind, name: str, patch: Document, namespace: str = "") -> Document:
        """Apply a merge patch to all but the status."""
        return await self._patch(kind.path(namespace, name), {k: v for k, v in patch.items() if k != "status"})

    async def patch_status(self, kind: ResourceKind, name: str, patch: Document, namespace: str = "") -> Document:
        """Apply a merge patch to the status alone."""
        return await self._patch(kind.path(namespace, name, "status"), {"status": patch.get("status", {})})

    async def bind(self, binding: Binding) -> None:
        """Write a pod's nodeName and annotations in one step."""
        await self._port.bind(binding)

    async def delete(
        self, kind: ResourceKind, name: str, namespace: str = "", *, uid: str = "", grace_seconds: int | None = None
    ) -> None:
        """Delete an object, or mark a pod whose grace has to be waited for."""
        options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if uid:
            options["preconditions"] = {"uid": uid}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        await self._connection.request("DELETE", kind.path(namespace, name), body=msgspec.json.encode(options))

    async def _patch(self, path: str, patch: Document) -> Document:
        body = msgspec.json.encode(patch)
        return _parsed(await self._connection.request("PATCH", path, body=body, content_type=kube.MERGE_PATCH))


def _parsed(raw: bytes | msgspec.Raw) -> Document:
    document: Document = msgspec.json.decode(raw)
    return document
