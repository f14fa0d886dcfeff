"""What lists and watches say: Listing, Change and its type, and what could not be read. Made by `kubeclient.kube` and
by clusters in memory, read by `kubeclient.list_watch` and by every cache of objects.
"""

import enum
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


class ChangeType(enum.Enum):
    """What a watch says happened. A bookmark only moves the resource version on."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    BOOKMARK = "BOOKMARK"


@dataclass(frozen=True, slots=True)
class UnreadableObject:
    """An object that was left out, since it cannot be decoded: what is known of it, which may be nothing, and why."""

    namespace: str
    name: str
    uid: str
    reason: str

    @property
    def title(self) -> str:
        """`namespace/name`, for people."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name or "an object without a name"


@dataclass(frozen=True, slots=True)
class Change(Generic[T]):
    """One watch event; `item` is None for a bookmark and for an object that is `unreadable`."""

    type: ChangeType
    item: T | None
    resource_version: str
    unreadable: UnreadableObject | None = None


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    """All objects of a collection at one resource version, but for those that are `unreadable`."""

    items: tuple[T, ...]
    resource_version: str
    unreadable: tuple[UnreadableObject, ...] = ()
