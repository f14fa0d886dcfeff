"""One replica of the scheduler service in the tests of the queue: real cache and cycle over an API server in memory."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import ClassVar

import msgspec

from allocator.placement import policy
from allocator.queueing.release import QueueRelease
from kubeclient.changes import Change, ChangeType
from scheduler.cache import port
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.port import WatchedKind
from scheduler.cache.reflector import Sink
from scheduler.metrics import Metrics
from scheduler.queueing.cycle import QueueCycle
from scheduler.queueing.options import QueueOptions
from scheduler.queueing.promised_places import PromisedPlaces
from simulator.cluster import api
from simulator.cluster.api import Document
from simulator.cluster.memory_cluster.client import MemoryCluster
from simulator.cluster.memory_cluster.history import Entry
from simulator.cluster.memory_cluster.server import MemoryServer

RETURN_AFTER_S = 10.0
GANG_KEEP_S = 15.0
GANG_LIMIT_S = 25.0
PATIENCE_S = 5.0
RESERVATIONS = 2
SPARE_NODES = 1
KINDS = {WatchedKind.NODE: api.NODE, WatchedKind.MIG_NODE: api.MIG_NODE, WatchedKind.POD: api.POD}


class Evictions(MemoryCluster):
    """A client that notes whom it was to evict, with all pods and budgets as they were then."""

    def __init__(self, server: MemoryServer, evicted: list[tuple[Document, list[Document]]]) -> None:
        super().__init__(server)
        self._evicted = evicted

    async def evict(self, namespace: str, name: str, uid: str) -> None:
        """See the port; noted if it is done."""
        pod = self.server.get(api.POD, name, namespace).document
        others = [stored.document for stored in self.server.list(api.POD)]
        await super().evict(namespace, name, uid)
        self._evicted.append((pod, others))


class Replica:
    """A scheduler service that has listed everything, and hears of changes when it is told to."""

    kinds: ClassVar[dict[WatchedKind, api.ResourceKind]] = KINDS

    def __init__(
        self,
        server: MemoryServer,
        clock: Callable[[], float],
        evicted: list[tuple[Document, list[Document]]],
        preemption: str,
        *,
        fair: bool,
        way: QueueRelease,
    ) -> None:
        self.server = server
        self.clock = clock
        self.cluster = Evictions(server, evicted)
        self.metrics = Metrics()
        self.state = ClusterCache(policy.DEFAULT, lambda: None)
        options = QueueOptions(
            window_s=0,
            return_s=RETURN_AFTER_S,
            release=way,
            fair=fair,
            preemption=preemption,
            gang_keep_s=GANG_KEEP_S,
            gang_limit_s=GANG_LIMIT_S,
            patience_s=PATIENCE_S,
            reservations=RESERVATIONS,
            spare_nodes=SPARE_NODES,
            events=True,
            conditions=True,
        )
        self.promised = self.promises()
        self.cycle = QueueCycle(self.state, self.cluster, self.metrics, options, clock=clock, promised=self.promised)
        self._watches: dict[WatchedKind, AsyncIterator[Entry]] = {}
        self._next: dict[WatchedKind, asyncio.Task[Entry]] = {}

    def promises(self) -> PromisedPlaces | None:
        """Who holds places for pods that do not exist yet."""
        return None

    def sink(self, kind: WatchedKind) -> Sink:
        """Where objects of a kind go."""
        del kind
        return self.state

    async def list(self, kind: WatchedKind) -> None:
        """All objects of a kind, and from there on its changes."""
        if kind in self._next:
            self._next.pop(kind).cancel()
        self.sink(kind).expect(kind)
        listing = await self.cluster.list(kind)
        await self.sink(kind).replace(kind, listing)
        self._watches[kind] = self.server.watch(self.kinds[kind], listing.resource_version)

    async def hear(self, most: int) -> None:
        """The watches bring what happened, in order, at most so many changes of each kind."""
        for kind in self.kinds:
            for _ in range(most):
                entry = await self._entry(kind)
                if entry is None:
                    break
                item = msgspec.json.decode(entry.raw, type=port.TYPES[kind])
                self.sink(kind).apply(kind, Change(entry.type, item, str(entry.version)))

    async def _entry(self, kind: WatchedKind) -> Entry | None:
        """The next change of a kind that is not a bookmark; None if there is none yet."""
        while True:
            if kind not in self._next:
                self._next[kind] = asyncio.ensure_future(anext(self._watches[kind]))
            await turns()
            if not self._next[kind].done():
                return None
            entry: Entry = self._next.pop(kind).result()
            if entry.type is not ChangeType.BOOKMARK:
                return entry


async def turns() -> None:
    """Let tasks go on until each waits for something outside."""
    for _ in range(30):
        await asyncio.sleep(0)
