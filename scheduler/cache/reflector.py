"""Keeps the cache equal to one kind of the cluster's objects. One reflector per kind runs as a task of the service."""

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
        self._kind = kind
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

    async def run(self) -> None:
        """Until cancelled."""
        await self._following.run()

    async def list(self) -> Listing[Object]:
        """See Collection."""
        self._sink.expect(self._kind)
        return await self._cluster.list(self._kind)

    def watch(self, resource_version: str) -> AsyncIterator[Change[Object]]:
        """See Collection."""
        return self._cluster.watch(self._kind, resource_version)

    async def replace(self, listing: Listing[Object]) -> None:
        """See Collection."""
        await fail_points.pass_by("reflector.list")
        await self._sink.replace(self._kind, listing)

    def apply(self, change: Change[Object]) -> None:
        """See Collection."""
        fail_points.reach("reflector.change")
        self._sink.apply(self._kind, change)

    def relisting(self, cause: str) -> None:
        """See Collection."""
        self._metrics.watch_restarts.labels(self._kind.value, cause).inc()
