"""The bounded server: silent, slow and endless clients leave, others are answered."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from starlette.types import Receive, Scope, Send

from httpserver import protocol
from httpserver.limits import ConnectionLimits

LIMITS = ConnectionLimits(total=6, per_address=4, head_s=30, call_s=30, head_bytes=2**16)
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
DEADLINE_S = 10
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Application:
    """Answers at once, or with /wait when it is told to; with /large it sends more than a client's buffers take."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See Application."""
        del receive
        if scope["path"] == "/wait":
            await self.go_on.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(1000 if scope["path"] == "/large" else 0):
            await send({"type": "http.response.body", "body": b"x" * 2**16, "more_body": True})
        await send({"type": "http.response.body", "body": b"ok"})


class Server:
    """A server, and connections to it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.streams: list[Stream] = []

    async def connected(self, sent: bytes = b"", source: str = "127.0.0.1") -> Stream:
        """A connection on which this was sent."""
        stream = await asyncio.open_connection("127.0.0.1", self._port, local_addr=(source, 0))
        self.streams.append(stream)
        stream[1].write(sent)
        return stream


@asynccontextmanager
async def serving(limits: ConnectionLimits = LIMITS, application: Application | None = None) -> AsyncIterator[Server]:
    """A server with these limits."""
    listener = socket.create_server(("127.0.0.1", 0))
    until = asyncio.Event()
    made = protocol.configuration(application or Application(), limits, timeout_graceful_shutdown=1)
    running = asyncio.create_task(protocol.serve(made, listener, until))
    server = Server(listener.getsockname()[1])
    yield server
    for _, writer in server.streams:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    until.set()
    await running


async def answer(stream: Stream) -> bytes:
    """What comes on a connection until it is closed."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            return await stream[0].read()
    except ConnectionError:
        return b""


async def first_line(stream: Stream) -> bytes:
    """The first line of an answer."""
    async with asyncio.timeout(DEADLINE_S):
        return await stream[0].readline()


async def test_a_head_has_its_time() -> None:
    """A connection whose head does not come is closed; one that dribbles gets no more time."""
    async with serving(replace(LIMITS, head_s=0.2)) as server:
        assert await answer(await server.connected()) == b""
        assert await answer(await server.connected(REQUEST[:20])) == b""


async def test_an_idle_connection_has_the_same_time() -> None:
    """After an answer the next head has as long, and then the connection is closed."""
    async with serving(replace(LIMITS, head_s=0.2)) as server:
        assert (await answer(await server.connected(REQUEST * 2))).count(b"200 OK") == 2


async def test_a_call_has_its_time() -> None:
    """A client that does not read its answer loses its connection, and so does one whose answer does not come."""
    application = Application()
    async with serving(replace(LIMITS, call_s=0.3), application) as server:
        assert await answer(await server.connected(REQUEST.replace(b"/ ", b"/wait "))) == b""
        slow = await server.connected(REQUEST.replace(b"/ ", b"/large "))
        slow[1].transport.pause_reading()  # type: ignore[attr-defined]  # a reading transport
        waiting = await server.connected(REQUEST.replace(b"/ ", b"/wait "))
        assert await answer(waiting) == b""  # began later, so the slow one's time is over too
        slow[1].transport.resume_reading()  # type: ignore[attr-defined]  # a reading transport
        assert not (await answer(slow)).endswith(b"ok\r\n0\r\n\r\n")
        application.go_on.set()


async def test_a_head_has_its_size() -> None:
    """A head beyond the limit is refused with 400, whether one header is long or many are short."""
    async with serving() as server:
        for headers in (b"X: " + b"x" * 2**17, b"a:b\r\n" * 2**15):
            assert not (await answer(await server.connected(REQUEST[:-2] + headers))).startswith(b"HTTP/1.1 200")


async def test_an_address_has_its_share() -> None:
    """The oldest silent connection of an address leaves for a new one of the same address."""
    async with serving() as server:
        silent = [await server.connected() for _ in range(4)]
        assert await first_line(await server.connected(REQUEST)) == b"HTTP/1.1 200 OK\r\n"
        assert await answer(silent[0]) == b""
        assert await first_line(await server.connected(REQUEST)) == b"HTTP/1.1 200 OK\r\n"


async def test_a_newcomer_gets_a_place_of_the_address_with_most() -> None:
    """With all places taken, the address with most connections loses one, and no call in work is ended."""
    application = Application()
    async with serving(application=application) as server:
        working = [await server.connected(REQUEST.replace(b"/ ", b"/wait "), "127.0.0.2") for _ in range(2)]
        many = [await server.connected(source="127.0.0.3") for _ in range(4)]
        assert await first_line(await server.connected(REQUEST, "127.0.0.4")) == b"HTTP/1.1 200 OK\r\n"
        assert await answer(many[0]) == b""
        application.go_on.set()
        assert [await first_line(stream) for stream in working] == [b"HTTP/1.1 200 OK\r\n"] * 2


async def test_nobody_leaves_where_all_are_at_work() -> None:
    """A newcomer is refused where every place has a call in work."""
    application = Application()
    async with serving(application=application) as server:
        working = [await server.connected(REQUEST.replace(b"/ ", b"/wait ")) for _ in range(4)]
        assert await answer(await server.connected(REQUEST)) == b""
        application.go_on.set()
        assert [await first_line(stream) for stream in working] == [b"HTTP/1.1 200 OK\r\n"] * 4
