"""Marks: which GPUs and GPU instances are ill, since when and why, and the events by which each mark ends. Pure.

State changes them with what the driver reports and with each reading of a GPU; the journal keeps them, because the
driver reports a fault once. Each rule by which a mark ends is in `ENDS`; docs/health.md has the same table.

A reset is not believed for instances having gone: anybody may destroy instances. It is believed if the GPU's count
of the energy it has used went back, which it does when the driver begins anew to drive the GPU, and no instance that
stood before is left, which none survives (MIG User Guide). A GPU that was lost and answers again was reset, too.
"""

import enum
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from node_agent.health.faults import GpuFault
from node_agent.health.policy import Effect, HealthPolicy
from node_agent.health.xids import FaultClass

MAX_CAUSES = 4  # of one mark; a broken application may provoke many
Key = tuple[str, int | None]  # GPU by UUID, GPU instance id or None for the whole GPU


class Subject(enum.Enum):
    """What is ill."""

    SLICE = "slice"
    WHOLE_GPU = "GPU given whole"  # out of MIG mode: an application had it all
    GPU = "GPU"


class End(enum.Enum):
    """What ends a mark."""

    REBOOT = "the node rebooted"
    DESTROYED = "the slice is gone from the GPU"
    UNUSED = "no container has it; of a slice, no process is left on it either"
    COUNTER_BACK = "the energy counter went back and no slice of before is left"
    LOST_AND_BACK = "the GPU or its driver was away and answers again"
    SETTING = "the settings say that its causes are ignored"


ENDS: Mapping[tuple[Subject, Effect], tuple[End, ...]] = {
    (Subject.SLICE, Effect.DESTROY_SLICE): (End.REBOOT, End.DESTROYED, End.SETTING),
    (Subject.SLICE, Effect.MARK): (End.REBOOT, End.DESTROYED, End.UNUSED, End.SETTING),
    (Subject.WHOLE_GPU, Effect.DESTROY_SLICE): (
        End.REBOOT,
        End.UNUSED,
        End.COUNTER_BACK,
        End.LOST_AND_BACK,
        End.SETTING,
    ),
    (Subject.WHOLE_GPU, Effect.MARK): (
        End.REBOOT,
        End.UNUSED,
        End.COUNTER_BACK,
        End.LOST_AND_BACK,
        End.SETTING,
    ),
    (Subject.GPU, Effect.CLOSE_GPU): (End.REBOOT, End.COUNTER_BACK, End.LOST_AND_BACK, End.SETTING),
    (Subject.GPU, Effect.MARK): (End.REBOOT, End.COUNTER_BACK, End.LOST_AND_BACK, End.SETTING),
}


@dataclass(frozen=True, slots=True)
class Mark:
    """One ill GPU or instance. `since` is RFC 3339, of the first fault.

    Of a whole GPU: `energy_mj` is its counter as last noted, None before it was read; `standing` are the instances
    that stood when it fell ill and still do; `lost` says that it was away since.
    """

    gpu: str
    gi_id: int | None
    fault_class: FaultClass
    effect: Effect
    since: str
    causes: tuple[GpuFault, ...]
    energy_mj: int | None = None
    standing: frozenset[int] = frozenset()
    lost: bool = False

    @property
    def key(self) -> Key:
        """What it is kept under."""
        return self.gpu, self.gi_id

    @property
    def subject(self) -> Subject:
        """What is ill."""
        if self.gi_id is not None:
            return Subject.SLICE
        return Subject.GPU if self.fault_class is FaultClass.GPU_RESET else Subject.WHOLE_GPU

    @property
    def closes(self) -> bool:
        """The GPU gets no new work."""
        return self.gi_id is None and self.effect is not Effect.MARK

    @property
    def condemns(self) -> bool:
        """The slice is destroyed as soon as no container has it, and handed to none."""
        return self.gi_id is not None and self.effect is not Effect.MARK

    @property
    def message(self) -> str:
        """Why, since when, and how it ends."""
        why = ", ".join(fault.cause for fault in self.causes)
        return f"{why}, since {self.since}; {_REMEDIES[self.subject, self.effect]}"


_REMEDIES: Mapping[tuple[Subject, Effect], str] = {
    (Subject.SLICE, Effect.DESTROY_SLICE): "restart the application: the slice is destroyed once its pod is over",
    (Subject.SLICE, Effect.MARK): "restart the application: well again once its pod is over",
    (Subject.WHOLE_GPU, Effect.DESTROY_SLICE): "restart the application: well again once no container has it",
    (Subject.WHOLE_GPU, Effect.MARK): "restart the application: well again once no container has it",
    (Subject.GPU, Effect.CLOSE_GPU): "no new work until the GPU was reset: drain the node, then reset or reboot",
    (Subject.GPU, Effect.MARK): "shown until the GPU was reset: drain the node, then reset or reboot",
}

Marks = Mapping[Key, Mark]


