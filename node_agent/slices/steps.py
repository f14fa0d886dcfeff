"""Steps: from what was observed and what is wanted to ordered steps. Pure; called by reconciler and allocation.

First the journal is brought in line with the GPU (an intent whose outcome is now seen, a slice that vanished), then
room is made and slices are cut, wants in the order given: the first has it. Idle slices are destroyed only where
their room is wanted, or if they are ill. What is not ours is never touched, and neither is a GPU that cannot be read. A
GPU that is ill as a whole gets no new slices.
"""

import enum
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from allocator.mig.geometry import Geometry
from allocator.mig.profile import GpuPlacement, Placement
from node_agent.gpu.device import GpuInstance
from node_agent.slices import observed, states
from node_agent.slices.observation import Observation
from node_agent.slices.observed import ObservedGpu
from node_agent.slices.states import Record, RecordState, SliceEvent


class Action(enum.Enum):
    """What a step does."""

    NOTE = "note"  # only the journal: `event` happened meanwhile
    UNDO = "undo"  # destroy what is left of a cut that was not finished
    DESTROY = "destroy"
    CREATE = "create"
    RESTORE = "restore"  # cut again what a container has


@dataclass(frozen=True, slots=True)
class Step:
    """One step at a place; `instance` is what was seen there."""

    action: Action
    place: GpuPlacement
    event: SliceEvent | None = None
    instance: GpuInstance | None = None


@dataclass(frozen=True, slots=True)
class Want:
    """A slice that should exist, for the pod `pod_uid`. With `cut` false its room is only kept free of others."""

    place: GpuPlacement
    cut: bool = True
    pod_uid: str = ""


@dataclass(frozen=True, slots=True)
class Blocked:
    """Why a want cannot be had: in words, and the places of ours that are in its way."""

    place: GpuPlacement
    why: str
    blockers: tuple[GpuPlacement, ...] = ()
    pod_uid: str = ""


@dataclass(frozen=True, slots=True)
class Steps:
    """Steps in order, and the wants that had to be left out."""

    steps: tuple[Step, ...]
    blocked: tuple[Blocked, ...]


def plan(observation: Observation, wants: Iterable[Want], gpus: Iterable[str]) -> Steps:
    """The steps on these GPUs towards the wants there. What could not be destroyed lately is left as it is."""
    steps: list[Step] = []
    blocked: list[Blocked] = []
    wants_by_gpu: dict[str, list[Want]] = {}
    for want in wants:
        wants_by_gpu.setdefault(want.place.gpu, []).append(want)
    for uuid in sorted(gpus):
        wanted = wants_by_gpu.get(uuid, [])
        gpu = observation.view.gpus.get(uuid)
        if gpu is None or not gpu.readable:
            why = (gpu.why_not() if gpu else None) or f"there is no GPU {uuid} on this node"
            blocked += [Blocked(want.place, why, pod_uid=want.pod_uid) for want in wanted if want.cut]
            continue
        closed = observation.closed(uuid)
        places = (GpuPlacement(uuid, instance.placement) for instance in gpu.instances)
        condemned = {place.placement for place in places if closed is None and observation.condemned(place)}
        planned = _GpuPlan(gpu, observation.stuck, closed.message if closed else "", condemned)
        planned.reconcile(observation.records_by_gpu.get(uuid, []))
        planned.satisfy(wanted)
        steps += planned.steps
        blocked += planned.blocked
    return Steps(tuple(steps), tuple(blocked))


