"""HTTP calls and streams to one server over a few kept connections. Used by `kube`, and by nothing else.

A Binding crosses this client once per pod, beside a kube-scheduler that wants the same processor: a general client
spent most of such a call on what an API server's client does not need (docs/adr/0013).
"""

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

from kubeclient.http_connection import DEAD_S, HELD, MAX_ANSWER, AnswerTooLargeError, HttpConnection

KEPT_S = 60.0  # how long an idle connection is kept; kube-apiserver closes one after 90 s
CONNECT_S = 30.0


OpenConnection = Callable[..., Awaitable[tuple[asyncio.BaseTransport, HttpConnection]]]


class HttpAnswer(NamedTuple):
    """What a server answered to a call."""

    status: int
    body: bytes
    retry_after: bytes = b""  # the header of that name, as it came


class HttpStream:
    """A body that comes piece by piece: iterate over its chunks."""

    def __init__(self, connection: HttpConnection, silence_s: float, gather_s: float, max_answer: int) -> None:
        self._max_answer = max_answer
        self._connection = connection
        self._silence_s = silence_s
        self._gather_s = gather_s

    @property
    def status(self) -> int:
        """The status of the answer."""
        return self._connection.status

    @property
    def retry_after(self) -> bytes:
        """The header of that name, as it came."""
        return self._connection.retry_after

    async def read(self) -> bytes:
        """The whole body at once. Raises ConnectionError where it is too large."""
        chunks, size = [], 0
        async for chunk in self:
            chunks.append(chunk)
            size += len(chunk)
            if size > self._max_answer:
                raise AnswerTooLargeError(self._max_answer)
        return b"".join(chunks)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            with _time_limit(self._connection, self._silence_s):
                chunk = await self._connection.chunk()
            if not chunk:
                return
            yield chunk
            if self._gather_s:
                self._connection.gather(True)
                await asyncio.sleep(self._gather_s)
                self._connection.gather(False)


