"""The objects of one collection that could not be read: named, logged once each, and forgotten when they go or can be
read again. Kept by `list_watch`, shown by whoever explains.
"""

from collections.abc import Iterable, Iterator

import structlog

from kubeclient.changes import UnreadableObject

KEPT = 1_000  # objects that are named; what is beyond is only counted. Each takes some hundred bytes

_log = structlog.get_logger("unreadable")

_Key = tuple[str, str]  # title and UID


class UnreadableObjects:
    """The unreadable objects of a kind, the first `kept_max` of them by name."""

    def __init__(self, kind: str, *, kept_max: int = KEPT) -> None:
        self._kind = kind
        self._kept_max = kept_max
        self._objects: dict[_Key, UnreadableObject] = {}
        self._logged: dict[_Key, None] = {}  # the latest last

    def __iter__(self) -> Iterator[UnreadableObject]:
        return iter(tuple(self._objects.values()))

    def __len__(self) -> int:
        return len(self._objects)

    def replace(self, objects: Iterable[UnreadableObject]) -> None:
        """All of a list, instead of what was known."""
        self._objects.clear()
        for unreadable in objects:
            self.add(unreadable)

    def add(self, unreadable: UnreadableObject) -> None:
        """One more, or one of them again."""
        key = (unreadable.title, unreadable.uid)
        if key in self._objects or len(self._objects) < self._kept_max:
            self._objects[key] = unreadable
        if key not in self._logged:
            if len(self._logged) >= self._kept_max:
                del self._logged[next(iter(self._logged))]
            self._logged[key] = None
            _log.warning(
                "an object cannot be read and is left out",
                kind=self._kind,
                object=unreadable.title,
                uid=unreadable.uid,
                reason=unreadable.reason,
            )

    def forget(self, uid: str) -> None:
        """The object with this UID is gone, or was read."""
        for key in [key for key in self._objects if key[1] == uid]:
            del self._objects[key]