@dataclass
class _GpuPlan:
    """The plan for one GPU. `kept` stays whatever comes; `idle` may go. `closed` says why it gets nothing new, and
    `condemned` are where ill slices lie.
    """

    gpu: ObservedGpu
    stuck: Collection[GpuPlacement]
    closed: str = ""
    condemned: Collection[Placement] = ()
    steps: list[Step] = field(default_factory=list)
    blocked: list[Blocked] = field(default_factory=list)
    kept: dict[Placement, str] = field(default_factory=dict)
    idle: dict[Placement, GpuInstance] = field(default_factory=dict)

    def reconcile(self, ours: Sequence[Record]) -> None:
        """Bring what is remembered in line with what is on the GPU."""
        known = {r.place.placement for r in ours if self._is_ours(r)}
        for instance in self.gpu.instances:
            if instance.placement not in known:
                self.kept[instance.placement] = "a slice that migsched did not make"
        for record in ours:
            if record.state not in states.HELD:
                self._reconcile_free(record)
        held = [r for r in ours if r.state in states.HELD]
        for record in held:
            if self._is_ours(record):
                self._reconcile_present(record)
        for record in held:
            if not self._is_ours(record):
                self._restore(record)

    def _is_ours(self, record: Record) -> bool:
        """Whether the instance at a record's place is the recorded one, or the outcome of its unfinished cut."""
        instance = self.gpu.by_placement.get(record.place.placement)
        if record.state in (RecordState.CUTTING, RecordState.RESTORING):
            return instance is not None
        return observed.is_it(record, instance)

    def _reconcile_free(self, record: Record) -> None:
        place, instance = record.place, self.gpu.by_placement.get(record.place.placement)
        ours = self._is_ours(record)
        if instance is None or not ours:
            self._note(place, SliceEvent.FAILED if record.state is RecordState.CUTTING else SliceEvent.GONE)
        elif record.state is RecordState.CUTTING and instance.whole:
            self._note(place, SliceEvent.MADE, instance)
            self._keep_idle(place, instance)
        elif place in self.stuck:
            self.kept[place.placement] = "a slice that could not be destroyed"
        elif record.state is RecordState.CUTTING:
            self.steps.append(Step(Action.UNDO, place, instance=instance))
        elif record.state is RecordState.DESTROYING or not instance.whole:
            self.steps.append(Step(Action.DESTROY, place, instance=instance))
        else:
            self._keep_idle(place, instance)

    def _keep_idle(self, place: GpuPlacement, instance: GpuInstance) -> None:
        """Keep a free slice warm; an ill one is destroyed."""
        if place.placement not in self.condemned:
            self.idle[place.placement] = instance
        elif place in self.stuck:
            self.kept[place.placement] = "a slice that could not be destroyed"
        else:
            self.steps.append(Step(Action.DESTROY, place, instance=instance))

    def _reconcile_present(self, record: Record) -> None:
        place, instance = record.place, self.gpu.by_placement[record.place.placement]
        self.kept[place.placement] = "a container's slice"  # whose is none of the business of those who are told
        if record.state is RecordState.RESTORING and instance.whole:
            self._note(place, SliceEvent.MADE, instance)
        elif not instance.whole and self.gpu.cuttable and place not in self.stuck:
            self.steps += [Step(Action.UNDO, place, instance=instance), Step(Action.RESTORE, place)]

    def _restore(self, record: Record) -> None:
        if record.state is RecordState.RESTORING:
            self._note(record.place, SliceEvent.FAILED)
        self._make(Want(record.place), Action.RESTORE)

    def satisfy(self, wants: Sequence[Want]) -> None:
        """Make room for what is wanted, and cut it."""
        wanted = {w.place.placement for w in wants}
        for want in wants:
            placement = want.place.placement
            if placement in self.idle and not self.closed:
                self.kept[placement] = "a slice promised to another pod"
                del self.idle[placement]
            else:
                self._make(want, Action.CREATE, wanted)

    def _make(self, want: Want, action: Action, wanted: Collection[Placement] = ()) -> None:
        geometry = observed.compiled(self.gpu)
        placement = want.place.placement
        if not self.gpu.cuttable or geometry is None:
            self._block(want, self.gpu.why_not() or "its catalogue cannot be used")
        elif self.closed and action is Action.CREATE:
            self._block(want, self.closed)
        elif placement not in geometry.placement_index:
            self._block(want, f"{placement} is not a placement of {geometry.catalogue.model}")
        elif not observed.legal(geometry, self.kept, placement):
            self._block(want, self._in_the_way(placement), self._blockers(placement))
        else:
            if want.cut:
                self._evict(geometry, placement, wanted)
                self.steps.append(Step(action, want.place))
            self.kept[placement] = "a slice promised to another pod"

    def _evict(self, geometry: Geometry, placement: Placement, wanted: Collection[Placement]) -> None:
        """Destroy idle slices until the new one fits: those that overlap it, then, unwanted first, any other."""
        order = sorted(self.idle, key=lambda idle: (not idle.overlaps(placement), idle in wanted, idle))
        for idle in order:
            if not idle.overlaps(placement) and observed.legal(geometry, [*self.kept, *self.idle], placement):
                return
            instance = self.idle.pop(idle)
            self.steps.append(Step(Action.DESTROY, GpuPlacement(self.gpu.uuid, idle), instance=instance))

    def _in_the_way(self, placement: Placement) -> str:
        for kept, what in self.kept.items():
            if kept.overlaps(placement):
                return f"{what} is in the way at {kept}"
        return "what is on the GPU leaves no room for it"

    def _blockers(self, placement: Placement) -> tuple[GpuPlacement, ...]:
        blockers = [kept for kept in self.kept if kept.overlaps(placement)] or list(self.kept)
        return tuple(GpuPlacement(self.gpu.uuid, blocker) for blocker in blockers)

    def _block(self, want: Want, why: str, blockers: tuple[GpuPlacement, ...] = ()) -> None:
        if want.cut:
            self.blocked.append(Blocked(want.place, f"{want.place}: {why}", blockers, want.pod_uid))

    def _note(self, place: GpuPlacement, event: SliceEvent, instance: GpuInstance | None = None) -> None:
        self.steps.append(Step(Action.NOTE, place, event, instance))
