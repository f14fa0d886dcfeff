"""The contract of every reader of the API server: an object that cannot be read neither ends it nor hides others."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import test_utils, web

from allocator.placement import policy
from kubeclient import kube
from kubeclient.changes import Change, ChangeType, Listing
from kubeclient.kubeconfig import Kubeconfig
from node_agent.cluster.kube import KubeClient as AgentClient
from node_agent.cluster.pod_watch import PodWatch
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.kube import KubeClient
from scheduler.cache.port import WatchedKind
from scheduler.cache.reflector import Reflector
from scheduler.metrics import Metrics
from tests import poisons
from tests.poisons import POISONS, Poison
from tests.unit.kubeclient.kubeconfigs import kubeconfig

GOOD = 2_000
Lister = Callable[[kube.Connection], Awaitable[Listing[Any]]]
Watcher = Callable[[kube.Connection], AsyncGenerator[Change[Any], None]]

LISTERS: Mapping[str, Lister] = {
    "the scheduler's pods": lambda connection: KubeClient(connection).list(WatchedKind.POD),
    "the scheduler's nodes": lambda connection: KubeClient(connection).list(WatchedKind.NODE),
    "the scheduler's MigNodes": lambda connection: KubeClient(connection).list(WatchedKind.MIG_NODE),
    "the agent's pods": lambda connection: AgentClient(connection).pods("n1"),
    "the agent's node": lambda connection: AgentClient(connection).list_node("n1"),
}
WATCHERS: Mapping[str, Watcher] = {
    "the scheduler's pods": lambda connection: KubeClient(connection).watch(WatchedKind.POD, "1"),
    "the scheduler's nodes": lambda connection: KubeClient(connection).watch(WatchedKind.NODE, "1"),
    "the scheduler's MigNodes": lambda connection: KubeClient(connection).watch(WatchedKind.MIG_NODE, "1"),
    "the agent's pods": lambda connection: AgentClient(connection).watch_pods("n1", "1"),
    "the agent's node": lambda connection: AgentClient(connection).watch_node("n1", "1"),
}
each_poison = pytest.mark.parametrize("poison", POISONS.values(), ids=POISONS)


def good(number: int) -> bytes:
    """One of the good objects, of any kind."""
    return (
        b'{"metadata":{"name":"good-%d","namespace":"ns","uid":"uid-%d","resourceVersion":"5"},"spec":{},"status":{}}'
        % (
            number,
            number,
        )
    )


def page(*poisoned: bytes, number: int = GOOD) -> bytes:
    """A list of good objects with these in their middle."""
    goods = [good(n) for n in range(number)]
    items = b",".join([*goods[: number // 2], *poisoned, *goods[number // 2 :]])
    return b'{"kind":"List","apiVersion":"v1","metadata":{"resourceVersion":"9"},"items":[%s]}' % items


def event(type_: str, text: bytes) -> bytes:
    """One line of a watch."""
    return b'{"type":"%s","object":%s}\n' % (type_.encode(), text)


@asynccontextmanager
async def api_server(
    directory: Path, listed: bytes, *watched: bytes
) -> AsyncIterator[tuple[kube.Connection, list[str]]]:
    """A connection to a server with this list, whose first watch sends these lines; and the paths of its watches."""
    watches: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            return web.Response(body=listed)
        watches.append(request.path_qs)
        response = web.StreamResponse()
        await response.prepare(request)
        if len(watches) == 1:
            for line in watched:
                await response.write(line)
            return response
        await asyncio.Event().wait()
        return response

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handler)
    async with test_utils.TestServer(application) as server:
        access = await Kubeconfig.load(kubeconfig(directory, str(server.make_url("/"))))
        connection = kube.Connection(access)
        yield connection, watches
        await connection.close()


def check(left_out: Change[Any] | Listing[Any], poison: Poison) -> None:
    """The unreadable object is the poison, by name where that can be told."""
    unreadable = left_out.unreadable[0] if isinstance(left_out, Listing) else left_out.unreadable
    assert unreadable is not None
    assert unreadable.reason
    assert unreadable.uid == (poisons.UID if poison.named else "")


@pytest.mark.parametrize("lister", LISTERS.values(), ids=LISTERS)
async def test_a_list_is_all_good_objects(tmp_path: Path, lister: Lister) -> None:
    """Beside one of each poison all good objects are listed, and each poison that can be read; the others are named."""
    async with api_server(tmp_path, page(*(poison.text for poison in POISONS.values()))) as (connection, _):
        listing = await lister(connection)
    names = [item.metadata.name for item in listing.items]
    assert sum(name.startswith("good-") for name in names) == GOOD
    assert names.count(poisons.NAME) == sum(poison.readable for poison in POISONS.values())
    assert len(listing.unreadable) == sum(not poison.readable for poison in POISONS.values())
    assert listing.resource_version == "9"


@each_poison
async def test_a_page_with_one_poison_is_read(tmp_path: Path, poison: Poison) -> None:
    """Each poison by itself is read or named, and hides nothing."""
    async with api_server(tmp_path, page(poison.text, number=3)) as (connection, _):
        listing = await KubeClient(connection).list(WatchedKind.POD)
    assert {f"good-{n}" for n in range(3)} <= {item.metadata.name for item in listing.items}
    assert len(listing.items) == 3 + poison.readable
    if not poison.readable:
        check(listing, poison)


@each_poison
@pytest.mark.parametrize("watcher", WATCHERS.values(), ids=WATCHERS)
async def test_a_watch_goes_on_past_a_poison(tmp_path: Path, watcher: Watcher, poison: Poison) -> None:
    """The changes before and after a poison are told, by one watch; the poison is a change that names it."""
    lines = event("ADDED", good(1)), event("MODIFIED", poison.text), event("ADDED", good(2))
    async with api_server(tmp_path, page(number=0), *lines) as (connection, watches):
        async with aclosing(watcher(connection)) as watch:
            changes = [change async for change in watch]
        assert len(watches) == 1
    names = [change.item and change.item.metadata.name for change in changes]
    assert names == ["good-1", poisons.NAME if poison.readable else None, "good-2"]
    if not poison.readable:
        check(changes[1], poison)


@each_poison
async def test_the_end_of_a_poison_is_told(tmp_path: Path, poison: Poison) -> None:
    """A deleted object is told as deleted wherever it has a UID, whatever else is in it."""
    async with api_server(tmp_path, page(number=0), event("DELETED", poison.text)) as (connection, _):
        (change,) = [one async for one in KubeClient(connection).watch(WatchedKind.POD, "1")]
    assert change.type is ChangeType.DELETED
    assert (change.item is not None) is poison.named
    if change.item is not None:
        assert change.item.metadata.uid == poisons.UID


@each_poison
async def test_a_budget_that_cannot_be_read_allows_nothing(tmp_path: Path, poison: Poison) -> None:
    """All other budgets are read; one that cannot be covers its namespace and allows no disruption."""
    async with api_server(tmp_path, page(poison.text, number=3)) as (connection, _):
        budgets = await KubeClient(connection).disruption_budgets()
    assert [budget.metadata.name for budget in budgets if budget.metadata.name.startswith("good-")] == [
        "good-0",
        "good-1",
        "good-2",
    ]
    assert len(budgets) == 4
    assert sum(budget.allowed for budget in budgets) == 0
    if poison is POISONS["a null name"]:
        assert budgets[-1].selects({"any": "label"})
        assert budgets[-1].metadata.namespace == "ns"


async def test_the_scheduler_follows_past_poisons(tmp_path: Path) -> None:
    """The reflector lists and watches on, names what it leaves out, counts it, and forgets what is gone."""
    bad = POISONS["a null name"]
    lines = [event("ADDED", poison.text) for poison in POISONS.values()]
    lines += [
        event("DELETED", b'{"metadata":{"name":"x","namespace":"ns","uid":"uid-poison"}}'),
        event("ADDED", good(1)),
    ]
    async with AsyncExitStack() as stack:
        connection, watches = await stack.enter_async_context(api_server(tmp_path, page(bad.text, number=5), *lines))
        metrics = Metrics()
        cache = ClusterCache(policy.find("mfi"), lambda: None)
        reflector = Reflector(KubeClient(connection), WatchedKind.NODE, cache, metrics)
        following = asyncio.create_task(reflector.run())
        async with asyncio.timeout(60):
            await reflector.synced.wait()
            while len(watches) < 2:
                await asyncio.sleep(0.01)
        left_out = metrics.registry.get_sample_value("migsched_unreadable_objects", {"kind": "nodes"})
        assert not following.done()
        assert {f"good-{n}" for n in range(5)} <= cache.inventory.nodes
        assert left_out == len(list(reflector.unreadable)) > 0
        assert all(not unreadable.uid for unreadable in reflector.unreadable)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def test_the_agent_follows_past_poisons(tmp_path: Path) -> None:
    """The agent's pods are listed and watched on, and a pod that was readable before is kept while it is not."""
    lines = [event("ADDED", poison.text) for poison in POISONS.values()]
    lines += [event("ADDED", good(7))]
    async with api_server(tmp_path, page(number=5), *lines) as (connection, watches):
        source = PodWatch(AgentClient(connection), "n1", lambda: None)
        following = asyncio.create_task(source.run())
        async with asyncio.timeout(60):
            while len(watches) < 2:
                await asyncio.sleep(0.01)
        assert not following.done()
        assert {"uid-0", "uid-4", "uid-7", poisons.UID} <= source.uids
        assert poisons.UID in {unreadable.uid for unreadable in source.unreadable}
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await source.replace(Listing((), "9", tuple(source.unreadable)))
        assert source.uids == {poisons.UID}
