"""Clients of the capacity API that mean harm: a process of its own, so that its work does not count as the service's.

Run by `benchmarks.crowd`. A line on standard output says that each client has been connected once; it goes on until
SIGTERM, and then prints how often its clients were connected and how many MiB they have sent. Each client has one of a
hundred addresses of loopback, so that it is not the share of one address that protects others, and comes again as soon
as it is refused.
"""

import argparse
import asyncio
import contextlib
import itertools
import os
import resource
import signal
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

MIB = 2**20
CHUNK = 2**16
ADDRESSES = 100
_HEAD = "POST /api/v1/plan HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n"
_AGAIN_S = 0.01  # before a client that was refused comes again: 1,200 at once would measure connecting alone
_FIRST_S = 5.0  # for the first connections
_numbers = itertools.count()

Send = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class _Done:
    """What the clients have done so far."""

    connections = 0
    sent = 0  # bytes


async def unfinished_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """All but the last byte of 32 MB, and then nothing."""
    await _blanks(writer, _HEAD.format(32 * MIB).encode(), 32 * MIB - 1)
    await reader.read()


async def endless_header(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One header of 150 MB."""
    del reader
    await _blanks(writer, b"GET /api/v1/nodes HTTP/1.1\r\nHost: localhost\r\nX: ", 150 * MIB)


async def half_sent_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A head without its end."""
    writer.write(b"GET /api/v1/nodes HTTP/1.1\r\nHost: local")
    await reader.read()


async def all_nodes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """GET /nodes, again and again."""
    while not reader.at_eof():
        writer.write(b"GET /api/v1/nodes HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.partition(b":")[2]))


async def large_document(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A document of 29 MB, and its answer."""
    await _blanks(writer, _HEAD.format(29 * MIB).encode(), 29 * MIB)
    await reader.readuntil(b"\r\n\r\n")


ACTS: dict[str, tuple[int, Send]] = {
    "40 unfinished bodies of 32 MB": (40, unfinished_body),
    "a header of 150 MB": (1, endless_header),
    "1,200 half-sent heads": (1200, half_sent_head),
    "100 clients on GET /nodes": (100, all_nodes),
    "5 documents of 29 MB": (5, large_document),
}


async def _blanks(writer: asyncio.StreamWriter, head: bytes, length: int) -> None:
    writer.write(head)
    for _ in range(length // CHUNK):
        writer.write(b" " * CHUNK)
        await writer.drain()
        _Done.sent += CHUNK


async def _client(host: str, port: int, send: Send, connected: Callable[[], None]) -> None:
    """One client, which comes again whenever its connection ends."""
    address = f"127.0.1.{1 + next(_numbers) % ADDRESSES}"
    while True:
        with contextlib.suppress(OSError, EOFError, StopIteration, asyncio.LimitOverrunError):
            reader, writer = await asyncio.open_connection(host, port, local_addr=(address, 0), limit=MIB)
            _Done.connections += 1
            connected()
            try:
                await send(reader, writer)
            finally:
                writer.transport.abort()
        await asyncio.sleep(_AGAIN_S)


async def _attack(act: str, url: str) -> None:
    parts = urlsplit(url)
    number, send = ACTS[act]
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    firsts = [asyncio.Event() for _ in range(number)]
    clients = [
        asyncio.create_task(_client(str(parts.hostname), int(parts.port or 80), send, first.set)) for first in firsts
    ]
    with contextlib.suppress(TimeoutError):  # a service that is full lets no more of them in
        async with asyncio.timeout(_FIRST_S):
            for first in firsts:
                await first.wait()
    print("at work", flush=True)  # noqa: T201  # read by the parent
    await ended.wait()
    print(_Done.connections, _Done.sent // MIB, flush=True)  # noqa: T201  # read by the parent
    for client in clients:
        client.cancel()
    os._exit(0)  # its connections need no farewell


def main() -> None:
    """Attack until ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--act", required=True, choices=ACTS)
    parser.add_argument("--url", required=True)
    arguments = parser.parse_args()
    os.nice(19)  # what it takes of this machine's processors is not the service's doing
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(_attack(arguments.act, arguments.url))


if __name__ == "__main__":
    main()
