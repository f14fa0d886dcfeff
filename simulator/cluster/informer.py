"""Informer: all changes of a kind, for ever, whatever happens to the connection.

Used by agents, kubelets, the scheduler stand-in and the demo's view.

List, then watch from there; watch again where one ended, list again where it is too old. What went missing between
two lists is told as deleted, so that a reader who applies every change knows the cluster.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

from allocator import errors
from kubeclient.changes import ChangeType
from simulator.cluster import api
from simulator.cluster.api import Api, Document, ObjectChange, ResourceKind

_RETRY_S = 0.2


class Informer:
    """The changes of one kind. `synced` is set once the reader has taken in everything that was there at the start."""

    def __init__(self, cluster: Api, kind: ResourceKind) -> None:
        self.synced = asyncio.Event()
        self._cluster = cluster
        self._kind = kind
        self._known: dict[str, tuple[str, str]] = {}  # key → (UID, version)

    async def changes(self) -> AsyncIterator[ObjectChange]:
        """Every change; no bookmarks. An object that was replaced by a namesake is told as deleted first."""
        version = ""
        while True:
            try:
                if not version:
                    page = await self._cluster.list(self._kind)
                    for change in self._difference(page):
                        yield change
                    version = page.resource_version
                    self.synced.set()
                async with aclosing(self._cluster.watch(self._kind, version)) as watch:
                    async for change in watch:
                        version = change.resource_version
                        if change.document is not None:
                            self._note(change.type, change.document)
                            yield change
            except errors.GoneError:
                version = ""
            except errors.ClusterError:
                await asyncio.sleep(_RETRY_S)

    def _difference(self, page: api.Page) -> list[ObjectChange]:
        """What a list says has changed since."""
        listed = {api.key_of(one): one for one in page.items}
        changes = []
        for key, (uid, version) in tuple(self._known.items()):
            if key not in listed or listed[key]["metadata"]["uid"] != uid:
                changes.append(ObjectChange(ChangeType.DELETED, _tombstone(key, uid), version))
                del self._known[key]
        for key, document in listed.items():
            version = document["metadata"]["resourceVersion"]
            before = self._known.get(key)
            if before is None or before[1] != version:
                type_ = ChangeType.ADDED if before is None else ChangeType.MODIFIED
                self._note(type_, document)
                changes.append(ObjectChange(type_, document, version))
        return changes

    def _note(self, type_: ChangeType, document: Document) -> None:
        meta = document["metadata"]
        if type_ is ChangeType.DELETED:
            self._known.pop(api.key_of(document), None)
        else:
            self._known[api.key_of(document)] = (meta["uid"], meta["resourceVersion"])


def _tombstone(key: str, uid: str) -> Document:
    """What is left to say of an object whose deletion nobody saw."""
    namespace, _, name = key.rpartition("/")
    return {"metadata": {"name": name, "namespace": namespace, "uid": uid}}
