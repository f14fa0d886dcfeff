"""Agent: one step of observe, plan, actuate, report. `service` calls `start` once and `step` on every change.

A step brings the GPUs to what containers have and what bound pods were promised, takes back what nobody has any
more, and says what it saw. It keeps nothing in mind that a restart could not find out again from the journal, the
GPUs, PodResources and the node's pods, so it may die anywhere. It blocks on the driver: call it from a thread.
"""

from collections.abc import Sequence

import structlog

from allocator.report import Owner
from node_agent import cdi, demand, injection, naming, plan, reporting, slices, steering
from node_agent.cluster import PodEvent
from node_agent.cutter import Cutter, Failure
from node_agent.journal import JournalError
from node_agent.memory import Memory
from node_agent.metrics import Metrics
from node_agent.mode_switch import ModeSwitch
from node_agent.ownership import Holder, People, unlisted
from node_agent.plan import Action, Plan, Want
from node_agent.pods import PodView
from node_agent.reporting import Outcome
from node_agent.slices import Event, Place, Record, State

_log = structlog.get_logger("agent")

READY_EVENT = "SliceReady"
FAILED_EVENT = "SliceFailed"
HIDDEN_EVENT = "SliceHidden"
_HIDDEN = "with inject=env it sees the slices of one of them; inject=cdi shows all"
STARTING_S = 10.0  # after Allocate, until its container surely has a sandbox
MAX_EVENTS = 50  # of one step: a node full of false promises must not flood the API server


