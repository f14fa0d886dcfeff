"""PodGroups and Grove's PodGangs, as far as we read them: how many of their pods have to start together. Read for
queued pods that name one.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from allocator.queueing.gang import GangPart, GangSource

# Newest first: v1beta1 is served from 1.37 and v1alpha2 by 1.36, behind feature gate and runtime configuration.
PATHS: Mapping[GangSource, Sequence[str]] = {
    GangSource.POD_GROUP: ("/apis/scheduling.k8s.io/v1beta1", "/apis/scheduling.k8s.io/v1alpha2"),
    GangSource.COSCHEDULING: ("/apis/scheduling.x-k8s.io/v1alpha1",),
    GangSource.POD_GANG: ("/apis/scheduler.grove.io/v1alpha1",),
}
PLURALS: Mapping[GangSource, str] = {
    GangSource.POD_GROUP: "podgroups",
    GangSource.COSCHEDULING: "podgroups",
    GangSource.POD_GANG: "podgangs",
}
MAX_PARTS = 256  # of a PodGang that are read


class _Gang(msgspec.Struct, frozen=True, rename="camel"):
    min_count: int = 1


class _Policy(msgspec.Struct, frozen=True, rename="camel"):
    gang: _Gang | None = None
    basic: Any = None


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    min_member: int = 1  # scheduling.x-k8s.io
    scheduling_policy: _Policy = _Policy()  # scheduling.k8s.io


class PodGroup(msgspec.Struct, frozen=True):
    """A PodGroup of either API group, in part."""

    spec: _Spec = _Spec()

    @property
    def size(self) -> int:
        """How many pods have to start together; 1 where it asks for no gang."""
        gang = self.spec.scheduling_policy.gang
        return max(1, gang.min_count if gang is not None else self.spec.min_member)

    @property
    def parts(self) -> Sequence[GangPart]:
        """The same as a gang of one part."""
        return (GangPart("", self.size),)


class _Reference(msgspec.Struct, frozen=True):
    name: str = ""


class _Part(msgspec.Struct, frozen=True, rename="camel"):
    name: str = ""
    pod_references: tuple[_Reference, ...] | None = None
    min_replicas: int = 1


class _Parts(msgspec.Struct, frozen=True):
    podgroups: tuple[_Part, ...] | None = None


class PodGang(msgspec.Struct, frozen=True):
    """A PodGang of Grove's scheduler API, in part."""

    spec: _Parts = _Parts()

    @property
    def parts(self) -> Sequence[GangPart]:
        """Its groups of pods, each of one PodClique, with the names of their pods as far as these are made."""
        groups = (self.spec.podgroups or ())[:MAX_PARTS]
        return tuple(
            GangPart(group.name, max(0, group.min_replicas), tuple(pod.name for pod in group.pod_references or ()))
            for group in groups
        )


def type_of(source: GangSource) -> type[PodGroup] | type[PodGang]:
    """What the object of a source is read as."""
    return PodGang if source is GangSource.POD_GANG else PodGroup
