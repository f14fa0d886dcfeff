"""Progress: what becomes of a plan's steps as the cluster shows them, and what may be done next.

Pure: the edge says what it sees of each step (`StepFacts`), gets the steps after it, and asks whom to hold for and whom
to evict. Nothing here remembers anything.
"""

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from allocator.moves import budgets as budgets_of
from allocator.moves.document import RepackSpec
from allocator.moves.life import AWAY, FINAL, UNTOUCHED, MoveEvent, MoveState
from allocator.moves.step import MoveStep


class SourceState(enum.Enum):
    """Where the pod is that a step moves."""

    THERE = "there"  # on its node, with the slices that the plan knows
    ELSEWHERE = "elsewhere"  # it has other slices than the plan knows
    LEAVING = "leaving"  # being deleted
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class StepFacts:
    """What the cluster shows of a step.

    `unmovable` says why its pod may not be moved, empty if it may. `is_held` is whether its place is claimed for it,
    `is_leaving` whether nothing is in the way of that but slices of pods that are over.
    `replacement` is the pod (UID) that has the place; `is_ready` whether the agent reports its slices there and the
    moved pod is gone. `refusal` says why the replacement that came cannot have the place.
    """

    source: SourceState
    unmovable: str = ""
    is_held: bool = False
    is_leaving: bool = False
    replacement: str = ""
    is_ready: bool = False
    refusal: str = ""


FactsOf = Callable[[MoveStep], StepFacts]


def observed(step: MoveStep, facts: StepFacts, spec: RepackSpec, now: datetime) -> MoveStep:
    """A step after what the cluster shows of it; it may go through several states at once.

    Once a replacement has vanished its place has to be claimed again before the next look says whether it could be.
    """
    while True:
        after = _LOOKS[step.state](step, facts, spec, now) if step.state in _LOOKS else step
        has_vanished = step.state is MoveState.REPLACED and after.state is MoveState.GONE and not facts.replacement
        if after is step or step.state in UNTOUCHED or has_vanished:
            return after
        step = after


def _untouched(step: MoveStep, facts: StepFacts, spec: RepackSpec, now: datetime) -> MoveStep:
    del spec
    reason = _surprise(facts)
    if reason:
        return step.after(MoveEvent.ABANDON, now, reason)
    lost = step.state is MoveState.HELD and not facts.is_held
    return step.after(MoveEvent.LOSE, now, "its place is not held any more") if lost else step


def _evicting(step: MoveStep, facts: StepFacts, spec: RepackSpec, now: datetime) -> MoveStep:
    del spec
    if facts.source in (SourceState.LEAVING, SourceState.GONE):
        return step.after(MoveEvent.GO, now)
    reason = _surprise(facts)
    return step.after(MoveEvent.ABANDON, now, reason) if reason else step


def _gone(step: MoveStep, facts: StepFacts, spec: RepackSpec, now: datetime) -> MoveStep:
    if facts.replacement:
        return step.after(MoveEvent.REPLACE, now, replacement=facts.replacement)
    if facts.refusal:
        return step.after(MoveEvent.ABANDON, now, facts.refusal)
    if facts.source in (SourceState.THERE, SourceState.ELSEWHERE):
        return step.after(MoveEvent.ABANDON, now, "the pod is there after all")
    if facts.source is not SourceState.GONE:
        return step
    if not (facts.is_held or facts.is_leaving):
        return step.after(MoveEvent.ABANDON, now, "another has taken its place")
    if budgets_of.is_late(step, now, spec.patience_seconds):
        return step.after(MoveEvent.ABANDON, now, f"no replacement came within {spec.patience_seconds} s")
    return step


def _replaced(step: MoveStep, facts: StepFacts, spec: RepackSpec, now: datetime) -> MoveStep:
    if facts.replacement != step.replacement:
        return step.after(MoveEvent.VANISH, now, "its replacement is gone or has another place")
    if facts.is_ready:
        return step.after(MoveEvent.CONFIRM, now)
    if budgets_of.is_late(step, now, 2 * spec.patience_seconds):
        reason = f"its replacement has no slices after {2 * spec.patience_seconds} s"
        return step.after(MoveEvent.ABANDON, now, reason)
    return step


