"""Feed: one document, kept as JSON in pieces, and told to many who follow it: whole first, then what changed.

A change is encoded once, whoever follows; who joins gets the pieces as they are, so nothing is copied for anybody but
one block at a time. Who does not keep up is dropped, and may come again. Used by the API, whose followers are the
gateway or browsers, and by the gateway for its own.

The format is that of server-sent events (WHATWG HTML, "Server-sent events").
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence

import msgspec

from allocator import errors
from scheduler.cooperative import BLOCK

MOST_FOLLOWERS = 64
MOST_BEHIND = 8 * 2**20  # bytes of changes that a follower may be behind
HEARTBEAT_S = 15.0
HEARTBEAT = b": \n\n"
OVERVIEW, CHANGES = "overview", "changes"
NODES, MAY = "nodes", "may"
EVENT_STREAM = "text/event-stream"


class FeedFullError(errors.MigschedError):
    """There are as many followers as there may be."""


class FeedClosedError(errors.MigschedError):
    """There is no document now."""


class _Follower:
    """One who follows: the events that it has not had, and whether it is out."""

    def __init__(self) -> None:
        self.events: deque[bytes] = deque()
        self.behind = 0
        self.is_out = False
        self.woken = asyncio.Event()

    def tell(self, event: bytes, most: int) -> None:
        self.events.append(event)
        self.behind += len(event)
        if self.behind > most:
            self.drop()
        self.woken.set()

    def drop(self) -> None:
        self.events.clear()
        self.is_out = True
        self.woken.set()


class Feed:
    """A document of sections and nodes, by name, each as JSON."""

    def __init__(
        self, *, most: int = MOST_FOLLOWERS, most_behind: int = MOST_BEHIND, heartbeat_s: float = HEARTBEAT_S
    ) -> None:
        self.revision = 0
        self._sections: dict[str, bytes] = {}
        self._nodes: dict[str, bytes] = {}
        self._followers: set[_Follower] = set()
        self._most = most
        self._most_behind = most_behind
        self._heartbeat_s = heartbeat_s

    @property
    def followers(self) -> int:
        """How many follow."""
        return len(self._followers)

    @property
    def is_known(self) -> bool:
        """Whether there is a document."""
        return bool(self._sections)

    def replace(self, revision: int, sections: Mapping[str, bytes], nodes: Mapping[str, bytes]) -> None:
        """Another document; who followed the one before is dropped. `sections` are all but `nodes`."""
        self.close()
        self.revision = revision
        self._sections = dict(sections)
        self._nodes = dict(nodes)

    def change(
        self,
        revision: int,
        time: str,
        sections: Mapping[str, bytes],
        nodes: Mapping[str, bytes],
        gone: Collection[str] = (),
    ) -> bytes:
        """What is other from this revision on; the event that followers get."""
        self._sections |= {
            "revision": str(revision).encode(),
            "time": msgspec.json.encode(time),
            **sections,
        }
        self._nodes |= nodes
        for name in gone:
            self._nodes.pop(name, None)
        self.revision = revision
        inner = b",".join(msgspec.json.encode(name) + b":" + text for name, text in sections.items())
        data = b'{"revision":%d,"time":%b,"sections":{%b},"nodes":[%b],"gone":%b}' % (
            revision,
            msgspec.json.encode(time),
            inner,
            b",".join(nodes.values()),
            msgspec.json.encode(list(gone)),
        )
        event = b"id: %d\nevent: %b\ndata: %b\n\n" % (revision, CHANGES.encode(), data)
        self.pass_on(event)
        return event

    def pass_on(self, event: bytes) -> None:
        """Tell an event to all who follow."""
        for follower in tuple(self._followers):
            follower.tell(event, self._most_behind)

    def close(self) -> None:
        """Drop everybody, and forget the document."""
        for follower in tuple(self._followers):
            follower.drop()
        self._sections, self._nodes = {}, {}

    def document(self, allowed: Collection[str] | None = None) -> Iterator[bytes]:
        """The document as it is now, in blocks. `allowed` is what of `may` its reader has a right to, None for all.

        Raises FeedClosedError where there is none.
        """
        if not self.is_known:
            raise FeedClosedError("the cluster is not known yet")
        return _blocks(self._pieces(allowed))

    async def follow(self, allowed: Collection[str] | None = None) -> AsyncIterator[bytes]:
        """Events, until dropped: the whole document, then changes, and heartbeats while there are none.

        Raises FeedClosedError and FeedFullError before the first.
        """
        if not self.is_known:
            raise FeedClosedError("the cluster is not known yet")
        if len(self._followers) >= self._most:
            raise FeedFullError(f"{self._most} pages follow already; ask again")
        follower = _Follower()
        self._followers.add(follower)
        try:
            head = b"id: %d\nevent: %b\ndata: " % (self.revision, OVERVIEW.encode())
            for block in _blocks([head, *self._pieces(allowed), b"\n\n"]):
                yield block
            while not follower.is_out:
                follower.woken.clear()
                while follower.events:
                    event = follower.events.popleft()
                    follower.behind -= len(event)
                    yield event
                if not follower.is_out and not await self._waited(follower):
                    yield HEARTBEAT
        finally:
            self._followers.discard(follower)

    async def _waited(self, follower: _Follower) -> bool:
        """Whether there is something within the time of a heartbeat."""
        try:
            async with asyncio.timeout(self._heartbeat_s):
                await follower.woken.wait()
        except TimeoutError:
            return False
        return True

    def _pieces(self, allowed: Collection[str] | None) -> Sequence[bytes]:
        """The document's JSON: pieces that are kept, and nothing that is made of all of them."""
        pieces: list[bytes] = [b"{"]
        for name, text in self._sections.items():
            own = _allowed(text, allowed) if name == MAY and allowed is not None else text
            pieces += [msgspec.json.encode(name), b":", own, b","]
        pieces.append(b'"nodes":[')
        between = b""
        for node in self._nodes.values():
            pieces += [between, node]
            between = b","
        pieces.append(b"]}")
        return pieces


def _allowed(may: bytes, allowed: Collection[str]) -> bytes:
    able: dict[str, bool] = msgspec.json.decode(may)
    return msgspec.json.encode({name: is_able and name in allowed for name, is_able in able.items()})


def _blocks(pieces: Sequence[bytes], size: int = BLOCK) -> Iterator[bytes]:
    """Pieces put together to blocks of about this size, one at a time."""
    block: list[bytes] = []
    length = 0
    for piece in pieces:
        block.append(piece)
        length += len(piece)
        if length >= size:
            yield b"".join(block)
            block, length = [], 0
    if block:
        yield b"".join(block)
