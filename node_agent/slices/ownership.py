"""Ownership: which container has a slice, and when it may be taken back. Pure; called by reconciler and allocation.

The kubelet never says that devices are given back. A slice is free only when its pod is over, AND PodResources no
longer lists its id, AND no process uses it. Who it belongs to PodResources says by name, and the node's pods by UID.
It never lists ordinary init containers; them the kubelet's checkpoint names. Where neither names a container, a slice
stays with the pods that may be meant, for as long as they live.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from allocator.claims.report import Owner
from allocator.mig.profile import GpuPlacement
from node_agent.cluster.pods import PodView
from node_agent.slices import device_ids
from node_agent.slices.states import Record

NAMED_S = 2.0  # after Allocate: the kubelet stores who got a device before it goes on


@dataclass(frozen=True, slots=True)
class Holder:
    """The container that PodResources lists with a device."""

    namespace: str
    pod: str
    container: str


@dataclass(frozen=True, slots=True)
class Assignment:
    """The container that the kubelet's checkpoint names with a device; its pod may be over."""

    uid: str
    container: str


Assigned = Mapping[tuple[str, str], tuple[Assignment, ...]]  # by resource and device id


@dataclass(frozen=True)
class PodResourcesView:
    """One answer of PodResources: holders by resource and device id; `asked_at` is when it was asked, in seconds.

    `assigned` is what the kubelet's checkpoint said after that; None where it could not be read.
    """

    asked_at: float
    holders: Mapping[tuple[str, str], Holder] = field(default_factory=dict)
    assigned: Assigned | None = None

    def holder(self, place: GpuPlacement) -> Holder | None:
        """Who holds a placement."""
        return self.holders.get((device_ids.resource(place), device_ids.device_id(place)))

    def together(self, resource: str, holder: Holder) -> tuple[str, ...]:
        """The ids of a resource that a container holds, in order: what it was given in one go."""
        return tuple(sorted(id_ for (name, id_), who in self.holders.items() if name == resource and who == holder))

    def held_by(self, resource: str, owner: Owner) -> tuple[str, ...]:
        """The ids of a resource that an owner's container holds, in order: by the checkpoint where it could be read,
        since a pod of the same name may have come.
        """
        if self.assigned is not None:
            named = Assignment(owner.uid, owner.container)
            return tuple(sorted(id_ for (name, id_), who in self.assigned.items() if name == resource and named in who))
        return self.together(resource, Holder(owner.namespace, owner.pod, owner.container))

    def ids(self, resource: str) -> frozenset[str]:
        """The ids of a resource that a container holds."""
        return frozenset(id_ for name, id_ in self.holders if name == resource)


