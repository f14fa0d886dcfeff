"""Gang: pods that are placed together or not at all, and the gangs there are. Kept by `pod_queue`.

A gang's size is how many of its pods have to start together. More may belong to it: those are placed one by one, once
the first have their places.
"""

import enum
from collections.abc import Container, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass


class GangSource(enum.StrEnum):
    """What makes pods a gang. The value is how people are told."""

    ANNOTATION = "annotation"  # ours, with the size
    LEADER_WORKER_SET = "LeaderWorkerSet"  # its group's label, with the size in an annotation
    POD_GROUP = "PodGroup of scheduling.k8s.io"  # the pod names it, and it has the size
    COSCHEDULING = "PodGroup of scheduling.x-k8s.io"  # a label names it, and it has the size
    POD_GANG = "PodGang of scheduler.grove.io"  # a label names it, and it has the size of each of its parts


READ_SOURCES = frozenset({GangSource.POD_GROUP, GangSource.COSCHEDULING, GangSource.POD_GANG})  # whose objects have it


@dataclass(frozen=True, slots=True)
class Gang:
    """The pods of one namespace with this name and source, `size` of them; 0 where an object has the size."""

    namespace: str
    name: str
    size: int
    source: GangSource = GangSource.ANNOTATION


@dataclass(frozen=True, slots=True)
class GangPart:
    """Pods of a gang that have one template: how many have to start together, and their names if its object has them.

    A gang without parts is one part without a name.
    """

    name: str
    size: int
    pods: tuple[str, ...] = ()


def sizes_of(parts: Sequence[GangPart], asking: Container[str]) -> Mapping[str, int]:
    """By part, how many pods have to start together of those that ask for slices; `asking` are their names.

    Parts of which it is known that none does are left out: such pods are not held at our gate. Of a part whose pods are
    not there yet that is not known, so it counts.
    """
    return {part.name: part.size for part in parts if not part.pods or any(name in asking for name in part.pods)}


class Gangs:
    """The gangs of the queue: who belongs to each, its size, and how it is treated beside others."""

    def __init__(self) -> None:
        self._members: dict[Gang, set[str]] = {}
        self._sizes: dict[Gang, Mapping[str, int]] = {}  # by part, as their objects say
        self.loose: set[Gang] = set()  # whose pods are placed one by one
        self.paused: set[Gang] = set()  # which stand behind all others of their priority
        self.notes: dict[Gang, str] = {}  # in words, why one waits although all of its pods are there, or are not known

    def __iter__(self) -> Iterator[Gang]:
        return iter(self._members)

    def __contains__(self, gang: Gang) -> bool:
        return gang in self._members

    @property
    def members(self) -> Mapping[Gang, Set[str]]:
        """The UIDs of each gang's pods."""
        return self._members

    def of(self, gang: Gang) -> Set[str]:
        """The UIDs of a gang's pods."""
        return self._members.get(gang, frozenset())

    def size(self, gang: Gang) -> int | None:
        """How many pods have to start together; None if that is not known yet."""
        sizes = self.sizes(gang)
        return None if sizes is None else sum(sizes.values())

    def sizes(self, gang: Gang) -> Mapping[str, int] | None:
        """The same by part of the gang."""
        if gang in self.loose:
            return {"": 1}
        return {"": gang.size} if gang.size else self._sizes.get(gang)

    def resize(self, gang: Gang, sizes: Mapping[str, int] | None) -> bool:
        """An object says how many, by part; None if it says nothing any more. Returns whether that is new."""
        before = self._sizes.get(gang)
        if sizes is None or gang not in self._members:
            self._sizes.pop(gang, None)
        else:
            self._sizes[gang] = sizes
        return before != self._sizes.get(gang)

    def join(self, gang: Gang, uid: str) -> None:
        """A pod belongs to a gang."""
        self._members.setdefault(gang, set()).add(uid)

    def leave(self, gang: Gang, uid: str) -> None:
        """A pod does not belong to it any more; a gang without pods is forgotten."""
        members = self._members[gang]
        members.discard(uid)
        if not members:
            del self._members[gang]
            self._sizes.pop(gang, None)
            self.loose.discard(gang)
            self.paused.discard(gang)
            self.notes.pop(gang, None)
