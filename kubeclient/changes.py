"""What lists and watches say: Listing, Change and its type. Made by `kubeclient.kube` and by clusters in memory, read
by `kubeclient.list_watch` and by every cache of objects.
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
class Change(Generic[T]):
    """One watch event; `item` is None for a bookmark."""

    type: ChangeType
    item: T | None
    resource_version: str


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    """All objects of a collection at one resource version."""

    items: tuple[T, ...]
    resource_version: str
