"""List + watch of one kind into the state, for ever: resync after 410, back-off while the API server is away.

One reflector per kind runs as a task of the service.
"""

import asyncio
from typing import Protocol

import structlog

from allocator import errors
from scheduler.cluster import Change, ChangeType, Cluster, Kind, Listing
from scheduler.metrics import Metrics

_log = structlog.get_logger("reflector")

BACKOFF_S = 0.05
BACKOFF_MAX_S = 1.0  # back within a second of the API server's return
RELIST_AFTER = 5  # failures in a row, after which the version itself is doubted


class Sink(Protocol):
    """Where a reflector puts what it sees."""

    def replace(self, kind: Kind, listing: Listing) -> None:
        """All objects of a kind, instead of what was known."""

    def apply(self, kind: Kind, change: Change) -> None:
        """One change."""


class Reflector:
    """Keeps one kind of a cluster in a sink."""

    def __init__(self, cluster: Cluster, kind: Kind, sink: Sink, metrics: Metrics) -> None:
        self._cluster = cluster
        self._kind = kind
        self._sink = sink
        self._metrics = metrics
        self._version = ""  # where the watch goes on; empty: list first
        self.synced = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        failures = 0
        while True:
            try:
                if not self._version:
                    await self._list()
                await self._watch()
                failures = 0
            except errors.GoneError:
                self._relist("gone")
            except errors.ClusterError as error:
                failures += 1
                _log.warning("cannot follow", kind=self._kind.value, failures=failures, error=str(error))
                if failures % RELIST_AFTER == 0:
                    self._relist("unreachable")
                await asyncio.sleep(min(BACKOFF_MAX_S, BACKOFF_S * 2 ** min(failures, 10)))

    async def _list(self) -> None:
        listing = await self._cluster.list(self._kind)
        self._sink.replace(self._kind, listing)
        self._version = listing.resource_version
        if not self.synced.is_set():
            _log.info("synced", kind=self._kind.value, objects=len(listing.items))
            self.synced.set()

    async def _watch(self) -> None:
        """Until the server ends the watch, which it does every few minutes; then it goes on where it was."""
        async for change in self._cluster.watch(self._kind, self._version):
            if change.type is not ChangeType.BOOKMARK:
                self._sink.apply(self._kind, change)
            self._version = change.resource_version or self._version

    def _relist(self, cause: str) -> None:
        self._version = ""
        self._metrics.watch_restarts.labels(self._kind.value, cause).inc()
