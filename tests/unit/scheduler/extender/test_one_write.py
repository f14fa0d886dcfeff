"""One write per answer, and what that relies on in uvicorn."""

import ast
import asyncio
import inspect
from typing import Any

import uvicorn
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http import httptools_impl
from uvicorn.server import ServerState

from scheduler.extender.one_write import OneWriteProtocol

REQUEST = b"POST /v1/filter HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
USED = {"write", "close", "is_closing", "set_protocol"}  # the last for WebSockets, which no server of ours has


class Recording(asyncio.Transport):
    """A transport that keeps what is written, and a note of its end."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.writes: list[bytes] = []

    def write(self, data: Any) -> None:
        """See asyncio.Transport."""
        self.writes.append(bytes(data))

    def close(self) -> None:
        """See asyncio.Transport."""
        self.writes.append(b"closed")

    def is_closing(self) -> bool:
        """See asyncio.Transport."""
        return b"closed" in self.writes


async def application(_: Scope, receive: Receive, send: Send) -> None:
    """Read the body and answer."""
    await receive()
    await Response(b"ok")(_, receive, send)


async def answered(protocol: type[httptools_impl.HttpToolsProtocol], *requests: bytes) -> list[bytes]:
    """What a server of this protocol writes to a client that sends these requests."""
    config = uvicorn.Config(application, access_log=False, date_header=False, server_header=False, lifespan="off")
    config.load()
    connection, transport = protocol(config=config, server_state=ServerState(), app_state={}), Recording()
    connection.connection_made(transport)
    for request in requests:
        before = len(transport.writes)
        connection.data_received(request)
        async with asyncio.timeout(10):
            while not b"".join(transport.writes[before:]).endswith((b"ok", b"okclosed")):
                await asyncio.sleep(0)
    await asyncio.sleep(0)
    connection.shutdown()
    connection.connection_lost(None)
    return transport.writes


async def test_an_answer_is_one_write() -> None:
    """Head and body of each answer go out together, one answer after the other."""
    writes = await answered(OneWriteProtocol, REQUEST, REQUEST)
    answers = [write for write in writes if write != b"closed"]
    assert len(answers) == 2
    assert all(write.startswith(b"HTTP/1.1 200 OK\r\n") and write.endswith(b"\r\n\r\nok") for write in answers)


async def test_what_is_kept_is_sent_before_the_connection_closes() -> None:
    """An answer after which the connection ends is complete."""
    writes = await answered(OneWriteProtocol, REQUEST.replace(b"Host: x", b"Host: x\r\nConnection: close"))
    assert b"".join(writes[: writes.index(b"closed")]).endswith(b"\r\n\r\nok")


async def test_uvicorn_itself_writes_twice() -> None:
    """While uvicorn writes head and body separately, this protocol has a purpose; when it no longer does, it goes."""
    writes = [write for write in await answered(httptools_impl.HttpToolsProtocol, REQUEST) if write != b"closed"]
    assert len(writes) == 2


def test_uvicorn_uses_no_more_of_a_transport_than_is_thought_of() -> None:
    """What uvicorn calls on its transport is gathered or passed on deliberately; a new use has to be looked at."""
    used = {
        node.attr
        for node in ast.walk(ast.parse(inspect.getsource(httptools_impl)))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute) and node.value.attr == "transport"
    }
    assert used == USED