_LOOKS: Mapping[MoveState, Callable[[MoveStep, StepFacts, RepackSpec, datetime], MoveStep]] = {
    MoveState.PENDING: _untouched,
    MoveState.HELD: _untouched,
    MoveState.EVICTING: _evicting,
    MoveState.GONE: _gone,
    MoveState.REPLACED: _replaced,
}


def _surprise(facts: StepFacts) -> str:
    """Why a pod that nobody has disturbed cannot be moved as planned."""
    if facts.source in (SourceState.LEAVING, SourceState.GONE):
        return "the pod went by itself"
    if facts.source is SourceState.ELSEWHERE:
        return "the pod's slices are others than the plan knows"
    return facts.unmovable


def surprise(steps: Sequence[MoveStep]) -> str:
    """What has gone otherwise than planned; empty if nothing."""
    for step in steps:
        if step.state is MoveState.ABANDONED:
            return f"{step.pod}: {step.reason}"
    return ""


def to_hold(steps: Sequence[MoveStep]) -> MoveStep | None:
    """The step whose place is to be claimed next: the first that has none, so that each is legal in its turn."""
    step = next((step for step in steps if step.state is MoveState.PENDING), None)
    return None if step is None or step.number in second_moves(steps) else step


def second_moves(steps: Sequence[MoveStep]) -> frozenset[int]:
    """The steps (by number) of pods that an earlier step moves first: they are of whoever comes in their stead."""
    seen: set[str] = set()
    later: set[int] = set()
    for step in steps:
        if step.uid in seen and step.state is MoveState.PENDING:
            later.add(step.number)
        seen.add(step.uid)
    return frozenset(later)


def to_evict(
    steps: Sequence[MoveStep], spec: RepackSpec, earlier: Sequence[MoveStep], now: datetime
) -> MoveStep | None:
    """The step whose pod is to be evicted next; None while no more may be away, or budgets or times forbid it.

    `earlier` are the steps of plans before that count.
    """
    if not spec.may_move or not spec.may_disturb(now) or _away(steps) >= spec.budgets.parallel:
        return None
    for step in steps:
        if step.state is MoveState.PENDING:
            return None
        if step.state is MoveState.HELD:
            counted = [*earlier, *budgets_of.spent(steps), step]
            return None if budgets_of.broken(spec.budgets, counted) else step
    return None


def _away(steps: Sequence[MoveStep]) -> int:
    """How many pods are away, or about to be."""
    return sum(step.state in AWAY or step.state is MoveState.EVICTING for step in steps)


def is_over(steps: Sequence[MoveStep]) -> bool:
    """Whether nothing happens to any step any more."""
    return all(step.state in FINAL for step in steps)


def stopped(steps: Sequence[MoveStep], facts: FactsOf, now: datetime, reason: str) -> tuple[MoveStep, ...]:
    """The steps once no more are to begin: those under way go on, all others are abandoned.

    One whose eviction is asked for and was not done is abandoned too.
    """

    def is_untouched(step: MoveStep) -> bool:
        waits = step.state is MoveState.EVICTING and facts(step).source is SourceState.THERE
        return waits or step.state in UNTOUCHED

    return tuple(step.after(MoveEvent.ABANDON, now, reason) if is_untouched(step) else step for step in steps)


def renamed(steps: Sequence[MoveStep], pods: Mapping[str, str]) -> tuple[MoveStep, ...]:
    """Steps of pods that move twice, with the pod that has replaced the one in the plan. `pods` are names by UID."""
    came = {step.uid: step.replacement for step in steps if step.state is MoveState.CONFIRMED}
    return tuple(_renamed(step, came, pods) for step in steps)


def _renamed(step: MoveStep, came: Mapping[str, str], pods: Mapping[str, str]) -> MoveStep:
    uid = came.get(step.uid, "")
    if step.state is not MoveState.PENDING or not uid or uid not in pods:
        return step
    return msgspec.structs.replace(step, uid=uid, pod=pods[uid])
