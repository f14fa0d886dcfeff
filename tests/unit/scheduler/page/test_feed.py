"""The feed: one document told to many, whatever they do."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.feed import HEARTBEAT, Feed, FeedClosedError, FeedFullError

HEAD = {"revision": b"1", "time": b'"t"', "may": b'{"plan":true,"move":true}', "log": b"[]"}


def node(name: str, value: int = 0) -> bytes:
    return json.dumps({"name": name, "value": value}).encode()


def feed_of(**options: Any) -> Feed:
    """A feed with one node."""
    feed = Feed(**options)
    feed.replace(1, HEAD, {"a": node("a")})
    return feed


def event_of(text: bytes) -> tuple[str, Any]:
    lines = dict(line.split(": ", 1) for line in text.decode().strip().split("\n"))
    return lines["event"], json.loads(lines["data"])


async def taken(events: AsyncIterator[bytes], number: int) -> list[tuple[str, Any]]:
    return [event_of(await anext(events)) for _ in range(number)]


class Follower:
    """What a page does with events: keeps sections and nodes."""

    def __init__(self) -> None:
        self.sections: dict[str, Any] = {}
        self.nodes: dict[str, Any] = {}

    def take(self, kind: str, data: Any) -> None:
        """One event."""
        if kind == "overview":
            self.nodes = {one["name"]: one for one in data.pop("nodes")}
            self.sections = data
            return
        self.sections |= data["sections"] | {"revision": data["revision"], "time": data["time"]}
        self.nodes |= {one["name"]: one for one in data["nodes"]}
        for name in data["gone"]:
            self.nodes.pop(name, None)


CHANGES = st.lists(
    st.tuples(st.dictionaries(st.sampled_from("abcd"), st.integers(), max_size=3), st.sets(st.sampled_from("abcd"))),
    max_size=8,
)


@given(changes=CHANGES, joins=st.integers(0, 8))
def test_whoever_joins_when_has_the_same_document(changes: list[tuple[dict[str, int], set[str]]], joins: int) -> None:
    """A follower that joined at any time has, after all changes, what one who asks for the whole gets."""

    async def run() -> None:
        feed, follower, events = feed_of(), Follower(), None
        for number, (nodes, gone) in enumerate([*changes, ({}, set())]):
            if number == min(joins, len(changes)):
                events = feed.follow()
                follower.take(*(await taken(events, 1))[0])
            left = sorted(gone - nodes.keys())
            encoded = {name: node(name, value) for name, value in nodes.items()}
            feed.change(feed.revision + 1, f"t{number}", {"log": b"[%d]" % number}, encoded, left)
            if events is not None:
                follower.take(*(await taken(events, 1))[0])
        whole = json.loads(b"".join(feed.document()))
        assert {one["name"]: one for one in whole.pop("nodes")} == follower.nodes
        assert whole == follower.sections

    asyncio.run(run())


async def test_who_does_not_keep_up_is_dropped_and_the_others_are_not() -> None:
    """Changes of more bytes than a follower may be behind end its stream; another one goes on."""
    feed = feed_of(most_behind=500)
    slow, quick = feed.follow(), feed.follow()
    await taken(slow, 1)
    await taken(quick, 1)
    for number in range(20):
        feed.change(number + 2, "t", {"log": b'["' + b"x" * 50 + b'"]'}, {})
        assert (await taken(quick, 1))[0][1]["revision"] == number + 2
    with pytest.raises(StopAsyncIteration):
        await anext(slow)
    assert feed.followers == 1


async def test_no_more_than_so_many_follow() -> None:
    """A follower beyond the bound is refused, and has room once another has left."""
    feed = feed_of(most=1)
    first = feed.follow()
    await anext(first)
    with pytest.raises(FeedFullError):
        await anext(feed.follow())
    await first.aclose()  # type: ignore[attr-defined]  # it is a generator
    await anext(feed.follow())


async def test_without_a_document_nobody_follows_and_the_end_of_one_ends_all() -> None:
    """A feed without a document refuses; one that loses its document ends every stream."""
    with pytest.raises(FeedClosedError):
        await anext(Feed().follow())
    feed = feed_of()
    events = feed.follow()
    await anext(events)
    feed.close()
    with pytest.raises(StopAsyncIteration):
        await anext(events)
    with pytest.raises(FeedClosedError):
        list(feed.document())


async def test_a_quiet_feed_says_that_it_lives() -> None:
    """Without changes a comment comes after the time of a heartbeat."""
    feed = feed_of(heartbeat_s=0.001)
    events = feed.follow()
    await anext(events)
    assert await anext(events) == HEARTBEAT


@pytest.mark.parametrize(
    ("allowed", "shown"), [(None, (True, True)), ({"plan"}, (True, False)), (set(), (False, False))]
)
async def test_each_reader_sees_what_it_may(allowed: set[str] | None, shown: tuple[bool, bool]) -> None:
    """`may` is what the service can and the reader has a right to."""
    feed = feed_of()
    _, data = event_of(await anext(feed.follow(allowed)))
    assert (data["may"]["plan"], data["may"]["move"]) == shown


async def test_memory_is_flat_over_many_changes() -> None:
    """After ten thousand changes nothing is kept for a follower that keeps up."""
    feed = feed_of()
    events = feed.follow()
    await anext(events)
    for number in range(10_000):
        feed.change(number + 2, "t", {"log": b"[%d]" % number}, {"a": node("a", number)})
        await anext(events)
    assert len(b"".join(feed.document())) < 300
