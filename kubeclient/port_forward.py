"""Port-forward: connections to a port of a pod, through the API server, as `kubectl port-forward` makes them.

Each is a WebSocket of the subprotocol v4.channel.k8s.io to the pod's `portforward` subresource (Kubernetes API,
connectGetNamespacedPodPortforward): binary messages whose first byte is a channel, 0 for data and 1 for errors, and
the first message of each channel only says which port it is about. The caller needs the right to `get`
`pods/portforward`, from Kubernetes 1.35 on to `create` it too (feature AuthorizePodWebsocketUpgradeCreatePermission),
and neither a route to the pod nor a hole in a NetworkPolicy.
"""

import asyncio
import base64
import ssl
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import aiohttp

from allocator import errors
from kubeclient import status
from kubeclient.access import Access
from kubeclient.http_client import HttpAnswer, HttpClient
from kubeclient.http_connection import MAX_ANSWER, HttpConnection
from kubeclient.socket_bridge import SocketBridge

PROTOCOL = "v4.channel.k8s.io"
DATA, ERROR = 0, 1  # channels
MAX_MESSAGE = 2**22  # bytes; the kubelet sends 32 KiB at most
_SWITCHING = 101
_MOST_SAID = 4096  # bytes of a refusal


class PortForward:
    """HTTP calls to a port of a pod. Use it inside one event loop, and close it.

    With `tls` the program behind the port is spoken with over TLS, inside the tunnel; `server_name` is whose
    certificate it has to have. Methods raise the ClusterError that fits.
    """

    def __init__(
        self,
        access: Access,
        namespace: str,
        pod: str,
        port: int,
        *,
        max_answer: int = MAX_ANSWER,
        tls: ssl.SSLContext | None = None,
        server_name: str = "",
    ) -> None:
        self._access = access
        self._tls = tls
        self._server_name = server_name
        self._bridge: SocketBridge | None = None
        self._what = f"port-forward to {namespace}/{pod}:{port}"
        self._url = f"{access.host}/api/v1/namespaces/{namespace}/pods/{pod}/portforward?ports={port}"
        self._session: aiohttp.ClientSession | None = None
        self._http = HttpClient(
            f"http://localhost:{port}", access.ssl_context, calls=1, max_answer=max_answer, open_connection=self._open
        )

    async def get(self, path: str, headers: Mapping[str, str] | None = None, *, timeout_s: float) -> HttpAnswer:
        """GET of a path of the program that listens there, whatever its status."""
        sent = {"Accept": "application/json", **(headers or {})}
        try:
            return await self._http.call("GET", path, sent, timeout_s=timeout_s)
        except (OSError, aiohttp.ClientError) as error:
            told = self._bridge.problem if self._bridge is not None else None
            why = told or error
            raise errors.UnreachableError(f"{self._what}: {why or type(why).__name__}") from error

    async def close(self) -> None:
        """Give back connections; the access is not closed."""
        await self._http.close()
        if self._session is not None:
            await self._session.close()

    async def _open(
        self, make: Callable[[], HttpConnection], *_: object, **__: object
    ) -> tuple[asyncio.BaseTransport, HttpConnection]:
        """A connection to the pod's port, in place of the event loop's own."""
        if self._session is None:
            self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        websocket = await self._websocket(self._session, await self._access.headers())
        if self._tls is not None:
            return await self._secured(websocket, self._tls, make)
        connection = make()
        transport = _Tunnel(websocket, connection)
        connection.connection_made(transport)
        transport.start()
        return transport, connection

    async def _secured(
        self, websocket: Any, tls: ssl.SSLContext, make: Callable[[], HttpConnection]
    ) -> tuple[asyncio.BaseTransport, HttpConnection]:
        """The same over TLS, which the event loop speaks on one end of a pair of sockets; the other end is bridged."""
        self._bridge = SocketBridge()
        near = await self._bridge.open()
        tunnel = _Tunnel(websocket, self._bridge)
        self._bridge.join(tunnel)
        tunnel.start()
        name = self._server_name
        return await asyncio.get_running_loop().create_connection(make, sock=near, ssl=tls, server_hostname=name)

    async def _websocket(self, session: aiohttp.ClientSession, headers: Mapping[str, str]) -> Any:
        """Raises ClusterError where the API server refuses."""
        try:
            return await session.ws_connect(
                self._url,
                protocols=(PROTOCOL,),
                headers=dict(headers),
                max_msg_size=MAX_MESSAGE,
                **self._security(),
            )
        except aiohttp.WSServerHandshakeError as error:
            if error.status == _SWITCHING:
                raise errors.UnreachableError(f"{self._what}: {error.message}") from error
            raise status.error(self._what, error.status, await self._refusal(session, headers)) from error

    async def _refusal(self, session: aiohttp.ClientSession, headers: Mapping[str, str]) -> bytes:
        """What the API server says of a handshake that it refused: the library drops it, so that it is asked again."""
        asks = {
            **headers,
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
            "Sec-WebSocket-Protocol": PROTOCOL,
        }
        async with session.get(self._url, headers=asks, **self._security()) as answer:
            return b"" if answer.status == _SWITCHING else await answer.content.read(_MOST_SAID)

    def _security(self) -> dict[str, Any]:
        """What each call of the library is told of TLS."""
        if not self._access.host.startswith("https:"):
            return {}
        return {"ssl": self._access.ssl_context(), "server_hostname": self._access.server_name or None}


class _Receiver(Protocol):
    """What hears of what comes through a tunnel."""

    def data_received(self, data: bytes) -> None:
        """Bytes of the program behind the port."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The tunnel is over."""


class _Tunnel(asyncio.Transport):
    """A WebSocket as the transport of a connection."""

    def __init__(self, websocket: Any, connection: _Receiver) -> None:
        super().__init__()
        self._websocket = websocket
        self._connection = connection
        self._to_send: asyncio.Queue[bytes] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Pass on in both directions."""
        self._tasks = [asyncio.ensure_future(self._receive()), asyncio.ensure_future(self._send())]

    def write(self, data: "bytes | bytearray | memoryview[int]") -> None:
        """Send."""
        self._to_send.put_nowait(bytes(data))

    def abort(self) -> None:
        """Close at once."""
        for task in self._tasks:
            task.cancel()
        self._connection.connection_lost(None)

    def pause_reading(self) -> None:
        """Answers are bounded and taken whole: the client's own limit is enough."""

    def resume_reading(self) -> None:
        """See `pause_reading`."""

    async def _send(self) -> None:
        while True:
            await self._websocket.send_bytes(bytes([DATA]) + await self._to_send.get())

    async def _receive(self) -> None:
        problem: Exception | None = None
        named: set[int] = set()  # channels that have said their port
        try:
            async for message in self._websocket:
                if message.type is not aiohttp.WSMsgType.BINARY or not message.data:
                    continue
                channel, content = message.data[0], message.data[1:]
                if channel not in named:
                    named.add(channel)
                elif channel == DATA:
                    self._connection.data_received(content)
                elif channel == ERROR:
                    problem = ConnectionError(content.decode(errors="replace"))
        except (OSError, aiohttp.ClientError) as error:
            problem = ConnectionError(str(error))
        finally:
            await self._websocket.close()
            self._connection.connection_lost(problem)
