"""TLS of the bounded server: connections are bounded before their handshake, on both event loops."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvloop
from starlette.types import Receive, Scope, Send

from httpserver import protocol
from httpserver.limits import ConnectionLimits
from testbed.control_plane import certificates

LIMITS = ConnectionLimits(total=6, per_address=4, head_s=30, call_s=30)
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
DEADLINE_S = 10
Loop = Callable[[], asyncio.AbstractEventLoop]


@dataclass(frozen=True)
class Server:
    """A server over TLS, and what trusts it."""

    port: int
    trust: ssl.SSLContext
    opened: list[asyncio.StreamWriter] = field(default_factory=list)

    async def plain(self, sent: bytes = b"", source: str = "127.0.0.1") -> asyncio.StreamReader:
        """A connection that makes no handshake."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(source, 0))
        self.opened.append(writer)
        writer.write(sent)
        return reader

    async def close(self) -> None:
        """Close what is open."""
        for writer in self.opened:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def asked(self, source: str = "127.0.0.1") -> bytes:
        """The whole answer to a request."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=self.trust, local_addr=(source, 0))
        self.opened.append(writer)
        writer.write(REQUEST)
        return await reader.read()


async def _scheme(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that says over what it was asked."""
    del receive
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["scheme"].encode()})


@asynccontextmanager
async def serving(pair: certificates.Certificates, limits: ConnectionLimits = LIMITS) -> AsyncIterator[Server]:
    """A server with these limits."""
    listener = socket.create_server(("127.0.0.1", 0))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.serving, pair.serving_key)
    until = asyncio.Event()
    made = protocol.configuration(_scheme, limits, context, timeout_graceful_shutdown=1)
    running = asyncio.create_task(protocol.serve(made, listener, until))
    server = Server(listener.getsockname()[1], ssl.create_default_context(cafile=pair.authority))
    try:
        yield server
    finally:
        await server.close()
        until.set()
        await running


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> certificates.Certificates:
    """A certificate for 127.0.0.1 and its authority."""
    return certificates.ensure(tmp_path_factory.mktemp("pki"))


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Awaitable[None]], None]:
    """Runs a test on one of the loops that services have."""
    factory: Loop = request.param

    def on_loop(test: Awaitable[None]) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(DEADLINE_S):
                await test

        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(bounded())

    return on_loop


def test_requests_are_answered(run: Callable[[Awaitable[None]], None], pair: certificates.Certificates) -> None:
    """A request that comes right behind the handshake is not lost, and many at once are answered."""

    async def test() -> None:
        async with serving(pair, ConnectionLimits(total=64, per_address=64)) as server:
            answers = await asyncio.gather(*(server.asked() for _ in range(40)))
            assert all(answer.startswith(b"HTTP/1.1 200") and b"https" in answer for answer in answers)

    run(test())


def test_silent_clients_leave_room(run: Callable[[Awaitable[None]], None], pair: certificates.Certificates) -> None:
    """Clients that make no handshake are counted from their first moment: the oldest leaves for a newcomer."""

    async def test() -> None:
        async with serving(pair) as server:
            silent = [await server.plain(source="127.0.0.2") for _ in range(20)]
            assert (await server.asked()).startswith(b"HTTP/1.1 200")
            ends = [asyncio.ensure_future(reader.read()) for reader in silent]
            while sum(end.done() for end in ends) < 16:
                await asyncio.sleep(0)
            assert sum(end.done() for end in ends) == 16
            for end in ends:
                end.cancel()

    run(test())


def test_a_slow_handshake_ends(run: Callable[[Awaitable[None]], None], pair: certificates.Certificates) -> None:
    """A client that says nothing, half a handshake or something else than TLS is gone after the time of a head."""

    async def test() -> None:
        async with serving(pair, ConnectionLimits(total=6, per_address=6, head_s=0.2)) as server:
            for sent in (b"", b"\x16\x03\x01\x02", b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 1000):
                reader = await server.plain(sent)
                with contextlib.suppress(ConnectionError):
                    await reader.read()
            assert (await server.asked()).startswith(b"HTTP/1.1 200")

    run(test())


def test_a_client_that_leaves_gives_its_place_back(
    run: Callable[[Awaitable[None]], None], pair: certificates.Certificates
) -> None:
    """Connections that end before, in or after their handshake leave nothing behind."""

    async def test() -> None:
        async with serving(pair, ConnectionLimits(total=2, per_address=2)) as server:
            for sent in (b"", b"\x16\x03\x01\x02") * 4:
                await server.plain(sent)
                server.opened[-1].transport.abort()
            for _ in range(8):
                assert (await server.asked()).startswith(b"HTTP/1.1 200")

    run(test())


def test_the_certificate_is_asked_for_by_nobody_else(pair: certificates.Certificates, tmp_path: Path) -> None:
    """A client that trusts another authority gets no answer, and the server goes on."""

    async def test() -> None:
        other = certificates.ensure(tmp_path / "other")
        async with serving(pair) as server:
            foreign = Server(server.port, ssl.create_default_context(cafile=other.authority))
            with pytest.raises(ssl.SSLCertVerificationError):
                await foreign.asked()
            assert (await server.asked()).startswith(b"HTTP/1.1 200")

    asyncio.run(test())
