"""The port to Kubernetes over the real API server. The only module of the agent that uses the `kubernetes` package.

The package gives configuration, authentication and TLS; bodies stay raw and are decoded into the partial objects of
`cluster`. Its errors are translated here, in one place. Only pods of the own node are asked for: an agent on each of
5,000 nodes must not make the API server send everything 5,000 times.
"""

import contextlib
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec
from kubernetes.aio import client as kubernetes_client
from kubernetes.aio import config as kubernetes_config

from allocator import contract, errors
from node_agent.cluster import Node, Pod, PodChange, PodEvent, PodList

CALL_TIMEOUT_S = 30.0
WATCH_TIMEOUT_S = 290  # the server ends a watch after this; shorter than common idle limits of proxies

_PODS = "/api/v1/pods"
_NODES = "/api/v1/nodes"
_MIG_NODES = f"/apis/{contract.GROUP}/{contract.VERSION}/{contract.PLURAL}"
_MERGE_PATCH = "application/merge-patch+json"
_JSON_PATCH = "application/json-patch+json"
_REFUSED = frozenset({400, 401, 403, 405, 413, 415, 422})


class _ListMeta(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""


class _PodPage(msgspec.Struct, frozen=True):
    items: tuple[Pod, ...] | None = ()
    metadata: _ListMeta = _ListMeta()


class _Event(msgspec.Struct, frozen=True):
    type: str
    object: msgspec.Raw


class _Bookmark(msgspec.Struct, frozen=True):
    metadata: _ListMeta


class _Status(msgspec.Struct, frozen=True):
    message: str = ""
    code: int = 0


class KubeClient:
    """A connection to one API server. Make it with `connect`, inside the event loop that uses it."""

    def __init__(self, configuration: Any) -> None:
        self._api = kubernetes_client.ApiClient(configuration)
        self._host: str = configuration.host.rstrip("/")
        context: ssl.SSLContext = self._api.rest_client.ssl_context
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=8, ssl=context))
        self._events = 0

    @classmethod
    async def connect(cls, kubeconfig: Path | None = None) -> "KubeClient":
        """Read the configuration: a kubeconfig file, or the pod's service account without one.

        Raises SettingsError if neither can be read. Nothing is sent yet.
        """
        configuration = kubernetes_client.Configuration()
        try:
            if kubeconfig is None:
                kubernetes_config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]  # untyped
            else:
                await kubernetes_config.load_kube_config(  # type: ignore[no-untyped-call]  # untyped
                    config_file=str(kubeconfig), client_configuration=configuration, persist_config=False
                )
        except (kubernetes_config.ConfigException, OSError, ValueError, TypeError) as error:
            raise errors.SettingsError(
                "kubeconfig", str(kubeconfig or "service account"), f"cannot be used: {error}"
            ) from error
        return cls(configuration)

    async def pods(self, node: str) -> PodList:
        """All pods bound to a node."""
        with _translated("list pods"):
            page = msgspec.json.decode(await self._request("GET", _PODS, query=_of_node(node)), type=_PodPage)
        return PodList(page.items or (), page.metadata.resource_version)

    async def watch_pods(self, node: str, resource_version: str) -> AsyncGenerator[PodChange, None]:
        """Changes of a node's pods until the server ends the watch. GoneError if the version is too old."""
        query = _of_node(node) | {
            "watch": "1",
            "resourceVersion": resource_version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_TIMEOUT_S),
        }
        headers = await self._headers("GET", _PODS, None)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CALL_TIMEOUT_S, sock_read=WATCH_TIMEOUT_S + 30)
        with _translated("watch pods"):
            async with self._session.get(
                self._host + _PODS, params=query, headers=headers, timeout=timeout
            ) as response:
                if response.status >= 300:
                    raise _error("watch pods", response.status, await response.read())
                try:
                    async for line in _lines(response.content):
                        yield _change(line)
                finally:  # a watch left early: its TLS farewell would outlive the event loop
                    if response.connection is not None and response.connection.transport is not None:
                        response.connection.transport.abort()

    async def node(self, name: str) -> Node:
        """The node."""
        with _translated(f"get node {name}"):
            return msgspec.json.decode(await self._request("GET", _path(_NODES, name)), type=Node)

    async def label_node(self, name: str, labels: Mapping[str, str]) -> None:
        """Set labels of the node."""
        body = msgspec.json.encode({"metadata": {"labels": dict(labels)}})
        await self._request("PATCH", _path(_NODES, name), body=body, content_type=_MERGE_PATCH)

    async def write_status(self, node: Node, status: Mapping[str, Any]) -> None:
        """Replace the status of the node's MigNode, which is made first if there is none.

        Replaced, not merged: a merge would keep what the new status no longer has.
        """
        body = msgspec.json.encode([{"op": "add", "path": "/status", "value": status}])
        path = _path(_MIG_NODES, node.metadata.name) + "/status"
        try:
            await self._request("PATCH", path, body=body, content_type=_JSON_PATCH)
        except errors.NotFoundError:
            await self._make_mig_node(node)
            await self._request("PATCH", path, body=body, content_type=_JSON_PATCH)

    async def _make_mig_node(self, node: Node) -> None:
        """A MigNode that goes with its node."""
        owner = {"apiVersion": "v1", "kind": "Node", "name": node.metadata.name, "uid": node.metadata.uid}
        body = {
            "apiVersion": f"{contract.GROUP}/{contract.VERSION}",
            "kind": "MigNode",
            "metadata": {"name": node.metadata.name, "ownerReferences": [owner]},
        }
        with contextlib.suppress(errors.ConflictError):
            await self._request("POST", _MIG_NODES, body=msgspec.json.encode(body))

    async def event(self, event: PodEvent, component: str) -> None:
        """Record an Event."""
        now = datetime.now(UTC)
        self._events += 1
        stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
        body = {
            "metadata": {
                "name": f"{event.pod[:200]}.{int(now.timestamp() * 1e6):x}{self._events:x}",
                "namespace": event.namespace,
            },
            "involvedObject": {
                "apiVersion": "v1",
                "kind": "Pod",
                "name": event.pod,
                "namespace": event.namespace,
                "uid": event.uid,
            },
            "type": event.type,
            "reason": event.reason,
            "message": event.message,
            "source": {"component": component},
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "count": 1,
        }
        path = f"/api/v1/namespaces/{quote(event.namespace, safe='')}/events"
        await self._request("POST", path, body=msgspec.json.encode(body))

    async def close(self) -> None:
        """Give back connections."""
        await self._session.close()
        await self._api.close()  # type: ignore[no-untyped-call]  # untyped

    async def _request(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> bytes:
        headers = await self._headers(method, path, content_type if body is not None else None)
        what = f"{method} {path}"
        with _translated(what):
            async with self._session.request(
                method,
                self._host + path,
                params=query,
                data=body,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=CALL_TIMEOUT_S),
            ) as response:
                answer = await response.read()
        if response.status >= 300:
            raise _error(what, response.status, answer)
        return answer

    async def _headers(self, method: str, path: str, content_type: str | None) -> dict[str, str]:
        headers = {"Accept": "application/json", "User-Agent": "migsched-agent"}
        if content_type is not None:
            headers["Content-Type"] = content_type
        await self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, None)
        return headers


