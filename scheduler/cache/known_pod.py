"""KnownPod: what the cache keeps of a pod that asks for slices, bounded, whatever its author wrote."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypedDict

from allocator import errors
from allocator.eligibility.constraints import PodConstraints
from allocator.eligibility.placed_pods import PlacedPod
from allocator.request import Request
from kubeclient.objects import Pod
from scheduler.cache import eviction_facts, placed_pod, pod_constraints, pods, scheduling_facts
from scheduler.cache.eviction_facts import EvictionFacts
from scheduler.cache.pod_labels import NONE, PodLabels
from scheduler.cache.scheduling_facts import SchedulingFacts
from scheduler.cache.watched_pod import WatchedPod

MAX_PROBLEM = 1_000  # characters


@dataclass(frozen=True, slots=True)
class KnownPod:
    """A MIG pod of the cluster that is not over. `request` is None, and `problem` says why, where it cannot be read.

    `service` is what owns it; see `pods.service_of`. `labels` are None where they are not known; see `pods.labels_of`.
    `not_adopted` says why the placement that it was bound with could not be taken over when it was last seen.
    `constraints` say on which nodes it may run; None until the watch has shown it. `note` says what of its
    annotations is not understood. `placed_as` is what other pods have to know of it; None of one that
    has a node, and until the watch has shown it.
    `movable` and `stays` are what its annotation says, `not_before` until when it is to be left alone; whether it may
    be moved is the answer of `movability`.
    """

    uid: str
    namespace: str
    name: str
    node: str
    priority: int
    movable: bool
    request: Request | None
    problem: str = ""
    service: str = ""
    labels: PodLabels | None = NONE
    eviction: EvictionFacts = eviction_facts.NOTHING
    scheduling: SchedulingFacts = scheduling_facts.NOTHING
    constraints: PodConstraints | None = None
    placed_as: PlacedPod | None = None
    not_adopted: str = ""
    note: str = ""
    stays: bool = False
    not_before: datetime | None = None

    @property
    def gated(self) -> bool:
        """Whether scheduling gates hold it back."""
        return self.scheduling.gate_count > 0

    @property
    def terminating(self) -> bool:
        """Whether it has been deleted and is not gone yet."""
        return self.scheduling.terminating


def placed_as(pod: Pod) -> PlacedPod | None:
    """What other pods have to know of a pod that has no node; None as well before the watch has shown it, since a call
    brings neither its ports nor its rules about others.
    """
    return placed_pod.of(pod) if isinstance(pod, WatchedPod) and not pod.spec.node_name else None


def read(pod: Pod) -> KnownPod:
    """What the cache keeps of a pod."""
    meta = pod.metadata
    request, problem = None, ""
    try:
        request = pods.request_of(pod)
    except errors.RequestError as error:
        problem = str(error)[:MAX_PROBLEM]
    return KnownPod(
        uid=meta.uid,
        namespace=meta.namespace,
        name=meta.name,
        node=pod.spec.node_name,
        priority=pod.spec.priority or 0,
        request=request,
        problem=problem,
        service=pods.service_of(pod),
        labels=pods.labels_of(pod),
        eviction=eviction_facts.of(pod),
        scheduling=scheduling_facts.of(pod),
        constraints=pod_constraints.of(pod),
        placed_as=placed_as(pod),
        note=pods.slices_wish(pod).problem,
        **marks_of(pod),
    )


def as_it_is_now(known: KnownPod, pod: Pod) -> KnownPod:
    """What is known of a pod, with what may have changed since it was first read."""
    wish = pods.slices_wish(pod)
    return replace(
        known,
        node=pod.spec.node_name,
        request=known.request and pods.wished(known.request, wish),
        note=wish.problem,
        service=pods.service_of(pod),
        labels=pods.labels_of(pod),
        eviction=eviction_facts.of(pod),
        scheduling=scheduling_facts.of(pod),
        constraints=pod_constraints.of(pod),
        placed_as=placed_as(pod),
        **marks_of(pod),
    )


class MoveMarks(TypedDict):
    """What a pod's annotations say of moving it; see KnownPod."""

    movable: bool
    stays: bool
    not_before: datetime | None


def marks_of(pod: Pod) -> MoveMarks:
    """What they say now: they may change."""
    return MoveMarks(movable=pods.is_movable(pod), stays=pods.stays(pod), not_before=pods.not_before(pod))
