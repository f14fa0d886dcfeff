"""Reconciler: one step of observe, plan, actuate, report. `service` calls `start` once and `step` on every change.

A step brings the GPUs to what containers have and what bound pods were promised, takes back what nobody has any
more, and says what it saw. It keeps nothing in mind that a restart could not find out again from the journal, the
GPUs, PodResources and the node's pods, so it may die anywhere. It blocks on the driver: call it from a thread.
"""

from collections.abc import Collection, Iterable, Sequence

import structlog

from allocator.claims.report import Owner
from allocator.mig.profile import GpuPlacement
from node_agent import report
from node_agent.cluster.pods import PodView
from node_agent.cluster.port import PodEvent
from node_agent.containers import cdi, injection
from node_agent.metrics import Metrics
from node_agent.mig_mode import ModeSwitch
from node_agent.report import ReadyReason, StepOutcome
from node_agent.slices import device_ids, preferred_allocation, promises, states, steps
from node_agent.slices.executor import Executor, Failure
from node_agent.slices.journal import JournalError
from node_agent.slices.observed import ObservedNode
from node_agent.slices.ownership import Holder, PodIndex, PodResourcesView, unlisted
from node_agent.slices.states import Record, RecordState, SliceEvent
from node_agent.slices.steps import Action, Blocked, Steps, Want
from node_agent.state import AgentState

_log = structlog.get_logger("agent")

READY_EVENT = "SliceReady"
FAILED_EVENT = "SliceFailed"
HIDDEN_EVENT = "SliceHidden"
_HIDDEN = "with inject=env it sees the slices of one of them; inject=cdi shows all"
STARTING_S = 10.0  # after Allocate, until its container surely has a sandbox
MAX_EVENTS = 50  # of one step: a node full of false promises must not flood the API server


