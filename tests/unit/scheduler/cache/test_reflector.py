"""List + watch keep the state equal to the cluster through lost watches, old versions and an absent API server."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from allocator import errors
from kubeclient.changes import Change, ChangeType, Listing
from kubeclient.list_watch import RELIST_AFTER
from kubeclient.objects import Node
from scheduler.cache.port import Object, WatchedKind
from scheduler.cache.reflector import Reflector
from scheduler.metrics import Metrics
from simulator.cluster import api
from simulator.cluster.memory_cluster.client import MemoryCluster
from simulator.cluster.memory_cluster.faults import Fault
from simulator.cluster.memory_cluster.server import MemoryServer


class Names:
    """A sink that keeps node names, and counts lists."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.lists = 0

    def expect(self, kind: WatchedKind) -> None:
        """A list is asked for."""
        assert kind is WatchedKind.NODE

    async def replace(self, kind: WatchedKind, listing: Listing[Object]) -> None:
        """All of them."""
        assert kind is WatchedKind.NODE
        self.lists += 1
        self.names = {item.metadata.name for item in listing.items}

    def apply(self, kind: WatchedKind, change: Change[Object]) -> None:
        """One of them."""
        assert kind is WatchedKind.NODE
        assert isinstance(change.item, Node)
        if change.type is ChangeType.DELETED:
            self.names.discard(change.item.metadata.name)
        else:
            self.names.add(change.item.metadata.name)

    async def become(self, *names: str) -> None:
        """Wait until these are the names."""
        async with asyncio.timeout(10):
            while self.names != set(names):
                await asyncio.sleep(0.005)


class Followed:
    """A server, a client with faults, and a sink that follows."""

    def __init__(self) -> None:
        self.server = MemoryServer()
        self.cluster = MemoryCluster(self.server)
        self.sink = Names()
        self.metrics = Metrics()
        self.reflector = Reflector(self.cluster, WatchedKind.NODE, self.sink, self.metrics, backoff_s=0.001)

    def add(self, name: str) -> None:
        """Create a node."""
        self.server.create(api.NODE, {"metadata": {"name": name}})


@pytest.fixture
async def followed() -> AsyncIterator[Followed]:
    """See Followed; it runs."""
    made = Followed()
    made.add("a")
    task = asyncio.create_task(made.reflector.run())
    await made.sink.become("a")
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_changes_arrive_without_another_list(followed: Followed) -> None:
    """Additions and deletions come by watch alone."""
    followed.add("b")
    await followed.sink.become("a", "b")
    followed.server.delete(api.NODE, "a")
    await followed.sink.become("b")
    assert followed.sink.lists == 1


async def test_a_watch_that_ends_goes_on_where_it_was(followed: Followed) -> None:
    """The server ends watches every few minutes: nothing is listed again and nothing is missed."""
    followed.server.end_watches()
    followed.add("b")
    await followed.sink.become("a", "b")
    assert followed.sink.lists == 1


async def test_after_410_everything_is_listed_again(followed: Followed) -> None:
    """A version that is too old means a new list, in which what was deleted meanwhile is gone."""
    gate = asyncio.Event()
    followed.cluster.faults.add(Fault("watch", "nodes", hold=gate))
    followed.server.end_watches()
    followed.add("b")
    followed.server.delete(api.NODE, "a")
    followed.server.compact()
    gate.set()
    await followed.sink.become("b")
    assert followed.sink.lists == 2


async def test_an_api_server_that_is_away_is_asked_until_it_is_back(followed: Followed) -> None:
    """Errors are waited out; after several in a row the version is doubted and a new list made."""
    followed.cluster.faults.add(
        Fault("watch", "nodes", error=errors.UnreachableError("connection refused"), times=RELIST_AFTER)
    )
    followed.server.end_watches(errors.UnreachableError("connection reset"))
    followed.add("b")
    await followed.sink.become("a", "b")
    assert followed.sink.lists >= 1


async def test_a_list_can_be_asked_for(followed: Followed) -> None:
    """What is known after a relist is no older than the call, though the watch is silent and a first list fails."""
    followed.cluster.faults.add(Fault("list", "nodes", error=errors.UnreachableError("lost")))
    followed.add("b")
    await followed.reflector.relist()
    assert followed.sink.names == {"a", "b"}
    assert followed.sink.lists == 2
    followed.add("c")
    await followed.sink.become("a", "b", "c")
