"""Reconciler: one step of observe, plan, actuate, report. `service` calls `start` once and `step` on every change.

A step brings the GPUs to what containers have and what bound pods were promised, takes back what nobody has any
more, and says what it saw. It keeps nothing in mind that a restart could not find out again from the journal, the
GPUs, PodResources and the node's pods, so it may die anywhere. It blocks on the driver: call it from a thread.
"""

from collections.abc import Collection, Iterable, Sequence

import structlog

from allocator.claims.report import Owner
from allocator.mig.profile import GpuPlacement
from node_agent import reporting
from node_agent.cluster.pods import PodView
from node_agent.cluster.port import PodEvent
from node_agent.containers import cdi, injection
from node_agent.metrics import Metrics
from node_agent.mode_switch import ModeSwitch
from node_agent.reporting import ReadyReason, StepOutcome
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
    """The step over a memory. `specs` is None where containers get environment variables instead of CDI."""

    def __init__(self, memory: AgentState, specs: cdi.Specs | None, metrics: Metrics) -> None:
        self._memory = memory
        self._specs = specs
        self._metrics = metrics
        self._modes = ModeSwitch(memory)
        self._cutter = Executor(memory.devices, memory.journal, metrics, memory.unsee)
        self._events: list[PodEvent] = []
        self._told: set[tuple[str, str, str]] = set()
        self._since: dict[str, float] = {}
        self._leaks: list[str] = []
        self._leaked: list[str] = []  # in the step before
        self._pressing = False

    def start(self) -> None:
        """Read the journal and look at the GPUs. Raises JournalError if it cannot be used; nothing is touched then."""
        with self._memory.lock:
            if not self._memory.options.observer:
                self._memory.journal.load()
        self._memory.look()
        with self._memory.lock:
            self._memory.taken_at = dict.fromkeys(self._memory.journal.records, self._memory.clock())

    def step(self) -> StepOutcome:
        """One round. Never raises a MigschedError: what went wrong is in the outcome."""
        memory = self._memory
        with memory.lock:
            self._metrics.steps.inc()
            memory.take_in()
            memory.prune()
            self._leaked, self._leaks = self._leaks, []
            self._pressing = False
        memory.look()
        reason, message = ReadyReason.READY, "cuts what placements ask for"
        if memory.options.observer:
            reason, message = ReadyReason.OBSERVING, "reports only; cuts nothing"
        else:
            try:
                self._act()
            except JournalError as error:
                reason, message = ReadyReason.JOURNAL_UNUSABLE, str(error)
            except cdi.CdiError as error:
                reason, message = ReadyReason.CDI_UNWRITABLE, str(error)
        with memory.lock:
            if memory.view.trouble:
                reason, message = ReadyReason.NO_DRIVER, memory.view.trouble
            report = reporting.report(memory)
            events, self._events = tuple(self._events), []
        self._metrics.show(report)
        self._metrics.leaks.set(len(self._leaks))
        ready = reason in (ReadyReason.READY, ReadyReason.OBSERVING)
        return StepOutcome(report, ready, reason, message, events, tuple(self._leaks), self._pressing)

    def _act(self) -> None:
        """See to each GPU in its turn; one whose turn somebody has is left for the next step."""
        memory = self._memory
        with memory.lock:
            self._meet()
        if memory.options.manage_mig_mode:
            self._modes.switch()
        with memory.lock:
            listing, listed = memory.listing, self._listed()
            gpus = sorted({*memory.view.gpus, *(place.gpu for place in memory.journal.records)})
        for gpu in gpus:
            with memory.turns.if_free(gpu) as mine:
                if mine and listing is not None:
                    self._take_in(listing, listed.get(gpu, ()))
                    self._take_back(listing, gpu)
        with memory.lock:
            held = {device_ids.device_id(p) for p, r in memory.journal.records.items() if r.state in states.HELD}
            memory.journal.revoke({one for ids in memory.journal.grants for one in ids} - held)
            planned = self._plan(memory.view.gpus)
        misfits = list(planned.misfits)
        for gpu in sorted({step.place.gpu for step in planned.steps}):
            with memory.turns.if_free(gpu) as mine:
                if mine:
                    misfits = [one for one in misfits if one.place.gpu != gpu] + self._see_to(gpu)
        with memory.lock:
            self._complain(misfits)
            memory.journal.flush()
            if self._specs is not None:
                lacking = self._specs.sync(injection.wanted(memory))
                self._pressing = any(
                    self._is_fresh(ids) for ids in memory.journal.grants if device_ids.set_name(ids) in lacking
                )

    def _plan(self, gpus: Collection[str]) -> Steps:
        """Towards what pods on these GPUs were promised and have."""
        memory, now = self._memory, self._memory.clock()
        return steps.plan(
            ObservedNode({uuid: gpu for uuid, gpu in memory.view.gpus.items() if uuid in gpus}),
            {place: record for place, record in memory.journal.records.items() if place.gpu in gpus},
            [
                Want(one.place, memory.retry.get(one.place, 0.0) <= now, one.pod.uid)
                for one in memory.promised()
                if one.place.gpu in gpus
            ],
            memory.stuck,
        )

    def _see_to(self, gpu: str) -> list[Blocked]:
        """Bring one GPU, whose turn this is, to where it should be, from what is on it now; what does not fit."""
        self._memory.look_again([gpu])
        planned = self._plan([gpu])
        self.carry_out(planned)
        return list(planned.misfits)

    def _is_fresh(self, ids: Sequence[str]) -> bool:
        """Whether a container got these so lately that it may not have started."""
        taken = (self._memory.taken_at.get(place) for name, place in self._memory.places().items() if name in ids)
        return any(at is not None and self._memory.clock() - at < STARTING_S for at in taken)

    def carry_out(self, planned: Steps) -> list[Failure]:
        """Do a plan's steps, remember what failed, and look at what changed. The GPUs' turns are the caller's."""
        failures = self._cutter.run(planned.steps)
        later = self._memory.clock() + self._memory.options.retry_s
        for one in failures:
            if one.step.action in (Action.DESTROY, Action.UNDO):
                self._memory.stuck[one.step.place] = (later, one.why)
            else:
                self._memory.retry[one.step.place] = later
        touched = {s.place.gpu for s in planned.steps if s.action is not Action.NOTE}
        if touched:
            self._memory.look_again(touched)
        return failures

    # Who there is

    def _meet(self) -> None:
        """Note when each pod was first seen, and tell those whose placement cannot be meant."""
        pods = self._memory.pods or {}
        now = self._memory.clock()
        self._since = {uid: self._since.get(uid, now) for uid in pods}
        self._told = {one for one in self._told if one[0] in pods}
        gpus = {gpu.uuid: gpu.catalogue for gpu in self._memory.view.gpus.values()}
        for pod in pods.values():
            if pod.waits:
                why = promises.problem(pod, gpus)
                if why:
                    self._tell(pod, FAILED_EVENT, why)
                if self._specs is None:
                    for container in pod.mixed:
                        self._tell(pod, HIDDEN_EVENT, f"container {container} asks for several profiles: {_HIDDEN}")

    def _listed(self) -> dict[str, list[tuple[GpuPlacement, Holder]]]:
        """Who is listed with which place of ours, by GPU."""
        memory = self._memory
        found: dict[str, list[tuple[GpuPlacement, Holder]]] = {}
        places = memory.places()
        for (resource, name), holder in (memory.listing.holders if memory.listing is not None else {}).items():
            place = places.get(name)
            if place is not None and device_ids.resource(place) == resource:
                found.setdefault(place.gpu, []).append((place, holder))
        return found

    def _take_in(self, listing: PodResourcesView, listed: Iterable[tuple[GpuPlacement, Holder]]) -> None:
        """Slices that PodResources lists are held, whatever the journal says: it may be lost, or older."""
        memory = self._memory
        for place, holder in listed:
            if listing.asked_at < memory.taken_at.get(place, memory.began):
                continue  # it was handed out since: to somebody else, perhaps
            record = memory.journal.records.get(place)
            if record is None and self._adopt(place):
                memory.journal.grant(listing.together(device_ids.resource(place), holder))
            elif record is not None and record.state is RecordState.IDLE:
                memory.journal.apply(place, SliceEvent.TAKE)
                memory.journal.grant(listing.together(device_ids.resource(place), holder))
            self._name_owner(place, holder, listing)

    def _adopt(self, place: GpuPlacement) -> bool:
        """The kubelet has given away what the journal does not know: the slice there is ours, or must be cut."""
        there = self._memory.view.instance(place)
        gpu = self._memory.view.gpus.get(place.gpu)
        if gpu is None or not gpu.readable or (there is not None and not there.whole):
            return False
        record = Record(place, RecordState.ALLOCATED)
        if there is not None:
            ci = there.compute_instances[0].ci_id
            record = Record(place, RecordState.ALLOCATED, there.gi_id, ci, there.mig_uuid or "")
        self._memory.journal.adopt(record)
        self._memory.taken_at[place] = self._memory.clock()
        _log.warning("took over a slice that the kubelet lists and the journal lacks", place=str(place))
        return True

    def _name_owner(self, place: GpuPlacement, holder: Holder, listing: PodResourcesView) -> None:
        record = self._memory.journal.records.get(place)
        if record is None or record.state not in states.HELD:
            return
        owner = PodIndex(self._memory.pods or {}, listing).owner(record, holder)
        if owner is None or owner == record.owner:
            return
        self._memory.journal.own(place, owner)
        self._tell_ready(record, owner)

    def _take_back(self, listing: PodResourcesView, gpu: str) -> None:
        """Free a GPU's slices whose pod is over, that PodResources no longer lists, and on which nothing runs."""
        memory, pods = self._memory, self._memory.pods
        if pods is None:
            return
        people = PodIndex(pods, listing)
        for place, record in tuple(memory.journal.records.items()):
            if (
                place.gpu == gpu
                and record.state in states.HELD
                and unlisted(record, listing, memory.taken_at.get(place, memory.began), memory.options.grace_s)
                and not people.wants_back(record)
            ):
                self._free(record)

    def _free(self, record: Record) -> None:
        pids = self._memory.pids(record.place)
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
        self._memory.journal.revoke([device_ids.device_id(record.place)])
        self._memory.journal.apply(record.place, SliceEvent.FREE, owner=None)
        _log.info(
            "freed", place=str(record.place), owner=record.owner and f"{record.owner.namespace}/{record.owner.pod}"
        )

    # Telling pods

    def _complain(self, misfits: Sequence[Blocked]) -> None:
        """Tell pods whose slice cannot be had: a promise without room elsewhere, or one that vanished for good."""
        now = self._memory.situation() if misfits else None
        pods = self._memory.pods or {}
        room: dict[str, bool] = {}  # by profile: thousands of false promises must not cost thousands of searches
        for one in misfits:
            pod = pods.get(one.who)
            record = self._memory.journal.records.get(one.place)
            if pod is not None and now is not None:
                profile = one.place.placement.profile
                if profile not in room:
                    room[profile] = bool(preferred_allocation.room(now, profile))
                if not room[profile]:
                    self._tell(pod, FAILED_EVENT, f"{one.why}; and there is no room elsewhere on this node")
            elif record is not None and record.owner is not None:
                owner = pods.get(record.owner.uid)
                if owner is not None:
                    self._tell(owner, FAILED_EVENT, f"its slice is gone and cannot be cut again: {one.why}")

    def _tell_ready(self, before: Record, owner: Owner) -> None:
        pod = (self._memory.pods or {}).get(owner.uid)
        if pod is not None and before.owner is None:
            took = self._memory.clock() - self._since.get(pod.uid, self._memory.clock())
            known = self._memory.journal.records[before.place]
            self._tell(pod, READY_EVENT, f"{before.place} ({known.mig_uuid}) ready after {took:.1f} s", "Normal")

    def blame(self, pod: PodView, why: str) -> None:
        """Tell a pod that the kubelet's Allocate was refused; sent with the next step."""
        self._tell(pod, FAILED_EVENT, why)

    def _tell(self, pod: PodView, reason: str, message: str, kind: str = "Warning") -> None:
        key = (pod.uid, reason, message)
        if key in self._told or len(self._events) >= MAX_EVENTS:
            return
        self._told.add(key)
        self._events.append(PodEvent(pod.namespace, pod.name, pod.uid, kind, reason, message[:1024]))


def waiting_for(pods: Sequence[PodView], profile: str) -> list[PodView]:
    """Pods that may be the ones for which the kubelet asks for a profile."""
    return [pod for pod in pods if pod.waits and pod.wanted.get(profile)]
