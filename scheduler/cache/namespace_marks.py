"""NamespaceMarks: the namespaces whose pods may be moved without a mark of their own. A part of the cache, and the sink
of the namespaces' reflector.
"""

from allocator.claims import contract
from allocator.moves import eligibility
from kubeclient.changes import Change, ChangeType, Listing
from scheduler.cache.port import Object, WatchedKind

ALL_NAMESPACES = "*"


class NamespaceMarks:
    """What namespaces say by their annotation `migsched.io/movable`, and the setting `moves_namespaces` of those that
    say nothing.
    """

    def __init__(self) -> None:
        self.of_settings: frozenset[str] = frozenset()
        self._marks: dict[str, str] = {}  # by namespace, of those that have one

    def allows(self, namespace: str) -> bool:
        """Whether pods of a namespace may be moved that say nothing themselves."""
        mark = self._marks.get(namespace, "")
        if mark in (eligibility.MOVABLE, eligibility.NEVER):
            return mark == eligibility.MOVABLE
        return bool({namespace, ALL_NAMESPACES} & self.of_settings)

    def expect(self, kind: WatchedKind) -> None:
        """See Sink."""

    async def replace(self, kind: WatchedKind, listing: Listing[Object]) -> None:
        """All namespaces, instead of what was known; unreadable ones are as they were."""
        del kind
        unreadable = {left_out.name for left_out in listing.unreadable}
        self._marks = {name: mark for name, mark in self._marks.items() if name in unreadable}
        for item in listing.items:
            self._take(item)

    def apply(self, kind: WatchedKind, change: Change[Object]) -> None:
        """One change."""
        del kind
        if change.item is not None and change.type is ChangeType.DELETED:
            self._marks.pop(change.item.metadata.name, None)
        elif change.item is not None:
            self._take(change.item)

    def _take(self, item: Object) -> None:
        mark = (item.metadata.annotations or {}).get(contract.MOVABLE_ANNOTATION)
        if mark is None:
            self._marks.pop(item.metadata.name, None)
        else:
            self._marks[item.metadata.name] = mark
