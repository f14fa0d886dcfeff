"""RepackObjects: the Repacks that the watch shows, read. The sink of their reflector."""

from collections.abc import Iterator
from dataclasses import dataclass

import structlog

from allocator import errors
from allocator.moves import document
from allocator.moves.document import RepackSpec, RepackStatus
from allocator.moves.life import ENDED
from kubeclient.changes import Change, ChangeType, Listing
from scheduler.cache.port import Object, Repack, WatchedKind

_log = structlog.get_logger("moves")
MAX_OBJECTS = 1_000  # that are looked at, the oldest first


@dataclass(frozen=True, slots=True)
class KnownRepack:
    """A Repack as it was last seen. `spec` is None, and `problem` says why, where it cannot be read."""

    uid: str
    name: str
    created: str
    version: str
    spec: RepackSpec | None
    status: RepackStatus
    problem: str = ""

    @property
    def order(self) -> tuple[str, str]:
        """The older first."""
        return self.created, self.name

    @property
    def has_ended(self) -> bool:
        """Whether nothing is to be done about it any more."""
        return self.status.phase in ENDED


class RepackObjects:
    """By UID; iterated the oldest first."""

    def __init__(self) -> None:
        self._known: dict[str, KnownRepack] = {}

    def __iter__(self) -> Iterator[KnownRepack]:
        return iter(sorted(self._known.values(), key=lambda repack: repack.order)[:MAX_OBJECTS])

    def __len__(self) -> int:
        return len(self._known)

    def get(self, uid: str) -> KnownRepack | None:
        """One of them, or None."""
        return self._known.get(uid)

    def expect(self, kind: WatchedKind) -> None:
        """See Sink."""

    async def replace(self, kind: WatchedKind, listing: Listing[Object]) -> None:
        """All of them, instead of what was known; unreadable ones are as they were."""
        del kind
        listed = {item.metadata.uid for item in listing.items} | {left_out.uid for left_out in listing.unreadable}
        self._known = {uid: repack for uid, repack in self._known.items() if uid in listed}
        for item in listing.items:
            self._take(item)

    def apply(self, kind: WatchedKind, change: Change[Object]) -> None:
        """One change."""
        del kind
        if change.item is None:
            return
        if change.type is ChangeType.DELETED:
            self._known.pop(change.item.metadata.uid, None)
        else:
            self._take(change.item)

    def _take(self, item: Object) -> None:
        if not isinstance(item, Repack):
            return
        meta, problem, spec, status = item.metadata, "", None, RepackStatus()
        try:
            spec = document.read_spec(item.spec)
            status = document.read_status(item.status)
        except errors.InputError as error:
            problem, spec = str(error), None
            _log.warning("Repack left out", repack=meta.name, problem=problem)
        created = meta.creation_timestamp or ""
        self._known[meta.uid] = KnownRepack(meta.uid, meta.name, created, meta.resource_version, spec, status, problem)