@dataclass(frozen=True)
class PodIndex:
    """The node's pods that ask for slices or whole GPUs, and what the kubelet says of them."""

    pods: Mapping[str, PodView]
    holders: Mapping[tuple[str, str], Holder]
    assigned: Assigned | None = None

    def owner(self, record: Record, holder: Holder) -> Owner | None:
        """Which pod the listed holder is; None while the node's pods do not show it.

        A pod of the same name may have come since: the kubelet knows only names. Who had the slice keeps it until
        it is handed out again.
        """
        had = record.owner
        if had is not None and (had.namespace, had.pod, had.container) == (
            holder.namespace,
            holder.pod,
            holder.container,
        ):
            return had
        named = self._named(holder)
        if not named:
            return None
        uid = had.uid if had is not None and any(p.uid == had.uid for p in named) else _newest_living(named).uid
        return Owner(holder.namespace, holder.pod, uid, holder.container)

    def living(self, holder: Holder) -> PodView | None:
        """The newest pod of the listed holder's name; None where none is known that has not ended."""
        named = [pod for pod in self._named(holder) if not pod.over]
        return _newest_living(named) if named else None

    def _named(self, holder: Holder) -> list[PodView]:
        return [pod for pod in self.pods.values() if (pod.namespace, pod.name) == (holder.namespace, holder.pod)]

    def assignee(self, place: GpuPlacement) -> Owner | None:
        """The living pod that the checkpoint names with a placement; None where it names none that is known."""
        for assignment in reversed(self._assignments(place) or ()):
            pod = self.pods.get(assignment.uid)
            if pod is not None and not pod.over:
                return Owner(pod.namespace, pod.name, pod.uid, assignment.container)
        return None

    def keeper(self, record: Record, assigned: Iterable[Assignment]) -> PodView | None:
        """The living pod that has a slice and will not ask for it again; None where none is known.

        `assigned` are the containers that the kubelet's checkpoint names with the slice now. A kubelet asks again only
        for what an ordinary init container had, and not once the pod has started.
        """
        uids = [] if record.owner is None else [record.owner.uid]
        for uid in (*uids, *(assignment.uid for assignment in assigned)):
            pod = self.pods.get(uid)
            if pod is not None and not pod.over and (pod.started or not pod.init):
                return pod
        return None

    def has_unknown(self, record: Record, assigned: Iterable[Assignment], *, listed: bool) -> bool:
        """Whether journal or checkpoint name a pod with a slice that is not known: not yet, or not any more.

        `listed`: this agent has listed the pods. Then an owner that is not known any more is one that is gone.
        """
        named = {assignment.uid for assignment in assigned}
        if record.owner is not None:
            named = named - {record.owner.uid} if listed else named | {record.owner.uid}
        return not named <= self.pods.keys()

    def may_reclaim(self, record: Record, unknown_are_gone: bool = False) -> bool:
        """Whether an unlisted slice may be taken back: no pod that has it, or may have it, still lives.

        `unknown_are_gone`: pods were listed since it was handed out, so one that is not known is no more.
        """
        if record.owner is not None:
            pod = self.pods.get(record.owner.uid)
            return pod is None or pod.over
        assignments = self._assignments(record.place)
        if assignments is None:
            return not self._may_be_of_a_living_pod(record.place)
        return all(self._is_gone(assignment.uid, unknown_are_gone) for assignment in assignments)

    def _assignments(self, place: GpuPlacement) -> tuple[Assignment, ...] | None:
        """The containers that the checkpoint names with a placement; None where there is no checkpoint."""
        if self.assigned is None:
            return None
        return self.assigned.get((device_ids.resource(place), device_ids.device_id(place)), ())

    def _is_gone(self, uid: str, unknown_are_gone: bool) -> bool:
        pod = self.pods.get(uid)
        return unknown_are_gone if pod is None else pod.over

    def _may_be_of_a_living_pod(self, place: GpuPlacement) -> bool:
        profile = place.placement.profile
        for pod in self.pods.values():
            if pod.over or not pod.wanted.get(profile):
                continue
            if any((p.gpu, p.profile, p.start) == (place.gpu, profile, place.placement.start) for p in pod.promises):
                return True
            if self._listed[pod.namespace, pod.name, device_ids.resource(place)] < pod.wanted[profile]:
                return True
        return False

    @cached_property
    def _listed(self) -> Counter[tuple[str, str, str]]:
        return Counter((h.namespace, h.pod, resource) for (resource, _), h in self.holders.items())


def named(holder: Holder, pods: Mapping[str, PodView]) -> Owner | None:
    """The listed holder with its pod's UID; None while the node's pods do not show it."""
    candidates = [p for p in pods.values() if (p.namespace, p.name) == (holder.namespace, holder.pod)]
    if not candidates:
        return None
    return Owner(holder.namespace, holder.pod, _newest_living(candidates).uid, holder.container)


def _newest_living(named: Iterable[PodView]) -> PodView:
    """Of pods with one name: one that is not over, the youngest."""
    return max(named, key=lambda p: (not p.over, p.created))


def unlisted(record: Record, listing: PodResourcesView, taken_at: float, grace_s: float) -> bool:
    """Whether PodResources, asked late enough after the slice was handed out, does not list it.

    Late enough is `grace_s`, and less once it has an owner: then the kubelet has written down who got it.
    """
    sure_s = grace_s if record.owner is None else min(grace_s, NAMED_S)
    return listing.holder(record.place) is None and listing.asked_at > taken_at + sure_s
