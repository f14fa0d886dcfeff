"""History: the watch cache of one kind, the changes of its objects in order. Used by server.

Like the API server's it is bounded: who asks for a version older than what is kept is told to list again (410), and a
reader who falls behind what is kept is cut off.
"""

import asyncio
import bisect
from collections.abc import AsyncIterator
from dataclasses import dataclass

from allocator import errors
from kubeclient.changes import ChangeType


@dataclass(frozen=True, slots=True)
class Entry:
    """One change: the object's JSON as it then was, empty for a bookmark."""

    version: int
    type: ChangeType
    raw: bytes = b""


class History:
    """Changes of one kind, the last `limit` of them at least."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: list[Entry] = []
        self._dropped = 0  # entries forgotten; position of the first one kept
        self._oldest = 0  # a watch may begin at this version or later
        self._changed = asyncio.Event()
        self._ended: tuple[int, errors.ClusterError | None] = (0, None)  # (how often watches were ended, with what)

    def append(self, entry: Entry) -> None:
        """Add a change; versions never go back."""
        self._entries.append(entry)
        if len(self._entries) > 2 * self._limit:
            self._forget(self._limit)
        self._ring()

    def compact(self, version: int) -> None:
        """Forget every change up to a version: no watch may begin before it any more."""
        self._forget(bisect.bisect_right(self._entries, version, key=_version))
        self._oldest = max(self._oldest, version)

    def end_watches(self, error: errors.ClusterError | None = None) -> None:
        """End every watch there is now: normally, or with an error."""
        self._ended = (self._ended[0] + 1, error)
        self._ring()

    def after(self, version: int) -> AsyncIterator[Entry]:
        """Changes after a version, as they happen, until watches are ended. GoneError if they are not all kept."""
        if version < self._oldest:
            raise errors.GoneError(f"too old resource version: {version} ({self._oldest})")
        position = self._dropped + bisect.bisect_right(self._entries, version, key=_version)
        return self._from(position, self._ended[0])

    async def _from(self, position: int, ended_before: int) -> AsyncIterator[Entry]:
        while True:
            times, error = self._ended
            if times != ended_before:
                if error is not None:
                    raise error
                return
            if position < self._dropped:
                return
            if position < self._dropped + len(self._entries):
                yield self._entries[position - self._dropped]
                position += 1
            else:
                await self._changed.wait()

    def _forget(self, count: int) -> None:
        if count:
            self._oldest = max(self._oldest, self._entries[count - 1].version)
            del self._entries[:count]
            self._dropped += count

    def _ring(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def _version(entry: Entry) -> int:
    return entry.version
