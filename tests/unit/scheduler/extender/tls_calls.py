"""Calls over TLS, with or without a client's certificate."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

_CALL = b"POST /v1/filter HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"


async def status(port: int, authority: Path, client: tuple[Path, Path] | None) -> bytes:
    """The first line of the answer. Raises SSLError or ConnectionError where the server ends the talk."""
    context = ssl.create_default_context(cafile=authority)
    if client is not None:
        context.load_cert_chain(*client)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        writer.write(_CALL)
        line = await reader.readline()
    finally:
        writer.close()
    if not line:
        raise ConnectionError("no answer")
    return line


@contextlib.asynccontextmanager
async def answering(context: ssl.SSLContext) -> AsyncIterator[int]:
    """A server that answers anything; its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.readline()
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