def _of_node(node: str) -> dict[str, str]:
    return {"fieldSelector": f"spec.nodeName={node}"}


def _path(collection: str, name: str) -> str:
    return f"{collection}/{quote(name, safe='')}"


def _change(line: bytes) -> PodChange:
    event = msgspec.json.decode(line, type=_Event)
    if event.type == "ERROR":
        status = msgspec.json.decode(event.object, type=_Status)
        raise _error("watch pods", status.code, status.message.encode())
    if event.type == "BOOKMARK":
        version = msgspec.json.decode(event.object, type=_Bookmark).metadata.resource_version
        return PodChange(event.type, None, version)
    pod = msgspec.json.decode(event.object, type=Pod)
    return PodChange(event.type, pod, pod.metadata.resource_version)


async def _lines(stream: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Lines of any length: a pod may be longer than a stream's own line limit."""
    rest = b""
    async for chunk in stream.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line:
                yield line


@contextlib.contextmanager
def _translated(what: str) -> Iterator[None]:
    """The transport's and the decoder's errors as ours."""
    try:
        yield
    except (TimeoutError, aiohttp.ClientError, ssl.SSLError, OSError) as error:
        raise errors.UnreachableError(f"{what}: {type(error).__name__} {error}") from error
    except msgspec.MsgspecError as error:
        raise errors.UnreachableError(f"{what}: unreadable answer: {error}") from error


def _error(what: str, status: int, body: bytes) -> errors.ClusterError:
    """The ClusterError for an HTTP status."""
    try:
        message = msgspec.json.decode(body, type=_Status).message
    except msgspec.MsgspecError:
        message = body[:200].decode(errors="replace")
    text = f"{what}: HTTP {status}: {message}"
    kinds: dict[int, type[errors.ClusterError]] = {
        409: errors.ConflictError,
        404: errors.NotFoundError,
        410: errors.GoneError,
    }
    if status in kinds:
        return kinds[status](text)
    return errors.RefusedError(text) if status in _REFUSED else errors.UnreachableError(text)
