"""The port to Kubernetes over the real API server. The only module of the scheduler that uses the `kubernetes`
package.

The package gives configuration, authentication and TLS; bodies stay raw and are decoded into the partial objects of
`cluster`. Its errors are translated here, in one place.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec
from kubernetes.aio import client as kubernetes_client
from kubernetes.aio import config as kubernetes_config

from allocator import contract, errors
from scheduler import cluster
from scheduler.cluster import Binding, Change, ChangeType, Kind, Listing, Pod

PAGE = 2_000  # objects per page of a list: keeps the peak of memory low, costs nothing in time
CALL_TIMEOUT_S = 30.0
WATCH_TIMEOUT_S = 290  # the server ends a watch after this; shorter than common idle limits of proxies
CONNECTIONS = 64  # bindings in flight; more only queue in the API server

PATHS: Mapping[Kind, str] = {
    Kind.POD: "/api/v1/pods",
    Kind.NODE: "/api/v1/nodes",
    Kind.MIG_NODE: f"/apis/{contract.GROUP}/{contract.VERSION}/{contract.PLURAL}",
}

MERGE_PATCH = "application/merge-patch+json"
_METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_REFUSED = frozenset({400, 401, 403, 405, 413, 415, 422})


class _ListMeta(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class _Page(msgspec.Struct, frozen=True):
    items: tuple[msgspec.Raw, ...] | None = ()
    metadata: _ListMeta = _ListMeta()


class _Event(msgspec.Struct, frozen=True):
    type: str
    object: msgspec.Raw


class _Status(msgspec.Struct, frozen=True):
    message: str = ""
    code: int = 0


class _Bookmark(msgspec.Struct, frozen=True):
    metadata: _ListMeta


_DECODERS = {kind: msgspec.json.Decoder(type_) for kind, type_ in cluster.TYPES.items()}
_EVENT = msgspec.json.Decoder(_Event)


class KubeClient:
    """A connection to one API server. Make it with `connect`, inside the event loop that uses it."""

    def __init__(self, configuration: Any) -> None:
        self._api = kubernetes_client.ApiClient(configuration)
        self._host: str = configuration.host.rstrip("/")
        ssl_context: ssl.SSLContext = self._api.rest_client.ssl_context
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=ssl_context),
            read_bufsize=2**21,
            auto_decompress=True,
        )
        self._slots = asyncio.Semaphore(CONNECTIONS)

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

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> bytes:
        """One call; the body of the answer. Raises the ClusterError that fits."""
        headers = await self._headers(method, path, content_type if body is not None else None, accept)
        async with self._slots:
            with _translated(f"{method} {path}"):
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
            raise _error(f"{method} {path}", response.status, answer)
        return answer

    async def list(self, kind: Kind) -> Listing:
        """All objects of a kind, page by page."""
        items: list[cluster.Object] = []
        query = {"limit": str(PAGE)}
        while True:
            page = msgspec.json.decode(await self.request("GET", PATHS[kind], query=query), type=_Page)
            items += [_DECODERS[kind].decode(raw) for raw in page.items or ()]
            if not page.metadata.continue_:
                return Listing(tuple(items), page.metadata.resource_version)
            query = {"limit": str(PAGE), "continue": page.metadata.continue_}

    async def watch(self, kind: Kind, resource_version: str) -> AsyncIterator[Change]:
        """Changes after a resource version, until the server ends the watch."""
        async for raw_type, raw in self.watch_raw(PATHS[kind], resource_version):
            if raw_type == "BOOKMARK":
                version = msgspec.json.decode(raw, type=_Bookmark).metadata.resource_version
                yield Change(ChangeType.BOOKMARK, None, version)
                continue
            item = _DECODERS[kind].decode(raw)
            yield Change(ChangeType(raw_type), item, item.metadata.resource_version)

    async def watch_raw(self, path: str, resource_version: str) -> AsyncIterator[tuple[str, bytes | msgspec.Raw]]:
        """(type, object) of a watch, undecoded. GoneError if the version is too old."""
        query = {
            "watch": "1",
            "resourceVersion": resource_version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_TIMEOUT_S),
        }
        headers = await self._headers("GET", path, None, "application/json")
        what = f"watch {path}"
        with _translated(what):
            async with self._session.get(
                self._host + path,
                params=query,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CALL_TIMEOUT_S, sock_read=WATCH_TIMEOUT_S + 30),
            ) as response:
                if response.status >= 300:
                    raise _error(what, response.status, await response.read())
                try:
                    async for line in _lines(response.content):
                        event = _EVENT.decode(line)
                        if event.type == "ERROR":
                            status = msgspec.json.decode(event.object, type=_Status)
                            raise _error(what, status.code, status.message.encode())
                        yield event.type, event.object
                finally:  # a watch left early: its TLS farewell would outlive the event loop
                    if response.connection is not None and response.connection.transport is not None:
                        response.connection.transport.abort()

    async def get_pod(self, namespace: str, name: str) -> Pod:
        """One pod, from the API server itself."""
        return msgspec.json.decode(await self.request("GET", _pod_path(namespace, name)), type=Pod)

    async def bind(self, binding: Binding) -> None:
        """POST the Binding: nodeName and annotations in one write, if the pod still has that UID."""
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {
                "name": binding.name,
                "namespace": binding.namespace,
                "uid": binding.uid,
                "annotations": binding.annotations,
            },
            "target": {"apiVersion": "v1", "kind": "Node", "name": binding.node},
        }
        path = _pod_path(binding.namespace, binding.name) + "/binding"
        await self.request("POST", path, body=msgspec.json.encode(body))

    async def annotate_node(self, node: str, key: str, value: str) -> None:
        """Set one annotation of one node."""
        body = msgspec.json.encode({"metadata": {"annotations": {key: value}}})
        path = f"{PATHS[Kind.NODE]}/{quote(node, safe='')}"
        await self.request("PATCH", path, body=body, content_type=MERGE_PATCH, accept=_METADATA_ONLY)

    async def close(self) -> None:
        """Give back connections."""
        await self._session.close()
        await self._api.close()  # type: ignore[no-untyped-call]  # untyped

    async def _headers(self, method: str, path: str, content_type: str | None, accept: str) -> dict[str, str]:
        headers = {"Accept": accept, "User-Agent": "migsched"}
        if content_type is not None:
            headers["Content-Type"] = content_type
        await self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, None)
        return headers


def _pod_path(namespace: str, name: str) -> str:
    return f"/api/v1/namespaces/{quote(namespace, safe='')}/pods/{quote(name, safe='')}"


async def _lines(stream: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Lines of any length: a MigNode of many GPUs is longer than a stream's own line limit."""
    rest = b""
    async for chunk in stream.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line:
                yield line


@contextlib.contextmanager
def _translated(what: str) -> Any:
    """The transport's and the decoder's errors as ours."""
    try:
        yield
    except (aiohttp.ClientError, TimeoutError, ssl.SSLError, OSError) as error:
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
    if status == 409:
        return errors.ConflictError(text)
    if status == 404:
        return errors.NotFoundError(text)
    if status == 410:
        return errors.GoneError(text)
    if status in _REFUSED:
        return errors.RefusedError(text)
    return errors.UnreachableError(text)