class Agent:
    """The step over a memory. `specs` is None where containers get environment variables instead of CDI."""

    def __init__(self, memory: Memory, specs: cdi.Specs | None, metrics: Metrics) -> None:
        self._memory = memory
        self._specs = specs
        self._metrics = metrics
        self._modes = ModeSwitch(memory)
        self._cutter = Cutter(memory.devices, memory.journal, metrics)
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
            self._memory.taken_at = dict.fromkeys(self._memory.journal.records, self._memory.clock())

    def step(self) -> Outcome:
        """One round. Never raises a MigschedError: what went wrong is in the outcome."""
        with self._memory.lock:
            self._metrics.steps.inc()
            self._memory.take_in()
            self._leaked, self._leaks = self._leaks, []
            self._pressing = False
            self._memory.prune()
            self._memory.look()
            reason, message = "Ready", "cuts what placements ask for"
            if self._memory.options.observer:
                reason, message = "Observing", "reports only; cuts nothing"
            else:
                try:
                    self._act()
                except JournalError as error:
                    reason, message = "JournalUnusable", str(error)
                except cdi.CdiError as error:
                    reason, message = "CdiUnwritable", str(error)
            if self._memory.view.trouble:
                reason, message = "NoDriver", self._memory.view.trouble
            report = reporting.report(self._memory)
            self._metrics.show(report)
            self._metrics.leaks.set(len(self._leaks))
            ready = reason in ("Ready", "Observing")
            events, self._events = tuple(self._events), []
            return Outcome(report, ready, reason, message, events, tuple(self._leaks), self._pressing)

    def _act(self) -> None:
        self._meet()
        if self._memory.options.manage_mig_mode:
            self._modes.switch()
        self._take_in()
        self._take_back()
        held = {naming.device_id(p) for p, r in self._memory.journal.records.items() if r.state in slices.HELD}
        self._memory.journal.revoke({one for ids in self._memory.journal.grants for one in ids} - held)
        promised = self._memory.promised()
        now = self._memory.clock()
        wants = [Want(p.place, self._memory.retry.get(p.place, 0.0) <= now, p.pod.uid) for p in promised]
        planned = plan.plan(self._memory.view, self._memory.journal.records, wants, self._memory.stuck)
        self.carry_out(planned)
        self._complain(planned, {p.pod.uid: p.pod for p in promised})
        if self._specs is not None:
            lacking = self._specs.sync(injection.wanted(self._memory))
            self._pressing = any(
                self._is_fresh(ids) for ids in self._memory.journal.grants if naming.set_name(ids) in lacking
            )

    def _is_fresh(self, ids: Sequence[str]) -> bool:
        """Whether a container got these so lately that it may not have started."""
        taken = (self._memory.taken_at.get(place) for name, place in self._memory.places().items() if name in ids)
        return any(at is not None and self._memory.clock() - at < STARTING_S for at in taken)

    def carry_out(self, planned: Plan) -> list[Failure]:
        """Do a plan's steps, remember what failed, and look at what changed."""
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
                why = demand.problem(pod, gpus)
                if why:
                    self._tell(pod, FAILED_EVENT, why)
                if self._specs is None:
                    for container in pod.mixed:
                        self._tell(pod, HIDDEN_EVENT, f"container {container} asks for several profiles: {_HIDDEN}")

    def _take_in(self) -> None:
        """Slices that PodResources lists are held, whatever the journal says: it may be lost, or older."""
        listing, records = self._memory.listing, self._memory.journal.records
        if listing is None:
            return
        places = self._memory.places()
        for (resource, name), holder in listing.holders.items():
            place = places.get(name)
            if place is None or naming.resource(place) != resource:
                continue
            if listing.asked_at < self._memory.taken_at.get(place, self._memory.began):
                continue  # it was handed out since: to somebody else, perhaps
            record = records.get(place)
            if record is None and self._adopt(place):
                self._memory.journal.grant(listing.together(resource, holder))
            elif record is not None and record.state is State.IDLE:
                self._memory.journal.apply(place, Event.TAKE)
                self._memory.journal.grant(listing.together(resource, holder))
            records = self._memory.journal.records
            self._name_owner(place, holder)

    def _adopt(self, place: Place) -> bool:
        """The kubelet has given away what the journal does not know: the slice there is ours, or must be cut."""
        there = self._memory.view.instance(place)
        gpu = self._memory.view.gpus.get(place.gpu)
        if gpu is None or not gpu.readable or (there is not None and not there.whole):
            return False
        record = Record(place, State.ALLOCATED)
        if there is not None:
            ci = there.compute_instances[0].ci_id
            record = Record(place, State.ALLOCATED, there.gi_id, ci, there.mig_uuid or "")
        self._memory.journal.adopt(record)
        self._memory.taken_at[place] = self._memory.clock()
        _log.warning("took over a slice that the kubelet lists and the journal lacks", place=str(place))
        return True

    def _name_owner(self, place: Place, holder: Holder) -> None:
        record = self._memory.journal.records.get(place)
        if record is None or record.state not in slices.HELD or self._memory.listing is None:
            return
        owner = People(self._memory.pods or {}, self._memory.listing).owner(record, holder)
        if owner is None or owner == record.owner:
            return
        self._memory.journal.own(place, owner)
        self._tell_ready(record, owner)

    def _take_back(self) -> None:
        """Free slices whose pod is over, that PodResources no longer lists, and on which nothing runs."""
        listing, pods = self._memory.listing, self._memory.pods
        if listing is None or pods is None:
            return
        people = People(pods, listing)
        for place, record in tuple(self._memory.journal.records.items()):
            since = self._memory.taken_at.get(place, self._memory.began)
            if (
                record.state in slices.HELD
                and unlisted(record, listing, since, self._memory.options.grace_s)
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
        self._memory.journal.revoke([naming.device_id(record.place)])
        self._memory.journal.apply(record.place, Event.FREE, owner=None)
        _log.info(
            "freed", place=str(record.place), owner=record.owner and f"{record.owner.namespace}/{record.owner.pod}"
        )

    # Telling pods

    def _complain(self, planned: Plan, pods: dict[str, PodView]) -> None:
        """Tell pods whose slice cannot be had: a promise without room elsewhere, or one that vanished for good."""
        now = self._memory.situation() if planned.misfits else None
        room: dict[str, bool] = {}  # by profile: thousands of false promises must not cost thousands of searches
        for one in planned.misfits:
            pod = pods.get(one.who)
            record = self._memory.journal.records.get(one.place)
            if pod is not None and now is not None:
                profile = one.place.placement.profile
                if profile not in room:
                    room[profile] = bool(steering.room(now, profile))
                if not room[profile]:
                    self._tell(pod, FAILED_EVENT, f"{one.why}; and there is no room elsewhere on this node")
            elif record is not None and record.owner is not None:
                owner = (self._memory.pods or {}).get(record.owner.uid)
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