def with_fault(
    marks: Marks, fault: GpuFault, policy: HealthPolicy, standing: Iterable[int], *, whole: bool, now: str
) -> Marks:
    """The marks after a fault. `standing` are the ids of the GPU's instances; `whole`: it is out of MIG mode.

    A fault of an application that is not attributed concerns every instance, as NVML has it.
    """
    fault_class = policy.class_of(fault)
    effect = policy.effect(fault_class)
    if effect is Effect.IGNORE:
        return marks
    instances = frozenset(standing)
    if fault_class is FaultClass.GPU_RESET or whole:
        new = Mark(fault.gpu, None, fault_class, effect, now, (fault,), standing=instances)
        return {**marks, new.key: _together(marks.get(new.key), new)}
    ill = instances if fault.gi_id is None else (fault.gi_id,)
    added = (Mark(fault.gpu, gi_id, fault_class, effect, now, (fault,)) for gi_id in ill)
    return {**marks, **{new.key: _together(marks.get(new.key), new) for new in added}}


def _together(old: Mark | None, new: Mark) -> Mark:
    """One mark for what was ill already; the class that asks for more counts."""
    if old is None:
        return new
    known = {fault.cause for fault in old.causes}
    causes = (*old.causes, *(fault for fault in new.causes if fault.cause not in known))[-MAX_CAUSES:]
    if old.fault_class is not new.fault_class and new.fault_class is FaultClass.GPU_RESET:
        return replace(new, since=old.since, causes=causes)
    return replace(old, causes=causes)


def after_reading(marks: Marks, gpu: str, present: Iterable[int], energy_mj: int | None) -> Marks:
    """The marks after a GPU was read: the ids of its instances, and its energy counter if that could be read."""
    instances = frozenset(present)
    seen = {key: _seen(mark, instances, energy_mj) for key, mark in marks.items() if key[0] == gpu}
    if not seen or all(mark is marks[key] for key, mark in seen.items()):
        return marks
    kept = {key: seen.get(key, mark) for key, mark in marks.items()}
    return {key: mark for key, mark in kept.items() if mark is not None}


def _seen(mark: Mark, instances: frozenset[int], energy_mj: int | None) -> Mark | None:
    if mark.gi_id is not None:
        return mark if mark.gi_id in instances else None
    if mark.lost:
        return None
    standing = mark.standing & instances
    went_back = energy_mj is not None and mark.energy_mj is not None and energy_mj < mark.energy_mj
    if went_back and not standing:
        return None
    changed = mark
    if standing != mark.standing:
        changed = replace(changed, standing=standing)
    if energy_mj is not None and (mark.energy_mj is None or went_back or energy_mj >= 2 * mark.energy_mj):
        changed = replace(changed, energy_mj=energy_mj)  # seldom, for each is a write of the journal
    return changed


def with_counter(marks: Marks, gpu: str, energy_mj: int | None) -> Marks:
    """The marks with a counter that was read before the GPU fell ill, where none could be read since."""
    mark = marks.get((gpu, None))
    if energy_mj is None or mark is None or mark.energy_mj is not None:
        return marks
    return {**marks, mark.key: replace(mark, energy_mj=energy_mj)}


def after_loss(marks: Marks, gpus: Iterable[str] | None = None) -> Marks:
    """The marks after these GPUs, or all, were seen to be away: lost, or without a driver."""
    away = None if gpus is None else frozenset(gpus)
    lost = {
        key: replace(mark, lost=True)
        for key, mark in marks.items()
        if mark.gi_id is None and not mark.lost and (away is None or mark.gpu in away)
    }
    return {**marks, **lost} if lost else marks


def without_instance(marks: Marks, gpu: str, gi_id: int) -> Marks:
    """The marks after an instance was destroyed: what has its id from now on is another one."""
    mark = marks.get((gpu, None))
    if (gpu, gi_id) not in marks and (mark is None or gi_id not in mark.standing):
        return marks
    kept = {key: other for key, other in marks.items() if key != (gpu, gi_id)}
    if mark is not None:
        kept[gpu, None] = replace(mark, standing=mark.standing - {gi_id})
    return kept


def after_use(marks: Marks, key: Key) -> Marks:
    """The marks after no container has what is ill, and no process is left on it."""
    mark = marks.get(key)
    if mark is None or End.UNUSED not in ENDS[mark.subject, mark.effect]:
        return marks
    return {other: kept for other, kept in marks.items() if other != key}


def under(marks: Iterable[Mark], policy: HealthPolicy) -> Marks:
    """Marks as they are under other settings: without those whose causes are all ignored now."""
    kept: dict[Key, Mark] = {}
    for mark in marks:
        classes = {policy.class_of(fault) for fault in mark.causes}
        effect = policy.effect(mark.fault_class)
        if mark.fault_class in classes and effect is not Effect.IGNORE:
            kept[mark.key] = mark if mark.effect is effect else replace(mark, effect=effect)
    return kept


def table() -> str:
    """How each mark ends, in Markdown: two tables."""
    lines = ["| what is ill | effect | ended by |", "|---|---|---|"]
    for (subject, effect), ends in ENDS.items():
        names = ", ".join(end.name.lower() for end in ends)
        lines.append(f"| {subject.value} | {effect.value} | {names} |")
    lines += ["", "| end | what is seen |", "|---|---|"]
    lines += [f"| {end.name.lower()} | {end.value} |" for end in End]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(table() + "\n")
