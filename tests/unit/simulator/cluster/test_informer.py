"""Informer: whatever happens to the connection, its reader ends up knowing the cluster."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from allocator import errors
from kubeclient.changes import ChangeType
from simulator.cluster.api import POD
from simulator.cluster.informer import Informer
from simulator.cluster.memory_cluster.faults import Fault
from simulator.cluster.running import running
from tests.unit.simulator.cluster.memory_cluster import MemoryCluster
from tests.waiting import eventually


class Reader:
    """Applies every change, and remembers what it was told."""

    def __init__(self, world: MemoryCluster) -> None:
        self.informer = Informer(world.api, POD)
        self.pods: dict[str, str] = {}
        self.told: list[tuple[ChangeType, str]] = []

    async def run(self) -> None:
        """Until cancelled."""
        async for change in self.informer.changes():
            assert change.item is not None
            meta = change.item["metadata"]
            self.told.append((change.type, meta["name"]))
            if change.type is ChangeType.DELETED:
                assert self.pods.pop(meta["name"]) == meta["uid"]
            else:
                assert (meta["name"] in self.pods) == (change.type is ChangeType.MODIFIED)
                self.pods[meta["name"]] = meta["uid"]


@pytest.fixture
def world() -> MemoryCluster:
    return MemoryCluster()


@pytest.fixture
async def reader(world: MemoryCluster) -> AsyncIterator[Reader]:
    world.pod("first")
    one = Reader(world)
    async with running(one.run()):
        await asyncio.wait_for(one.informer.synced.wait(), 10)
        yield one


async def test_synced_means_that_the_start_was_taken_in(reader: Reader) -> None:
    """Once synced, the reader has been told of everything that was there."""
    assert reader.told == [(ChangeType.ADDED, "first")]


async def test_changes_follow(world: MemoryCluster, reader: Reader) -> None:
    """What happens after the list is told as it happens."""
    world.pod("second")
    world.set_phase("first", "Running")
    world.delete("second")
    await eventually(lambda: "second" not in reader.pods and len(reader.told) > 2, "second came and went")
    assert (ChangeType.MODIFIED, "first") in reader.told


async def test_missed_deletion_is_told_after_a_relist(world: MemoryCluster, reader: Reader) -> None:
    """A watch that is too old makes the reader list again; what went missing meanwhile is told as deleted."""
    hold = asyncio.Event()
    fault = world.api.faults.add(Fault("watch", hold=hold))
    world.server.end_watches()
    await eventually(lambda: fault.met == 1, "the next watch is held up")
    world.delete("first")
    world.pod("second")
    world.server.compact()
    hold.set()
    await eventually(lambda: list(reader.pods) == ["second"], "only second is left")
    assert (ChangeType.DELETED, "first") in reader.told


async def test_missed_replacement_is_told_as_two_objects(world: MemoryCluster, reader: Reader) -> None:
    """A namesake that took an object's place unseen is a deletion and an addition."""
    hold = asyncio.Event()
    fault = world.api.faults.add(Fault("watch", hold=hold))
    world.server.end_watches()
    await eventually(lambda: fault.met == 1, "the next watch is held up")
    world.delete("first")
    replaced = world.pod("first")["metadata"]["uid"]
    world.server.compact()
    hold.set()
    await eventually(lambda: reader.pods == {"first": replaced}, "the new first is known")
    assert reader.told[-2:] == [(ChangeType.DELETED, "first"), (ChangeType.ADDED, "first")]


@pytest.mark.parametrize("verb", ["watch", "list"])
async def test_errors_are_survived(world: MemoryCluster, reader: Reader, verb: str) -> None:
    """Calls that fail are made again; nothing is told twice."""
    fault = Fault(verb, error=errors.UnreachableError("connection refused"), times=2)
    world.api.faults.add(fault)
    world.server.end_watches(errors.GoneError("too old") if verb == "list" else None)
    world.pod("second")
    await eventually(lambda: "second" in reader.pods, "second is known")
    assert fault.met == 2
    assert reader.told.count((ChangeType.ADDED, "second")) == 1


async def test_a_bug_ends_the_changes(world: MemoryCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no error of the cluster reaches the reader instead of ending the changes silently."""

    async def broken(_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(world.api, "list", broken)
    with pytest.raises(ZeroDivisionError):
        async with asyncio.timeout(10):
            _ = [change async for change in Informer(world.api, POD).changes()]
