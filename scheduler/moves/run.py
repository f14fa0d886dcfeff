"""RepackRun: one Repack whose plan is carried out: what is held for it, whom to evict next, who gets which place.

It works on the cache alone and writes nothing: `executor` writes the status, and then evicts. All that it knows beside
the status is in the ledger, so a process that comes after makes the same of the same status.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import msgspec

from allocator.moves import budgets as budgets_of
from allocator.moves import progress
from allocator.moves.document import RepackSpec, RepackStatus, WantedPlace
from allocator.moves.life import AWAY, MOVING, MoveEvent, MoveState, RepackPhase, phase_after
from allocator.moves.progress import StepFacts
from allocator.moves.step import MoveStep
from allocator.queueing.life import QueueState
from allocator.queueing.queued_pod import QueuedPod
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.moves import observer as observed_by
from scheduler.moves.holds import HeldPlace, HeldSlice, MoveHolds
from scheduler.moves.observer import MoveObserver, step_key
from scheduler.queueing.node_rules import ClusterNodeRules

MAX_PLANS = 10  # of one Repack: what goes wrong so often is for people
STUCK_S = 60.0  # that a place may stay taken which the plan says is free
_WITH_PLACE = frozenset({MoveState.HELD, MoveState.EVICTING})


class RepackRun:
    """The run of one Repack (UID and name) in phase Running or Stopping."""

    def __init__(
        self,
        state: ClusterCache,
        rules: ClusterNodeRules,
        uid: str,
        name: str,
        status: RepackStatus,
        wanted_uid: str = "",
    ) -> None:
        self._state = state
        self.uid = uid
        self.name = name
        self.status = status
        self.wanted_uid = wanted_uid  # of the pod that the room is for
        self._holds = MoveHolds(state, uid)
        self._observer = MoveObserver(state, rules, self._holds)
        self._refusals: dict[int, str] = {}  # why steps cannot go on, as evictions and replacements have shown

    # --- one look

    def look(self, spec: RepackSpec, now: datetime) -> None:
        """Bring steps, holds and phase in line with the cluster; `status` afterwards. Nothing once it has ended: that
        may still have to be written.
        """
        if self.status.phase not in MOVING:
            return
        steps = self._steps
        self._hold_again(steps)
        steps = self._observed(steps, spec, now)
        surprise = progress.surprise(steps)
        if self.status.phase is RepackPhase.RUNNING and not surprise:
            steps = self._begin_steps(steps, spec, now)
            surprise = progress.surprise(steps)
        if self.status.phase is RepackPhase.RUNNING and surprise:
            self._set_phase(RepackPhase.STOPPING, surprise, now)
        if self.status.phase is RepackPhase.STOPPING:
            steps = progress.stopped(steps, self.facts, now, "the plan was given up")
            self._keep_only(steps)
        self._put(steps, spec, now)
        if progress.is_over(steps):
            self._end(steps, spec, now)

    def facts(self, step: MoveStep) -> StepFacts:
        """What the cluster shows of a step, and what else is known of it."""
        return replace(self._observer.facts(step), refusal=self._refusals.get(step.number, ""))

    @property
    def purpose(self) -> str:
        """For whom pods are moved, for people."""
        rooms = sorted({place.request for place in self.status.places})
        whom = f"to make room for {', '.join(rooms[:3])}" if rooms else "to empty GPUs"
        return f"{whom} (Repack {self.name})"

    @property
    def to_evict(self) -> Sequence[MoveStep]:
        """The steps whose pods are to be evicted, now or again."""
        return [step for step in self._steps if step.state is MoveState.EVICTING]

    def refused(self, number: int, reason: str) -> None:
        """The API server does not evict a step's pod."""
        self._change(number, MoveEvent.ABANDON, reason)

    def waits_because(self, number: int, reason: str) -> None:
        """A step's eviction is not allowed now."""
        steps = tuple(s.noting(reason) if s.number == number and not s.is_final else s for s in self.status.steps)
        self.status = msgspec.structs.replace(self.status, steps=steps)

    def stop(self, reason: str, now: datetime) -> None:
        """No more moves begin."""
        if self.status.phase is RepackPhase.RUNNING:
            self._set_phase(RepackPhase.STOPPING, reason, now)

    def is_own(self, uid: str) -> bool:
        """Whether a claim (UID) is held for this Repack."""
        return uid.startswith(self._holds.uid(""))

    def free(self) -> None:
        """Hold nothing any more."""
        self._holds.free_all()

    # --- for the queue

    def waits(self, pod: QueuedPod) -> bool:
        """Whether a pod's place is that of one that is still leaving."""
        step = self._step_for(pod)
        if step is None or self._can_have(step):
            return False
        return self._state.inventory.ledger.get(step.uid) is not None or self._observer.is_leaving(step)

    def take(self, pod: QueuedPod) -> str:
        """Give a pod the place that is held for it: its node; empty if there is none."""
        step = self._step_for(pod)
        if step is not None:
            if not self._observer.takes(pod, step.node):
                self._refusals[step.number] = f"its replacement {pod.title} may not run on {step.node}"
                return ""
            place, what = observed_by.target(step), step_key(step)
            done = self._holds.hand_over(what, place, pod.uid, pod.namespace, pod.name, pod.request)
            return step.node if done else ""
        return self._take_room(pod)

    def _step_for(self, pod: QueuedPod) -> MoveStep | None:
        """The first step whose pod is on its way out and has no replacement yet, and that this pod may be."""
        known = self._state.pods.get(pod.uid)
        for step in self._steps if known is not None else ():
            if (
                step.state in AWAY
                and known is not None
                and step.uid != pod.uid
                and observed_by.is_of_owner(known, step)
                and observed_by.asks_the_same(pod.request, step)
                and not self._observer.facts(step).replacement
            ):
                return step
        return None

    def _can_have(self, step: MoveStep) -> bool:
        return self._holds.hold(step_key(step), observed_by.target(step))

    def _take_room(self, pod: QueuedPod) -> str:
        """Give the room that was made to the pod that it was made for, once all of it is free."""
        if self.status.phase is not RepackPhase.RUNNING or not self._is_wanted(pod.uid):
            return ""
        for what, place in self._rooms():
            if not self._observer.takes(pod, place.node):
                continue
            named = HeldPlace(place.node, _named(place.slices, pod))
            if self._holds.hand_over(what, named, pod.uid, pod.namespace, pod.name, pod.request):
                return place.node
        return ""

    # --- inside

    @property
    def _steps(self) -> tuple[MoveStep, ...]:
        """Those of the present plan."""
        return tuple(step for step in self.status.steps if step.plan == self.status.plans)

    @property
    def _earlier(self) -> tuple[MoveStep, ...]:
        return tuple(step for step in self.status.steps if step.plan != self.status.plans)

    def _is_wanted(self, uid: str) -> bool:
        return bool(self.wanted_uid) and uid == self.wanted_uid

    def _hold_again(self, steps: Sequence[MoveStep]) -> None:
        """Places that a step before its replacement holds: lost in a restart, or only now free."""
        runs = self.status.phase is RepackPhase.RUNNING
        for step in steps:
            is_due = step.state in AWAY or (runs and step.state in _WITH_PLACE)
            if is_due and not self._observer.facts(step).replacement:
                self._holds.hold(step_key(step), observed_by.target(step))

    def _observed(self, steps: Sequence[MoveStep], spec: RepackSpec, now: datetime) -> tuple[MoveStep, ...]:
        later = progress.second_moves(steps)
        seen = tuple(
            step if step.number in later else progress.observed(step, self.facts(step), spec, now) for step in steps
        )
        names = {pod.uid: f"{pod.namespace}/{pod.name}" for pod in map(self._state.pods.get, self._came(seen)) if pod}
        return progress.renamed(seen, names)

    def _came(self, steps: Sequence[MoveStep]) -> Sequence[str]:
        return [step.replacement for step in steps if step.replacement]

    def _begin_steps(self, steps: tuple[MoveStep, ...], spec: RepackSpec, now: datetime) -> tuple[MoveStep, ...]:
        """Hold places and begin moves, as many as may be under way."""
        while True:
            step = progress.to_hold(steps)
            after = self._held(step, steps, now) if step is not None else None
            if after is None or step is None:
                break
            steps = _with(steps, after)
            if after.is_final:
                return steps
        self._keep_windows(steps)
        while True:
            step = progress.to_evict(steps, spec, budgets_of.spent(self._earlier), now)
            if step is None:
                return steps
            steps = _with(steps, step.after(MoveEvent.EVICT, now))

    def _held(self, step: MoveStep, steps: tuple[MoveStep, ...], now: datetime) -> MoveStep | None:
        """A step after its place was tried; None if it is to be tried again."""
        place = observed_by.target(step)
        blocker = self._observer.blocker(step, steps)
        if blocker:
            return step.after(MoveEvent.ABANDON, now, f"{blocker} lies in its place")
        if self._observer.refuses(step):
            return step.after(MoveEvent.ABANDON, now, f"node {step.node} does not take it any more")
        if self._holds.hold(step_key(step), place) or observed_by.overlaps_itself(step):
            return step.after(MoveEvent.HOLD, now)
        last = max((other.since for other in steps), default=step.since)
        nobody_goes = all(other.is_final or other.state is MoveState.PENDING for other in steps)
        if nobody_goes and (now - last).total_seconds() > STUCK_S:
            return step.after(MoveEvent.ABANDON, now, "its place is not free")
        return None

    def _keep_windows(self, steps: Sequence[MoveStep]) -> None:
        """Hold what is free of the places that are needed later, and the room that is wanted."""
        windows = [observed_by.target(step) for step in steps if step.state is MoveState.PENDING]
        windows += [observed_by.target(step) for step in steps if not step.is_final and not self._is_whole(step)]
        for what, place in self._rooms():
            if any(step.state is MoveState.PENDING for step in steps) or not self._has_room(what, place):
                windows.append(place)
        self._holds.keep(windows)

    def _is_whole(self, step: MoveStep) -> bool:
        facts = self._observer.facts(step)
        return bool(facts.replacement) or self._holds.is_held(step_key(step), observed_by.target(step))

    def _has_room(self, what: str, place: HeldPlace) -> bool:
        wanted = self._state.inventory.ledger.get(self.wanted_uid) if self.wanted_uid else None
        return wanted is not None or self._holds.hold(what, place)

    def _rooms(self) -> Sequence[tuple[str, HeldPlace]]:
        """The room that is wanted, pod by pod."""
        of_request: dict[str, list[WantedPlace]] = {}
        for place in self.status.places:
            of_request.setdefault(place.request, []).append(place)
        return [
            (
                f"wanted/{number}",
                HeldPlace(places[0].node, tuple(HeldSlice(p.container, p.gpu, p.profile, p.start) for p in places)),
            )
            for number, places in enumerate(of_request.values())
        ]

    def _keep_only(self, steps: Sequence[MoveStep]) -> None:
        """Hold the places of those that are under way, and nothing else."""
        mine = {self._holds.uid(step_key(step)) for step in steps if step.state is MoveState.GONE}
        for claim in self._holds.claims():
            if claim.uid not in mine:
                self._state.refuse(claim.uid)

    def _end(self, steps: Sequence[MoveStep], spec: RepackSpec, now: datetime) -> None:
        if self.status.phase is RepackPhase.STOPPING:
            self.free()
            left = self._left(spec)
            if self.status.plans >= MAX_PLANS or left <= 0:
                why = "no moves are left" if left <= 0 else f"it was planned {self.status.plans} times"
                self._set_phase(RepackPhase.FAILED, f"{self.status.message}; {why}", now)
            else:
                self._set_phase(RepackPhase.PENDING, f"planned anew: {self.status.message}", now)
            return
        waiting = self._state.queue.get(self.wanted_uid) if self.wanted_uid else None
        late = max((step.since for step in steps), default=now)
        is_young = (now - late).total_seconds() <= spec.patience_seconds
        if waiting is not None and waiting.state is QueueState.QUEUED and is_young:
            message = f"the room is made and waits for {waiting.title}"
            self.status = msgspec.structs.replace(self.status, message=message)
            return
        self.free()
        if spec.wanted.stranded_share is not None and self.status.plans < MAX_PLANS and self._left(spec) > 0:
            self._set_phase(RepackPhase.PENDING, "planned anew: is the stranded share reached?", now)
        else:
            self._set_phase(RepackPhase.DONE, "all moves are made", now)

    def _left(self, spec: RepackSpec) -> int:
        """How many moves are left of the budget."""
        return spec.budgets.moves - len(budgets_of.spent(self.status.steps))

    def _change(self, number: int, event: MoveEvent, reason: str) -> None:
        steps = tuple(
            step.after(event, step.since, reason) if step.number == number and not step.is_final else step
            for step in self.status.steps
        )
        self.status = msgspec.structs.replace(self.status, steps=steps)

    def _put(self, steps: tuple[MoveStep, ...], spec: RepackSpec, now: datetime) -> None:
        message = self.status.message
        if self.status.phase is RepackPhase.RUNNING:
            message = _message(steps, spec, now)
        self.status = msgspec.structs.replace(self.status, steps=(*self._earlier, *steps), message=message)

    def _set_phase(self, phase: RepackPhase, message: str, now: datetime) -> None:
        after = phase_after(self.status.phase, phase)
        self.status = msgspec.structs.replace(self.status, phase=after, message=message[:1_000], since=now)


def _with(steps: tuple[MoveStep, ...], changed: MoveStep) -> tuple[MoveStep, ...]:
    return tuple(changed if step.number == changed.number else step for step in steps)


def _message(steps: Sequence[MoveStep], spec: RepackSpec, now: datetime) -> str:
    """What it is about, for people."""
    waiting = [step for step in steps if step.reason and not step.is_final]
    if waiting:
        return f"{waiting[0].pod}: {waiting[0].reason}"
    if spec.paused:
        return "paused"
    if not spec.may_disturb(now):
        return "no pod may be disturbed now"
    return ""


def _named(slices: Sequence[HeldSlice], pod: QueuedPod) -> tuple[HeldSlice, ...]:
    """The slices of a room, each with the container of the pod that asks for its profile."""
    left = list(pod.request.slots)
    named = []
    for slice_ in slices:
        slot = next((slot for slot in left if slot.profile == slice_.profile), None)
        if slot is None:
            return tuple(slices)
        left.remove(slot)
        named.append(HeldSlice(slot.container, slice_.gpu, slice_.profile, slice_.start))
    return tuple(named)
