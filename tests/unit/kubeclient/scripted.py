"""A server that is scripted byte by byte, and the HTTP client that calls it."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from kubeclient.http_client import KEPT_S, HttpClient
from kubeclient.http_connection import DEAD_S, HELD, MAX_ANSWER

Script = Callable[["Caller"], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
OBJECT = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Caller:
    """One connection as the server sees it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def request(self) -> bytes:
        """The next request, head and body; nothing if the client has hung up."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""
        lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.startswith(b"Content-Length")]
        return head + (await self.reader.readexactly(int(lengths[0])) if lengths else b"")

    async def say(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(data)
        await self.writer.drain()

    async def hung_up(self) -> None:
        """Until the client is gone."""
        while await self.reader.read(2**16):
            pass


class Server:
    """A listening socket whose connections each follow a script, counted."""

    def __init__(self, script: Script) -> None:
        self.script, self.connections = script, 0
        self.requests: list[bytes] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Follow the script on one connection."""
        self.connections += 1
        try:
            await self.script(Caller(reader, writer))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()


@asynccontextmanager
async def serving(
    script: Script,
    *,
    calls: int = 4,
    path: str = "",
    tls: ssl.SSLContext | None = None,
    max_answer: int = MAX_ANSWER,
    held_max: int = HELD,
    kept_s: float = KEPT_S,
    dead_s: float = DEAD_S,
) -> AsyncIterator[tuple[HttpClient, Server]]:
    """A client, and the server that it calls."""
    server = Server(script)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    client = HttpClient(
        f"http://127.0.0.1:{server.port}{path}",
        ssl.create_default_context,
        calls=calls,
        max_answer=max_answer,
        held_max=held_max,
        kept_s=kept_s,
        dead_s=dead_s,
    )
    try:
        async with asyncio.timeout(20):
            yield client, server
    finally:
        await client.close()
        listening.close()


def answering(*answers: bytes) -> Script:
    """One request after the other gets the next of these answers; then the connection is closed."""

    async def script(caller: Caller) -> None:
        for answer in answers:
            if not await caller.request():
                return
            await caller.say(answer)

    return script


def always(answer: bytes) -> Script:
    """Every request gets this answer."""

    async def script(caller: Caller) -> None:
        while await caller.request():
            await caller.say(answer)

    return script


HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """A body's chunk on the wire."""
    return b"%x\r\n%s\r\n" % (len(data), data)


async def get(client: HttpClient, method: str = "GET", timeout_s: float = 10.0) -> tuple[int, bytes]:
    """One call without a body: status and body of the answer."""
    answer = await client.call(method, "/x", {}, timeout_s=timeout_s)
    return answer.status, answer.body
