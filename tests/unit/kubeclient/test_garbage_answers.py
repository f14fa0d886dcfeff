"""Whatever a server answers becomes an answer or one of migsched's own errors: thousands of garbage answers."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import msgspec
import pytest

from allocator import errors
from kubeclient import kube
from kubeclient.http_client import HttpClient
from kubeclient.http_connection import HttpConnection
from kubeclient.objects import Pod
from tests.fuzzing import SEED, budget, damaged
from tests.poisons import POISONS
from tests.unit.kubeclient.plain_access import PlainAccess
from tests.unit.kubeclient.scripted import chunk

ANSWERS = budget(20_000)  # on each of the two event loops, by the profile `ci`; a fifth by `dev`

DECODE = msgspec.json.Decoder(Pod).decode
POD = b'{"metadata":{"name":"p","uid":"u","resourceVersion":"5"},"spec":{},"status":{}}'
BODIES: Sequence[bytes] = (
    POD,
    b'{"items":[%s,%s],"metadata":{"resourceVersion":"9"}}' % (POD, POD),
    b'{"type":"ADDED","object":%s}\n{"type":"BOOKMARK","object":%s}\n' % (POD, POD),
    b'{"kind":"Status","status":"Success","code":201}',
    b'{"kind":"Status","status":"Failure","code":410,"message":"gone","details":{"causes":[{"reason":"x"}]}}',
    b'{"type":"ERROR","object":{"kind":"Status","code":500}}\n',
    b"<html>\xff</html>",
    b"[" * 3_000,
    b"",
    *(poison.text for poison in POISONS.values() if len(poison.text) < 40_000),
)
STATUSES = (b"200 OK", b"201 Created", b"204 No Content", b"304 Not Modified", b"404 Not Found", b"429 Busy", b"500 No")
ODD_STATUSES = (b"100 Continue", b"101 Switching Protocols", b"103 Early Hints", b"199 x", b"299 x", b"0 x", b"999 x")
ENDS = (b"\r\n", b"x", b"HTTP/1.1 100 Continue\r\n\r\n")
HEADERS = (
    b"Upgrade: h2c\r\nConnection: Upgrade",
    b"Connection: close",
    b"Connection: keep-alive",
    b"Retry-After: \xff",
    b"Retry-After: -99999999999999999999",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: chunked\r\nContent-Length: 3",
    b"Content-Length: 3\r\nContent-Length: 4",
    b"Content-Length: 99999999999999999999999",
    b"Content-Length: -1",
    b"Content-Encoding: gzip",
    b"Location: http://elsewhere/",
    b"X: " + b"y" * 9_000,
    b": no name",
    b"\x00: \x00",
    b" folded",
)


def answer(at: random.Random) -> bytes:
    """One answer: sound in most of its parts, and then maybe damaged."""
    body = at.choice(BODIES)
    head = b"HTTP/1.%d %s\r\n" % (
        at.choice((1, 1, 1, 0, 9)),
        at.choice(STATUSES if at.random() < 0.8 else ODD_STATUSES),
    )
    head += b"".join(at.choice(HEADERS) + b"\r\n" for _ in range(at.choice((0, 0, 0, 1, 2))))
    if at.random() < 0.5:
        text = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    else:
        cut = at.randrange(len(body) + 1)
        parts = b"".join(chunk(part) for part in (body[:cut], body[cut:]) if part)
        text = head + b"Transfer-Encoding: chunked\r\n\r\n" + parts + b"0\r\n\r\n"
    return damaged(text, at, ends=ENDS)


class Garbage(asyncio.Transport):
    """A connection whose server answers each request with the next garbage, in some pieces, and maybe hangs up."""

    def __init__(self, protocol: HttpConnection, at: random.Random) -> None:
        super().__init__()
        self._protocol, self._at, self._closed = protocol, at, False

    def write(self, data: object) -> None:  # noqa: ARG002 - the signature of a transport
        """A request: the answer comes soon."""
        asyncio.get_running_loop().call_soon(self._answer, answer(self._at))

    def _answer(self, text: bytes) -> None:
        cut = self._at.randrange(len(text) + 1)
        for piece in (text[:cut], text[cut:]):
            if piece and not self._closed:
                self._protocol.data_received(piece)
        if not self._closed and (self._at.random() < 0.3 or not self._protocol.reusable):
            self.abort()

    def abort(self) -> None:
        """The connection is lost."""
        if not self._closed:
            self._closed = True
            self._protocol.connection_lost(None)

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ARG002 - as above
        """Nothing is known of it."""
        return default

    def pause_reading(self) -> None:
        """Nothing is held back."""

    def resume_reading(self) -> None:
        """Nothing was held back."""


async def _watch(connection: kube.Connection) -> object:
    return [change async for change in connection.watch("/x", DECODE, "1", gather_s=0.0)]


async def _watch_raw(connection: kube.Connection) -> object:
    return [event async for event in connection.watch_raw("/x", "1")]


CALLS: Sequence[Callable[[kube.Connection], Awaitable[object]]] = (
    lambda connection: connection.request("PATCH", "/x", body=b"{}"),
    lambda connection: connection.create("/x", b"{}"),
    lambda connection: connection.get("/x", Pod),
    lambda connection: connection.list("/x", DECODE),
    _watch,
    _watch_raw,
)


@pytest.mark.timeout(300)
async def test_every_answer_ends_as_a_value_or_an_error_of_ours() -> None:
    """Calls, lists and watches meet garbage at every point of HTTP and JSON; nothing else is raised, or left behind."""
    at = random.Random(SEED)
    left_behind: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: left_behind.append(context))

    async def open_connection(made: Callable[[], HttpConnection], *_: object, **__: object) -> Any:
        protocol = made()
        transport = Garbage(protocol, at)
        protocol.connection_made(transport)
        return transport, protocol

    connection = kube.Connection(
        PlainAccess("http://127.0.0.1:1"), make_http=partial(HttpClient, open_connection=open_connection)
    )
    ends: Counter[str] = Counter()
    for number in range(ANSWERS):
        try:
            async with asyncio.timeout(20):
                await CALLS[number % len(CALLS)](connection)
            ends["answered"] += 1
        except errors.ClusterError as error:
            ends[type(error).__name__] += 1
    await connection.close()
    assert not left_behind
    assert sum(ends.values()) == ANSWERS
    assert all(ends[end] > ANSWERS / 500 for end in ("answered", "UnreachableError", "NotFoundError"))