class Reconciler:
    """The step over a state. `specs` is None where containers get environment variables instead of CDI."""

    def __init__(self, state: AgentState, specs: cdi.Specs | None, metrics: Metrics) -> None:
        self._state = state
        self._specs = specs
        self._metrics = metrics
        self._modes = ModeSwitch(state)
        self._cutter = Executor(state.devices, state.journal, metrics, state.forget_instance)
        self._events: list[PodEvent] = []
        self._told: set[tuple[str, str, str]] = set()
        self._since: dict[str, float] = {}
        self._leaks: list[str] = []
        self._leaked: list[str] = []  # in the step before
        self._urgent = False

    def start(self) -> None:
        """Read the journal and look at the GPUs. Raises JournalError if it cannot be used; nothing is touched then."""
        with self._state.lock:
            if not self._state.options.observer:
                self._state.journal.load()
        self._state.refresh()
        with self._state.lock:
            self._state.taken_at = dict.fromkeys(self._state.journal.records, self._state.clock())

    def step(self) -> StepOutcome:
        """One round. Never raises a MigschedError: what went wrong is in the outcome."""
        state = self._state
        with state.lock:
            self._metrics.steps.inc()
            state.ingest()
            state.prune()
            self._leaked, self._leaks = self._leaks, []
            self._urgent = False
        state.refresh()
        reason, message = ReadyReason.READY, "cuts what placements ask for"
        if state.options.observer:
            reason, message = ReadyReason.OBSERVING, "reports only; cuts nothing"
        else:
            try:
                self._act()
            except JournalError as error:
                reason, message = ReadyReason.JOURNAL_UNUSABLE, str(error)
            except cdi.CdiError as error:
                reason, message = ReadyReason.CDI_UNWRITABLE, str(error)
        with state.lock:
            if state.view.trouble:
                reason, message = ReadyReason.NO_DRIVER, state.view.trouble
            node_report = report.node_report(state)
            events, self._events = tuple(self._events), []
        self._metrics.show(node_report)
        self._metrics.leaks.set(len(self._leaks))
        ready = reason in (ReadyReason.READY, ReadyReason.OBSERVING)
        return StepOutcome(node_report, ready, reason, message, events, tuple(self._leaks), self._urgent)

    def _act(self) -> None:
        """See to each GPU in its turn; one whose turn somebody has is left for the next step."""
        state = self._state
        with state.lock:
            self._observe_pods()
        if state.options.manage_mig_mode:
            self._modes.switch()
        with state.lock:
            listing, listed = state.listing, self._listed()
            gpus = sorted({*state.view.gpus, *(place.gpu for place in state.journal.records)})
        for gpu in gpus:
            with state.gpu_locks.try_hold(gpu) as mine:
                if mine and listing is not None:
                    self._take_in(listing, listed.get(gpu, ()))
                    self._take_back(listing, gpu)
        with state.lock:
            held = {device_ids.device_id(p) for p, r in state.journal.records.items() if r.state in states.HELD}
            state.journal.revoke({one for ids in state.journal.grants for one in ids} - held)
            planned = self._plan(state.view.gpus)
        misfits = list(planned.misfits)
        for gpu in sorted({step.place.gpu for step in planned.steps}):
            with state.gpu_locks.try_hold(gpu) as mine:
                if mine:
                    misfits = [one for one in misfits if one.place.gpu != gpu] + self._see_to(gpu)
        with state.lock:
            self._report_misfits(misfits)
            state.journal.flush()
            if self._specs is not None:
                lacking = self._specs.sync(injection.wanted(state))
                self._urgent = any(
                    self._is_fresh(ids) for ids in state.journal.grants if device_ids.set_name(ids) in lacking
                )

    def _plan(self, gpus: Collection[str]) -> Steps:
        """Towards what pods on these GPUs were promised and have."""
        state, now = self._state, self._state.clock()
        return steps.plan(
            ObservedNode({uuid: gpu for uuid, gpu in state.view.gpus.items() if uuid in gpus}),
            {place: record for place, record in state.journal.records.items() if place.gpu in gpus},
            [
                Want(one.place, state.retry.get(one.place, 0.0) <= now, one.pod.uid)
                for one in state.promised()
                if one.place.gpu in gpus
            ],
            state.stuck,
        )

    def _see_to(self, gpu: str) -> list[Blocked]:
        """Bring one GPU, whose turn this is, to where it should be, from what is on it now; what does not fit."""
        self._state.refresh_gpus([gpu])
        planned = self._plan([gpu])
        self.carry_out(planned)
        return list(planned.misfits)

    def _is_fresh(self, ids: Sequence[str]) -> bool:
        """Whether a container got these so lately that it may not have started."""
        taken = (self._state.taken_at.get(place) for name, place in self._state.places().items() if name in ids)
        return any(at is not None and self._state.clock() - at < STARTING_S for at in taken)

    def carry_out(self, planned: Steps) -> list[Failure]:
        """Do a plan's steps, remember what failed, and look at what changed. The GPUs' turns are the caller's."""
        failures = self._cutter.run(planned.steps)
        later = self._state.clock() + self._state.options.retry_s
        for one in failures:
            if one.step.action in (Action.DESTROY, Action.UNDO):
                self._state.stuck[one.step.place] = (later, one.why)
            else:
                self._state.retry[one.step.place] = later
        touched = {s.place.gpu for s in planned.steps if s.action is not Action.NOTE}
        if touched:
            self._state.refresh_gpus(touched)
        return failures

    # Who there is

    def _observe_pods(self) -> None:
        """Note when each pod was first seen, and tell those whose placement cannot be meant."""
        pods = self._state.pods or {}
        now = self._state.clock()
        self._since = {uid: self._since.get(uid, now) for uid in pods}
        self._told = {one for one in self._told if one[0] in pods}
        gpus = {gpu.uuid: gpu.catalogue for gpu in self._state.view.gpus.values()}
        for pod in pods.values():
            if pod.waits:
                why = promises.problem(pod, gpus)
                if why:
                    self._record_event(pod, FAILED_EVENT, why)
                if self._specs is None:
                    for container in pod.mixed:
                        self._record_event(
                            pod, HIDDEN_EVENT, f"container {container} asks for several profiles: {_HIDDEN}"
                        )

    def _listed(self) -> dict[str, list[tuple[GpuPlacement, Holder]]]:
        """Who is listed with which place of ours, by GPU."""
        state = self._state
        found: dict[str, list[tuple[GpuPlacement, Holder]]] = {}
        places = state.places()
        for (resource, name), holder in (state.listing.holders if state.listing is not None else {}).items():
            place = places.get(name)
            if place is not None and device_ids.resource(place) == resource:
                found.setdefault(place.gpu, []).append((place, holder))
        return found

    def _take_in(self, listing: PodResourcesView, listed: Iterable[tuple[GpuPlacement, Holder]]) -> None:
        """Slices that PodResources lists are held, whatever the journal says: it may be lost, or older."""
        state = self._state
        for place, holder in listed:
            if listing.asked_at < state.taken_at.get(place, state.began):
                continue  # it was handed out since: to somebody else, perhaps
            record = state.journal.records.get(place)
            if record is None and self._adopt(place):
                state.journal.grant(listing.together(device_ids.resource(place), holder))
            elif record is not None and record.state is RecordState.IDLE:
                state.journal.apply(place, SliceEvent.TAKE)
                state.journal.grant(listing.together(device_ids.resource(place), holder))
            self._name_owner(place, holder, listing)

    def _adopt(self, place: GpuPlacement) -> bool:
        """The kubelet has given away what the journal does not know: the slice there is ours, or must be cut."""
        there = self._state.view.instance(place)
        gpu = self._state.view.gpus.get(place.gpu)
        if gpu is None or not gpu.readable or (there is not None and not there.whole):
            return False
        record = Record(place, RecordState.ALLOCATED)
        if there is not None:
            ci = there.compute_instances[0].ci_id
            record = Record(place, RecordState.ALLOCATED, there.gi_id, ci, there.mig_uuid or "")
        self._state.journal.adopt(record)
        self._state.taken_at[place] = self._state.clock()
        _log.warning("took over a slice that the kubelet lists and the journal lacks", place=str(place))
        return True

    def _name_owner(self, place: GpuPlacement, holder: Holder, listing: PodResourcesView) -> None:
        record = self._state.journal.records.get(place)
        if record is None or record.state not in states.HELD:
            return
        owner = PodIndex(self._state.pods or {}, listing).owner(record, holder)
        if owner is None or owner == record.owner:
            return
        self._state.journal.own(place, owner)
        self._tell_ready(record, owner)

    def _take_back(self, listing: PodResourcesView, gpu: str) -> None:
        """Free a GPU's slices whose pod is over, that PodResources no longer lists, and on which nothing runs."""
        state, pods = self._state, self._state.pods
        if pods is None:
            return
        people = PodIndex(pods, listing)
        for place, record in tuple(state.journal.records.items()):
            if (
                place.gpu == gpu
                and record.state in states.HELD
                and unlisted(record, listing, state.taken_at.get(place, state.began), state.options.grace_s)
                and not people.wants_back(record)
            ):
                self._free(record)

    def _free(self, record: Record) -> None:
        pids = self._state.pids(record.place)
        if pids is None:
            return
        if pids:
            whose = f" of {record.owner.namespace}/{record.owner.pod}" if record.owner else ""
            running = ", ".join(map(str, pids))
            leak = f"{record.place}{whose}: its pod is over, but process {running} still runs on it"
            self._leaks.append(leak)
            if leak not in self._leaked:
                _log.warning("leak", slice=leak)
            return
        self._state.journal.revoke([device_ids.device_id(record.place)])
        self._state.journal.apply(record.place, SliceEvent.FREE, owner=None)
        _log.info(
            "freed", place=str(record.place), owner=record.owner and f"{record.owner.namespace}/{record.owner.pod}"
        )

    # Telling pods

    def _report_misfits(self, misfits: Sequence[Blocked]) -> None:
        """Tell pods whose slice cannot be had: a promise without room elsewhere, or one that vanished for good."""
        now = self._state.situation() if misfits else None
        pods = self._state.pods or {}
        room: dict[str, bool] = {}  # by profile: thousands of false promises must not cost thousands of searches
        for one in misfits:
            pod = pods.get(one.who)
            record = self._state.journal.records.get(one.place)
            if pod is not None and now is not None:
                profile = one.place.placement.profile
                if profile not in room:
                    room[profile] = bool(preferred_allocation.room(now, profile))
                if not room[profile]:
                    self._record_event(pod, FAILED_EVENT, f"{one.why}; and there is no room elsewhere on this node")
            elif record is not None and record.owner is not None:
                owner = pods.get(record.owner.uid)
                if owner is not None:
                    self._record_event(owner, FAILED_EVENT, f"its slice is gone and cannot be cut again: {one.why}")

    def _tell_ready(self, before: Record, owner: Owner) -> None:
        pod = (self._state.pods or {}).get(owner.uid)
        if pod is not None and before.owner is None:
            took = self._state.clock() - self._since.get(pod.uid, self._state.clock())
            known = self._state.journal.records[before.place]
            self._record_event(
                pod, READY_EVENT, f"{before.place} ({known.mig_uuid}) ready after {took:.1f} s", "Normal"
            )

    def report_refusal(self, pod: PodView, why: str) -> None:
        """Tell a pod that the kubelet's Allocate was refused; sent with the next step."""
        self._record_event(pod, FAILED_EVENT, why)

    def _record_event(self, pod: PodView, reason: str, message: str, kind: str = "Warning") -> None:
        key = (pod.uid, reason, message)
        if key in self._told or len(self._events) >= MAX_EVENTS:
            return
        self._told.add(key)
        self._events.append(PodEvent(pod.namespace, pod.name, pod.uid, kind, reason, message[:1024]))


def waiting_for(pods: Sequence[PodView], profile: str) -> list[PodView]:
    """Pods that may be the ones for which the kubelet asks for a profile."""
    return [pod for pod in pods if pod.waits and pod.wanted.get(profile)]
