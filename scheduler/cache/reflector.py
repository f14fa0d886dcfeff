"""Keeps the cache equal to one kind of the cluster's objects. One reflector per kind runs as a task of the service."""

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

from config import fail_points
from kubeclient import list_watch
from kubeclient.changes import Change, Listing
from kubeclient.list_watch import ListWatch
from scheduler.cache.port import Cluster, Object, WatchedKind
from scheduler.metrics import Metrics

BACKOFF_MAX_S = 1.0  # back within a second of the API server's return


class Sink(Protocol):
    """Where a reflector puts what it sees."""

    def expect(self, kind: WatchedKind) -> None:
        """A list of this kind is asked for."""

    async def replace(self, kind: WatchedKind, listing: Listing[Object]) -> None:
        """All objects of a kind, instead of what was known."""

    def apply(self, kind: WatchedKind, change: Change[Object]) -> None:
        """One change."""


class Reflector:
    """One kind of a cluster and the sink it goes to: the collection that its list + watch follows.

    `unreadable` are the objects that the sink does not get, since they cannot be decoded.
    """

    def __init__(
        self,
        cluster: Cluster,
        kind: WatchedKind,
        sink: Sink,
        metrics: Metrics,
        *,
        backoff_s: float = list_watch.BACKOFF_S,
    ) -> None:
        self._cluster = cluster
        self.kind = kind
        self._sink = sink
        self._metrics = metrics
        self._following = ListWatch(
            kind.value,
            self,
            backoff_max_s=BACKOFF_MAX_S,
            backoff_s=backoff_s,
            on_unreadable=metrics.unreadable_objects.labels(kind.value).set,
        )
        self.synced = self._following.synced
        self.unreadable = self._following.unreadable
        self._wanted = asyncio.Event()  # a list is to be asked for, whatever the watch says
        self._wanting: list[asyncio.Future[None]] = []  # who wants one
        self._served: list[asyncio.Future[None]] = []  # by the list that is being made

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            following = asyncio.create_task(self._following.run(), name=f"follow {self.kind.value}")
            wanted = asyncio.create_task(self._wanted.wait())
            try:
                await asyncio.wait((following, wanted), return_when=asyncio.FIRST_COMPLETED)
            finally:
                following.cancel()
                wanted.cancel()
                (end, _) = await asyncio.gather(following, wanted, return_exceptions=True)
            if isinstance(end, Exception):
                raise end
            self._wanted.clear()
            self._served += self._wanting
            self._wanting = []
            self._following.start_over()

    async def relist(self) -> None:
        """List once more, beside `run`: what is known afterwards is no older than this call."""
        done = asyncio.get_running_loop().create_future()
        self._wanting.append(done)
        self._wanted.set()
        await done

    async def list(self) -> Listing[Object]:
        """See Collection."""
        self._sink.expect(self.kind)
        return await self._cluster.list(self.kind)

    def watch(self, resource_version: str) -> AsyncIterator[Change[Object]]:
        """See Collection."""
        return self._cluster.watch(self.kind, resource_version)

    async def replace(self, listing: Listing[Object]) -> None:
        """See Collection."""
        await fail_points.pass_by("reflector.list")
        await self._sink.replace(self.kind, listing)
        for done in self._served:
            if not done.done():
                done.set_result(None)
        self._served = []

    def apply(self, change: Change[Object]) -> None:
        """See Collection."""
        fail_points.reach("reflector.change")
        self._sink.apply(self.kind, change)

    def relisting(self, cause: str) -> None:
        """See Collection."""
        self._metrics.watch_restarts.labels(self.kind.value, cause).inc()