class HttpClient:
    """A client of the server at `url` (`https://host:port`, a path is kept), inside one event loop.

    `tls` says what each connection is made with; when it says something else, idle connections are given up. The
    server's certificate has to bear `server_name`, or without it the URL's host.

    At most `calls` calls are in flight, each on a connection of its own; streams are not counted. A server that
    vanished is noticed within `dead_s`. `open_connection` is the event loop's `create_connection`, or stands in for it.
    Every method raises OSError where no complete answer came: ConnectionError, ssl.SSLError and TimeoutError are kinds
    of it.
    """

    def __init__(
        self,
        url: str,
        tls: Callable[[], ssl.SSLContext],
        *,
        calls: int,
        server_name: str = "",
        max_answer: int = MAX_ANSWER,
        held_max: int = HELD,
        kept_s: float = KEPT_S,
        connect_s: float = CONNECT_S,
        dead_s: float = DEAD_S,
        open_connection: OpenConnection | None = None,
    ) -> None:
        parts = urlsplit(url)
        self._max_answer = max_answer
        self._held_max = held_max
        self._kept_s = kept_s
        self._connect_s = connect_s
        self._dead_s = dead_s
        self._open_connection = open_connection or asyncio.get_running_loop().create_connection
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._tls = tls if parts.scheme == "https" else None
        self._server_name = server_name if parts.scheme == "https" else ""
        self._prefix = parts.path.rstrip("/")
        self._authority = parts.netloc.rpartition("@")[2]
        self._slots = asyncio.Semaphore(calls)
        self._idle: list[tuple[float, HttpConnection]] = []  # since when; the latest last
        self._open: set[HttpConnection] = set()

    async def call(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        query: Mapping[str, str] | None = None,
        *,
        timeout_s: float,
    ) -> HttpAnswer:
        """One exchange."""
        request = self._request(method, path, headers, body, query)
        async with self._slots:
            kept = self._kept()
            if kept is not None:
                try:
                    return await self._exchange(kept, request, timeout_s)
                except ConnectionError:
                    # The server may have closed it while it was idle. Only what changes nothing is said twice.
                    if method != "GET" or kept.status:
                        raise
            return await self._exchange(await self._connect(), request, timeout_s)

    @contextlib.asynccontextmanager
    async def stream(
        self,
        path: str,
        headers: Mapping[str, str],
        query: Mapping[str, str] | None = None,
        *,
        silence_s: float,
        gather_s: float = 0.0,
    ) -> AsyncIterator[HttpStream]:
        """GET with an answer that may never end, given up after `silence_s` without a byte of it.

        What comes within `gather_s` after a chunk comes as one: the first of many events is not late, and the others
        cost one wake-up together.
        """
        request = self._request("GET", path, headers, None, query)
        connection = await self._connect()
        try:
            connection.send(request, streamed=True)
            with _time_limit(connection, silence_s):
                await connection.head()
            yield HttpStream(connection, silence_s, gather_s, self._max_answer)
        finally:
            self._give_up(connection)

    async def close(self) -> None:
        """End all connections; calls in flight raise ConnectionError."""
        ending = tuple(self._open)
        for connection in ending:
            self._give_up(connection)
        self._idle.clear()
        await asyncio.gather(*(connection.wait_closed() for connection in ending))

    def _request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None,
        query: Mapping[str, str] | None,
    ) -> bytes:
        """The bytes of a request. Raises ConnectionError for a line break that would begin another one."""
        target = f"{self._prefix}{path}?{urlencode(query)}" if query else self._prefix + path
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self._authority}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        head = "\r\n".join(lines)
        if head.count("\n") != len(lines) - 1 or head.count("\r") != len(lines) - 1:
            raise ConnectionError("not sent: a header or the path holds a line break")
        return f"{head}\r\n\r\n".encode() + (body or b"")

    async def _exchange(self, connection: HttpConnection, request: bytes, timeout_s: float) -> HttpAnswer:
        """One exchange on a connection, which is kept where it went well."""
        try:
            connection.send(request)
            with _time_limit(connection, timeout_s):
                body = await connection.answer()
        except BaseException:
            self._give_up(connection)
            raise
        if connection.reusable:
            self._idle.append((time.monotonic(), connection))
        else:
            self._give_up(connection)
        return HttpAnswer(connection.status, body, connection.retry_after)

    def _kept(self) -> HttpConnection | None:
        """The connection that was used last, if it is still good."""
        oldest = time.monotonic() - self._kept_s
        tls = self._tls() if self._tls is not None else None
        while self._idle:
            since, connection = self._idle.pop()
            if connection.reusable and since > oldest and connection.tls is tls:
                return connection
            self._give_up(connection)
        return None

    async def _connect(self) -> HttpConnection:
        tls = self._tls() if self._tls is not None else None
        try:
            async with asyncio.timeout(self._connect_s):
                _, connection = await self._open_connection(
                    lambda: HttpConnection(self._max_answer, held_max=self._held_max, tls=tls, dead_s=self._dead_s),
                    self._host,
                    self._port,
                    ssl=tls,
                    server_hostname=self._server_name or None,
                )
        except TimeoutError as error:
            raise TimeoutError(f"no connection to {self._authority} within {self._connect_s:g} s") from error
        self._open.add(connection)
        return connection

    def _give_up(self, connection: HttpConnection) -> None:
        self._open.discard(connection)
        connection.close()


@contextlib.contextmanager
def _time_limit(connection: HttpConnection, seconds: float) -> Iterator[None]:
    """Fail the connection if what is awaited on it takes longer. A fraction of `asyncio.timeout`'s cost."""
    problem = TimeoutError(f"no answer within {seconds:g} s")
    timer = asyncio.get_running_loop().call_later(seconds, connection.fail, problem)
    try:
        yield
    finally:
        timer.cancel()
