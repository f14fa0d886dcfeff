"""What the in-memory API server adds to the common contract: bounded history, bookmarks, and faults on demand."""

import asyncio
from contextlib import aclosing

import pytest

from allocator import errors
from kubeclient.changes import Change, ChangeType
from scheduler.cache.port import Binding, WatchedKind
from simulator.cluster.api import NODE, POD, Document
from simulator.cluster.memory_cluster.client import MemoryApi, MemoryCluster
from simulator.cluster.memory_cluster.faults import Fault
from simulator.cluster.memory_cluster.server import BOOKMARK_EVERY, MemoryServer


def pod(name: str) -> Document:
    return {"metadata": {"name": name, "namespace": "default"}, "spec": {"containers": [{"name": "main"}]}}


async def changes(api: MemoryApi, version: str, count: int) -> list[Change[Document]]:
    collected = []
    async with aclosing(api.watch(POD, version)) as watch:
        async for change in watch:
            collected.append(change)
            if len(collected) == count:
                break
    return collected


async def test_compacted_version_is_gone() -> None:
    """A watch from before a compaction is GoneError; one from the present version is not."""
    server = MemoryServer()
    api = MemoryApi(server)
    old = str(server.version)
    server.create(POD, pod("one"))
    last_pod = str(server.version)
    server.create(NODE, {"metadata": {"name": "n"}})
    server.compact()
    for version in (old, last_pod):
        with pytest.raises(errors.GoneError):
            await changes(api, version, 1)
    now = str(server.version)
    server.create(POD, pod("two"))
    (change,) = await changes(api, now, 1)
    assert change.type is ChangeType.ADDED


async def test_history_is_bounded() -> None:
    """Versions older than the kept history are gone; what is kept can be watched from."""
    server = MemoryServer(history=10)
    for number in range(25):
        server.create(POD, pod(f"p{number}"))
    api = MemoryApi(server)
    with pytest.raises(errors.GoneError):
        await changes(api, "1", 1)
    assert len(await changes(api, "20", 5)) == 5


async def test_reader_who_falls_behind_is_cut_off() -> None:
    """A watch whose next change was forgotten ends, and cannot be resumed from where it was."""
    server = MemoryServer(history=10)
    server.create(POD, pod("first"))
    api = MemoryApi(server)
    watch = api.watch(POD, "0")
    first = await anext(watch)
    for number in range(40):
        server.create(POD, pod(f"p{number}"))
    with pytest.raises(StopAsyncIteration):
        await anext(watch)
    with pytest.raises(errors.GoneError):
        await changes(api, first.resource_version, 1)


async def test_bookmarks_move_a_quiet_watch_on() -> None:
    """A watch of a kind that does not change is told the version that other kinds have brought about."""
    server = MemoryServer()
    api = MemoryApi(server)
    server.create(POD, pod("quiet"))
    watch = api.watch(POD, str(server.version))
    waiting = asyncio.create_task(anext(watch))
    for number in range(BOOKMARK_EVERY):
        server.create(NODE, {"metadata": {"name": f"n{number}"}})
    bookmark = await waiting
    assert (bookmark.type, bookmark.item) == (ChangeType.BOOKMARK, None)
    server.compact()
    await watch.aclose()
    server.create(POD, pod("loud"))
    with pytest.raises(errors.GoneError):
        await changes(api, "1", 1)


async def test_bookmark_version_can_be_watched_from() -> None:
    """A watch from a bookmark's version misses nothing and repeats nothing."""
    server = MemoryServer()
    api = MemoryApi(server)
    server.create(POD, pod("before"))
    server.create(NODE, {"metadata": {"name": "n"}})
    server.bookmark()
    *_, bookmark = await changes(api, "0", 2)
    server.create(POD, pod("after"))
    (change,) = await changes(api, bookmark.resource_version, 1)
    assert change.item is not None
    assert change.item["metadata"]["name"] == "after"


async def test_documents_are_the_callers_own() -> None:
    """Changing a document that went in or came out changes nothing in the cluster."""
    api = MemoryApi(MemoryServer())
    document = pod("mine")
    made = await api.create(POD, document)
    document["spec"]["containers"].append({"name": "sneaked in"})
    made["spec"]["containers"].append({"name": "sneaked in"})
    assert len((await api.get(POD, "mine", "default"))["spec"]["containers"]) == 1


