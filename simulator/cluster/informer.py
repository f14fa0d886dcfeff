"""Informer: all changes of a kind until cancelled, whatever happens to the connection.

Used by agents, kubelets, the scheduler stand-in and the demo's view. It is the services' own list + watch
(`kubeclient.list_watch`) over whole objects, and what went missing between two lists is told as deleted: a reader who
applies every change knows the cluster.
"""

import asyncio
from collections.abc import AsyncIterator

from kubeclient.changes import Change, ChangeType, Listing
from kubeclient.list_watch import ListWatch
from simulator.cluster import api
from simulator.cluster.api import Api, Document, ResourceKind

_BACKOFF_MAX_S = 0.2


class Informer:
    """The changes of one kind. `synced` is set once the reader has taken in all objects that existed at the start."""

    def __init__(self, cluster: Api, kind: ResourceKind) -> None:
        self.synced = asyncio.Event()
        self._kind = kind
        self._collection = _Collection(cluster, kind)

    async def changes(self) -> AsyncIterator[Change[Document]]:
        """Every change; no bookmarks. An object that was replaced by a namesake is told as deleted first."""
        told = self._collection.told
        following = asyncio.create_task(
            ListWatch(self._kind.plural, self._collection, backoff_max_s=_BACKOFF_MAX_S).run()
        )
        following.add_done_callback(lambda _: told.put_nowait(None))
        try:
            while not following.done() or not told.empty():
                change = await told.get()
                if change is not None:
                    yield change
                elif not following.done():
                    self.synced.set()
            await following
        finally:
            following.cancel()


class _Collection:
    """See `kubeclient.list_watch.Collection`. None among the changes: the list before it has been told."""

    def __init__(self, cluster: Api, kind: ResourceKind) -> None:
        self.told: asyncio.Queue[Change[Document] | None] = asyncio.Queue()
        self._cluster = cluster
        self._kind = kind
        self._known: dict[str, tuple[str, str]] = {}  # key → (UID, version)

    async def list(self) -> Listing[Document]:
        """All objects."""
        return await self._cluster.list(self._kind)

    def watch(self, resource_version: str) -> AsyncIterator[Change[Document]]:
        """Changes after a resource version."""
        return self._cluster.watch(self._kind, resource_version)

    async def replace(self, listing: Listing[Document]) -> None:
        """Tell what a list says has changed since."""
        listed = {api.key_of(document): document for document in listing.items}
        for key, (uid, version) in tuple(self._known.items()):
            if key not in listed or listed[key]["metadata"]["uid"] != uid:
                self._tell(Change(ChangeType.DELETED, _tombstone(key, uid), version))
        for key, document in listed.items():
            version = document["metadata"]["resourceVersion"]
            before = self._known.get(key)
            if before is None or before[1] != version:
                self._tell(Change(ChangeType.ADDED if before is None else ChangeType.MODIFIED, document, version))
        self.told.put_nowait(None)

    def apply(self, change: Change[Document]) -> None:
        """Tell one change."""
        self._tell(change)

    def relisting(self, cause: str) -> None:
        """Nothing: what a list says is told as changes."""

    def _tell(self, change: Change[Document]) -> None:
        if change.item is None:
            return
        meta, key = change.item["metadata"], api.key_of(change.item)
        if change.type is ChangeType.DELETED:
            self._known.pop(key, None)
        else:
            self._known[key] = (meta["uid"], meta["resourceVersion"])
        self.told.put_nowait(change)


def _tombstone(key: str, uid: str) -> Document:
    """What is left to say of an object whose deletion was missed."""
    namespace, _, name = key.rpartition("/")
    return {"metadata": {"name": name, "namespace": namespace, "uid": uid}}
