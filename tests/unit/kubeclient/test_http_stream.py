"""Streams of the HTTP client against a server that is scripted byte by byte."""

import asyncio
import socket

import pytest

from kubeclient.http_connection import HttpConnection
from tests.unit.kubeclient.scripted import HEAD, OK, Caller, always, answering, chunk, serving


async def test_a_stream_is_read_as_it_comes() -> None:
    """Each part of a body is there before the next is sent, and the last one ends it."""
    read = asyncio.Semaphore(0)

    async def script(caller: Caller) -> None:
        await caller.request()
        await caller.say(HEAD)
        for part in (b"a", b"bc", b"d"):
            await caller.say(chunk(part))
            await read.acquire()
        await caller.say(b"0\r\n\r\n")

    async with serving(script) as (client, _), client.stream("/x", {}, silence_s=10) as stream:
        assert stream.status == 200
        parts = []
        async for part in stream:
            parts.append(part)
            read.release()
    assert parts == [b"a", b"bc", b"d"]


async def test_what_comes_soon_after_a_part_comes_as_one() -> None:
    """The first of many parts is not late; those within the time to gather are read together."""
    first = asyncio.Event()

    async def script(caller: Caller) -> None:
        await caller.request()
        await caller.say(HEAD + chunk(b"a"))
        await first.wait()
        for part in (b"b", b"c", b"d"):
            await caller.say(chunk(part))
        await caller.say(b"0\r\n\r\n")

    async with serving(script) as (client, _), client.stream("/x", {}, silence_s=10, gather_s=0.5) as stream:
        parts = []
        async for part in stream:
            parts.append(part)
            first.set()
    assert parts == [b"a", b"bcd"]


async def test_a_stream_that_nobody_reads_makes_the_server_wait() -> None:
    """No more than a bounded part of a stream is held for a slow reader, and none of it is lost."""
    size, part = 400, b"x" * 2**16
    sent = 0

    async def script(caller: Caller) -> None:
        nonlocal sent
        await caller.request()
        caller.writer.transport.set_write_buffer_limits(0)
        await caller.say(HEAD)
        for _ in range(size):
            await caller.say(chunk(part))
            sent += 1
        await caller.say(b"0\r\n\r\n")

    async with serving(script, held_max=1000) as (client, _), client.stream("/x", {}, silence_s=10) as stream:
        before = -1
        while sent != before:  # until the server is stuck
            before = sent
            for _ in range(1000):
                await asyncio.sleep(0)
        assert sent < size
        assert len(await stream.read()) == size * len(part)


async def test_a_silent_stream_is_given_up() -> None:
    """A stream without a byte for too long ends as a timeout."""

    async def script(caller: Caller) -> None:
        await caller.request()
        await caller.say(HEAD + chunk(b"a"))
        await caller.hung_up()

    async with serving(script) as (client, _):
        with pytest.raises(TimeoutError, match="no answer within"):
            async with client.stream("/x", {}, silence_s=0.05) as stream:
                await stream.read()


async def test_a_stream_that_breaks_off_says_so() -> None:
    """The end of the connection is not the end of a chunked body."""
    async with (
        serving(answering(HEAD + chunk(b"a"))) as (client, _),
        client.stream("/x", {}, silence_s=10) as stream,
    ):
        parts = aiter(stream)
        assert await anext(parts) == b"a"
        with pytest.raises(ConnectionError):
            await anext(parts)


async def test_a_vanished_server_is_noticed_within_45_seconds() -> None:
    """The kernel's probes of an idle connection, and its patience with what it sent, are set so."""
    async with serving(always(OK)) as (_, server):
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(HttpConnection, "127.0.0.1", server.port)
        sock = transport.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        idle, interval, patience = (
            sock.getsockopt(socket.IPPROTO_TCP, option)
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_USER_TIMEOUT)
        )
        assert (idle, interval, patience) == (15, 5, 40_000)
        transport.abort()


class _ClosedTransport(asyncio.Transport):
    """What uvloop's transport is between the end of its socket and the word of it."""

    def get_extra_info(self, name: str, default: object = None) -> object:  # noqa: ARG002 - the signature
        """Nothing is left to tell."""
        return default


async def test_a_socket_that_is_closed_already_needs_no_gathering() -> None:
    """Between the end of a socket and the event loop's word of it, nothing is asked of the socket."""
    connection = HttpConnection()
    connection.connection_made(_ClosedTransport())
    connection.gather(True)
    connection.gather(False)
    assert connection.reusable