async def test_same_seed_gives_the_same_cluster() -> None:
    """UIDs and generated names follow from the seed."""
    made = []
    for seed in (1, 1, 2):
        document = {**pod(""), "metadata": {"generateName": "web-"}}
        meta = (await MemoryApi(MemoryServer(seed=seed)).create(POD, document))["metadata"]
        made.append((meta["name"], meta["uid"]))
    assert made[0] == made[1] != made[2]


async def test_fault_before_the_call_leaves_it_undone() -> None:
    """A fault makes one call fail without its being done; the next one goes through."""
    cluster = MemoryCluster(MemoryServer())
    uid = cluster.server.create(POD, pod("p")).document["metadata"]["uid"]
    cluster.faults.add(Fault("bind", error=errors.UnreachableError("no route")))
    binding = Binding("default", "p", uid, "n1", {})
    with pytest.raises(errors.UnreachableError):
        await cluster.bind(binding)
    assert (await cluster.get_pod("default", "p")).spec.node_name == ""
    await cluster.bind(binding)
    assert (await cluster.get_pod("default", "p")).spec.node_name == "n1"


async def test_lost_reply_leaves_the_call_done() -> None:
    """With `done` the caller gets the error although the server did what was asked."""
    cluster = MemoryCluster(MemoryServer())
    uid = cluster.server.create(POD, pod("p")).document["metadata"]["uid"]
    cluster.faults.add(Fault("bind", error=errors.UnreachableError("reply lost"), done=True))
    with pytest.raises(errors.UnreachableError):
        await cluster.bind(Binding("default", "p", uid, "n1", {}))
    assert (await cluster.get_pod("default", "p")).spec.node_name == "n1"


async def test_held_call_waits() -> None:
    """A held call is not done before its event, however much else happens."""
    api = MemoryApi(MemoryServer())
    hold = asyncio.Event()
    fault = api.faults.add(Fault("create", plural="pods", hold=hold))
    creating = asyncio.create_task(api.create(POD, pod("held")))
    await api.create(NODE, {"metadata": {"name": "n"}})
    assert fault.met == 1
    assert not creating.done()
    assert (await api.list(POD)).items == ()
    hold.set()
    assert (await creating)["metadata"]["name"] == "held"


async def test_faults_meet_their_verb_and_plural_so_often() -> None:
    """A fault meets as many calls of its verb, on its plural, as it says, and no other."""
    api = MemoryApi(MemoryServer())
    api.faults.add(Fault("create", plural="pods", error=errors.ConflictError("no"), times=2))
    await api.create(NODE, {"metadata": {"name": "n"}})
    for _ in range(2):
        with pytest.raises(errors.ConflictError):
            await api.create(POD, pod("p"))
    await api.create(POD, pod("p"))


async def test_cleared_faults_meet_nothing() -> None:
    """After a clear every call goes through."""
    api = MemoryApi(MemoryServer())
    api.faults.add(Fault("create", error=errors.ConflictError("no"), times=None))
    with pytest.raises(errors.ConflictError):
        await api.create(POD, pod("p"))
    api.faults.clear()
    await api.create(POD, pod("p"))


def test_fault_of_an_unknown_verb_is_refused() -> None:
    """A fault that could meet no call is a mistake in the test that sets it."""
    with pytest.raises(errors.InputError, match="use one of"):
        MemoryApi(MemoryServer()).faults.add(Fault("binding"))


@pytest.mark.parametrize("error", [None, errors.UnreachableError("connection reset")])
async def test_watches_can_be_broken(error: errors.ClusterError | None) -> None:
    """Every watch in progress ends, in order or with the error; a new one goes on from there."""
    cluster = MemoryCluster(MemoryServer())
    cluster.server.create(POD, pod("before"))
    watch = cluster.watch(WatchedKind.POD, "0")
    first = await anext(watch)
    cluster.server.end_watches(error)
    with pytest.raises(errors.UnreachableError if error else StopAsyncIteration):
        await anext(watch)
    cluster.server.create(POD, pod("after"))
    async with aclosing(cluster.watch(WatchedKind.POD, first.resource_version)) as again:
        assert (await anext(again)).type is ChangeType.ADDED


async def test_closed_client_is_unreachable() -> None:
    """A client that was closed refuses every call."""
    cluster = MemoryCluster(MemoryServer())
    await cluster.close()
    with pytest.raises(errors.UnreachableError):
        await cluster.list(WatchedKind.POD)
