"""FeedLink: the gateway's own copy of the overview: one stream from the service, for all who follow here. Of `proxy`.

So the service, whose event loop is the extender's, tells each change once. The stream is opened when the first page
asks and closed a while after the last one has left.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import aiohttp
import msgspec
import structlog

from scheduler.feed import NODES, OVERVIEW, Feed, FeedClosedError

_log = structlog.get_logger("gateway")
KNOWN_S = 10.0  # until the first document has to be there
IDLE_S = 30.0  # without followers, until the stream is closed
AGAIN_S = 1.0
MOST_EVENT = 128 * 2**20  # bytes

Open = Callable[[], AbstractAsyncContextManager[aiohttp.ClientResponse]]


class _Named(msgspec.Struct, frozen=True):
    name: str


class _Changes(msgspec.Struct, frozen=True):
    revision: int
    time: msgspec.Raw
    sections: dict[str, msgspec.Raw]
    nodes: list[msgspec.Raw]
    gone: list[str]


class FeedLink:
    """Keeps `feed` as the service's is. `open_stream` opens the service's stream."""

    def __init__(self, feed: Feed, open_stream: Open) -> None:
        self.feed = feed
        self._open = open_stream
        self._task: asyncio.Task[None] | None = None
        self._known = asyncio.Event()
        self._asked = asyncio.Event()

    async def need(self) -> None:
        """Have the stream opened. Raises FeedClosedError where the document is not known in time."""
        self._asked.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="feed link")
        try:
            async with asyncio.timeout(KNOWN_S):
                await self._known.wait()
        except TimeoutError as error:
            raise FeedClosedError("the cluster is still being read") from error

    async def close(self) -> None:
        """Drop all who follow, and the stream."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._forget()

    async def _run(self) -> None:
        """Until nobody has followed for a while; the stream is opened again where it ends."""
        while True:
            reading = asyncio.ensure_future(self._read())
            idle = asyncio.ensure_future(self._until_idle())
            try:
                await asyncio.wait((reading, idle), return_when=asyncio.FIRST_COMPLETED)
                if idle.done():
                    return
            finally:
                for task in (reading, idle):
                    task.cancel()
                await asyncio.gather(reading, idle, return_exceptions=True)
                self._forget()
            await asyncio.sleep(AGAIN_S)

    async def _until_idle(self) -> None:
        while self.feed.followers or self._asked.is_set():
            self._asked.clear()
            await asyncio.sleep(IDLE_S)

    async def _read(self) -> None:
        try:
            async with self._open() as response:
                if response.status != 200:
                    _log.info("the service tells no overview", status=response.status)
                    return
                async for event in _events(response.content.iter_any()):
                    self._take(event)
        except (aiohttp.ClientError, OSError, msgspec.MsgspecError, ValueError) as error:
            _log.warning("the overview's stream broke", error=str(error))

    def _take(self, event: bytes) -> None:
        kind, data = _parts(event)
        if data is None:
            return
        if kind == OVERVIEW.encode():
            sections = {
                name: bytes(text) for name, text in msgspec.json.decode(data, type=dict[str, msgspec.Raw]).items()
            }
            nodes = msgspec.json.decode(sections.pop(NODES), type=list[msgspec.Raw])
            self.feed.replace(int(sections["revision"]), sections, _by_name(nodes))
            self._known.set()
            return
        changes = msgspec.json.decode(data, type=_Changes)
        sections = {name: bytes(text) for name, text in changes.sections.items()}
        time = msgspec.json.decode(changes.time, type=str)
        self.feed.change(changes.revision, time, sections, _by_name(changes.nodes), changes.gone)

    def _forget(self) -> None:
        self._known.clear()
        self.feed.close()


def _by_name(nodes: list[msgspec.Raw]) -> dict[str, bytes]:
    return {msgspec.json.decode(node, type=_Named).name: bytes(node) for node in nodes}


def _parts(event: bytes) -> tuple[bytes, bytes | None]:
    """An event's kind and its data; None for a comment."""
    kind, data = b"", None
    for line in event.split(b"\n"):
        if line.startswith(b"event: "):
            kind = line[7:]
        elif line.startswith(b"data: "):
            data = line[6:]
    return kind, data


async def _events(blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The events of a stream, each whole. Raises ValueError for one that is too long."""
    pending: list[bytes] = []
    length = 0
    async for block in blocks:
        pending.append(block)
        length += len(block)
        if length > MOST_EVENT:
            raise ValueError(f"an event of more than {MOST_EVENT} bytes")
        if b"\n\n" not in block and not (block.startswith(b"\n") and len(pending) > 1):
            continue
        *whole, rest = b"".join(pending).split(b"\n\n")
        pending, length = ([rest], len(rest)) if rest else ([], 0)
        for event in whole:
            yield event
