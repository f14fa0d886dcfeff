"""List + watch of one collection, until cancelled: resync after 410, back-off while the API server is away.

One ListWatch per collection runs as a task: `scheduler.cache.reflector`, `node_agent.cluster.pod_watch`, the agent's
`labels` and the simulator's informer use it.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Generic, Protocol, TypeVar

import structlog

from allocator import errors
from kubeclient.changes import Change, ChangeType, Listing
from kubeclient.unreadable import UnreadableObjects

T = TypeVar("T")
_log = structlog.get_logger("list-watch")

BACKOFF_S = 0.05
SHORT_WATCH_S = 1.0  # a server ends watches after minutes; sooner, something in between cuts them off
RELIST_AFTER = 5  # failures in a row, after which the version itself is doubted


class Collection(Protocol[T]):
    """What is followed, and what becomes of it. `list` and `watch` raise the ClusterError that fits."""

    async def list(self) -> Listing[T]:
        """All objects."""

    def watch(self, resource_version: str) -> AsyncIterator[Change[T]]:
        """Changes after a resource version, until the server ends the watch. GoneError if that version is too old."""

    async def replace(self, listing: Listing[T]) -> None:
        """All objects, instead of what was known."""

    def apply(self, change: Change[T]) -> None:
        """One change; never a bookmark, nor one of an object that cannot be read."""

    def relisting(self, cause: str) -> None:
        """All objects will be listed again: the version is `gone`, or doubted since the server was `unreachable`."""


class ListWatch(Generic[T]):
    """Follows one collection. `synced` is set once it was listed; `unreadable` are the objects that are left out.

    After a failure it waits `backoff_s`, twice as long after each further one, and never more than `backoff_max_s`.
    `on_unreadable` is told how many objects are left out whenever their number may have changed.
    """

    def __init__(
        self,
        name: str,
        collection: Collection[T],
        *,
        backoff_max_s: float,
        backoff_s: float = BACKOFF_S,
        on_unreadable: Callable[[int], object] = lambda _: None,
    ) -> None:
        self._name = name
        self._collection = collection
        self._on_unreadable = on_unreadable
        self.unreadable = UnreadableObjects(name)
        self._backoff_s = backoff_s
        self._backoff_max_s = backoff_max_s
        self._version = ""  # where the watch goes on; empty: list first
        self._failures = 0  # in a row, with nothing that came in between
        self.synced = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                if not self._version:
                    await self._list()
                await self._watch()
            except errors.GoneError:
                self._relist("gone")
                await self._back_off(at_once=1)
            except errors.ClusterError as error:
                _log.warning("cannot follow", kind=self._name, failures=self._failures + 1, error=str(error))
                at_least_s = error.retry_after_s if isinstance(error, errors.TooManyRequestsError) else 0.0
                await self._back_off(at_least_s=at_least_s)
                if self._failures % RELIST_AFTER == 0:
                    self._relist("unreachable")

    def start_over(self) -> None:
        """Let the next `run` begin with a list."""
        self._version = ""

    async def _back_off(self, at_once: int = 0, at_least_s: float = 0.0) -> None:
        """Count a failure, and wait the longer the more there were; after the first `at_once` of them not at all."""
        self._failures += 1
        if self._failures > at_once:
            wait_s = min(self._backoff_max_s, self._backoff_s * 2 ** min(self._failures, 10))
            await asyncio.sleep(max(at_least_s, wait_s))

    async def _list(self) -> None:
        listing = await self._collection.list()
        await self._collection.replace(listing)
        self.unreadable.replace(listing.unreadable)
        self._on_unreadable(len(self.unreadable))
        self._version = listing.resource_version
        if not self.synced.is_set():
            _log.info("synced", kind=self._name, objects=len(listing.items))
            self.synced.set()

    async def _watch(self) -> None:
        """Until the server ends the watch, which it does every few minutes; then it goes on where it was.

        Raises UnreachableError for one that ends at once and brought nothing: asked again at once, it would go on so.
        """
        began = time.monotonic()
        came = False
        async for change in self._collection.watch(self._version):
            came = True
            self._failures = 0
            self._take(change)
            self._version = change.resource_version or self._version
        if not came and time.monotonic() - began < SHORT_WATCH_S:
            raise errors.UnreachableError("the watch ended at once and brought nothing")
        self._failures = 0

    def _take(self, change: Change[T]) -> None:
        """Apply one change; what cannot be read is noted instead."""
        if change.unreadable is not None:
            self.unreadable.add(change.unreadable)
            self._on_unreadable(len(self.unreadable))
        elif change.type is not ChangeType.BOOKMARK:
            if len(self.unreadable):
                self.unreadable.forget(getattr(getattr(change.item, "metadata", None), "uid", ""))
                self._on_unreadable(len(self.unreadable))
            self._collection.apply(change)

    def _relist(self, cause: str) -> None:
        self._version = ""
        self._collection.relisting(cause)
