"""Reconciler: one step of observe, plan, actuate, report. service calls `start`, then loop calls `step`.

A step brings the GPUs to what containers have and what bound pods were promised, takes back what no container has any
more, and says what it saw. It keeps nothing in mind that a restart could not find out again from the journal, the
GPUs, PodResources and the node's pods, so it may die anywhere. It blocks on the driver: call it from a thread.
"""

from collections.abc import Iterable, Mapping, Sequence

import structlog

from allocator.claims import same_gpu
from allocator.claims.report import Owner
from allocator.mig.profile import WHOLE_GPU, GpuPlacement, profile_name
from node_agent import report
from node_agent.cluster import pods
from node_agent.cluster.pod_events import PodEvents
from node_agent.cluster.pods import PodView
from node_agent.containers import cdi
from node_agent.containers.driver_files import DriverFiles
from node_agent.containers.injection import Injection
from node_agent.health import marks
from node_agent.metrics import Metrics
from node_agent.mig_mode import ModeSwitch
from node_agent.report import ReadyReason, StepOutcome
from node_agent.slices import device_ids, preferred_allocation, promises, states, steps
from node_agent.slices.executor import Executor
from node_agent.slices.journal import JournalError
from node_agent.slices.observation import Observation
from node_agent.slices.ownership import Holder, PodResourcesView, unlisted
from node_agent.slices.states import Record, RecordState, SliceEvent
from node_agent.slices.steps import Blocked, Steps, Want
from node_agent.state import AgentState

_log = structlog.get_logger("agent")

_HIDDEN = "with inject=env it sees those of one of them; inject=cdi shows all"
STARTING_S = 10.0  # after Allocate, until its container surely has a sandbox


class Reconciler:
    """The step over a state. `specs` is None where containers get environment variables instead of CDI, `files` where
    the agent brings no files of the driver. `adds_up`: without CDI, too, what comes for several profiles adds up.
    """

    def __init__(
        self,
        state: AgentState,
        executor: Executor,
        specs: cdi.Specs | None,
        metrics: Metrics,
        files: DriverFiles | None = None,
        *,
        adds_up: bool = False,
    ) -> None:
        self._state = state
        self._executor = executor
        self._specs = specs
        self._metrics = metrics
        self._files = files
        self._hides = specs is None and not adds_up
        self._injection = Injection(state.devices, real_nodes=state.options.real_nodes, files=files)
        self._modes = ModeSwitch(state)
        self._events = PodEvents(state.clock)
        self._leaks: list[str] = []
        self._leaked: list[str] = []  # in the step before
        self._urgent = False

    def start(self) -> None:
        """Read the journal and the GPUs. Raises JournalError if it cannot be used; nothing is touched then."""
        state = self._state
        with state.lock:
            if not state.options.observer:
                state.journal.load()
                state.journal.mark(marks.under(state.journal.marks.values(), state.options.health))
        state.refresh()
        with state.lock:
            state.taken_at = dict.fromkeys(state.journal.records, state.clock())

    def step(self) -> StepOutcome:
        """One round. Never raises a MigschedError: what went wrong is in the outcome."""
        state = self._state
        with state.lock:
            self._metrics.steps.inc()
            self._report_refusals()
            state.ingest()
            state.prune()
            self._leaked, self._leaks = self._leaks, []
            self._urgent = False
        state.refresh()
        trouble = self._refresh_files()
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
            else:
                if trouble is not None:
                    reason, message = ReadyReason.DRIVER_FILES_UNKNOWN, trouble
        with state.lock:
            if state.view.trouble:
                reason, message = ReadyReason.NO_DRIVER, state.view.trouble
            node_report = report.node_report(state.node, state.observe(), observer=state.options.observer)
            events = self._events.drain()
            if reason in (ReadyReason.READY, ReadyReason.OBSERVING) and (problem := state.annotation_problem):
                message = f"{message}; {problem}"
        self._metrics.show(node_report)
        self._metrics.leaks.set(len(self._leaks))
        ready = reason in (ReadyReason.READY, ReadyReason.OBSERVING)
        return StepOutcome(node_report, ready, reason, message, events, tuple(self._leaks), self._urgent)

    def _refresh_files(self) -> str | None:
        """Look at the driver's files, without a lock: the toolkit may take its time. Why they are not known, if so."""
        if self._files is None or self._state.options.observer:
            return None
        self._files.refresh()
        return self._files.trouble

    def _act(self) -> None:
        """See to each GPU under its lock; a GPU whose lock an Allocate has is left for the next step."""
        state = self._state
        with state.lock:
            state.journal.keep_marks()
            self._observe_pods(state.observe())
        if state.options.manage_mig_mode:
            self._modes.switch()
        with state.lock:
            observation = state.observe()
        listed = _listed_by_gpu(observation)
        for gpu in sorted({*observation.view.gpus, *observation.records_by_gpu}):
            with state.gpu_locks.try_hold(gpu) as held:
                if held and observation.listing is not None:
                    self._take_over(observation, listed.get(gpu, ()))
                    self._name_unlisted(observation, gpu)
                    self._take_back(observation, gpu)
        with state.lock:
            self._end_use()
            observation = state.observe()
            held_ids = {device_ids.device_id(place) for place in observation.held}
            state.journal.revoke({id_ for ids in observation.grants for id_ in ids} - held_ids)
            planned = self._plan(observation, observation.view.gpus)
        blocked = list(planned.blocked)
        for gpu in sorted({step.place.gpu for step in planned.steps}):
            with state.gpu_locks.try_hold(gpu) as held:
                if held:
                    blocked = [want for want in blocked if want.place.gpu != gpu] + self._reconcile(gpu)
        with state.lock:
            observation = state.observe()
            self._report_misfits(observation, blocked)
            self._report_ill(observation)
            state.journal.flush()
            self._specify(observation)

    def _specify(self, observation: Observation) -> None:
        """Write what CDI names mean now; nothing while the driver's files are not known. Raises CdiError."""
        if self._specs is None:
            return
        if self._files is not None and self._files.trouble is not None:
            self._specs.withdraw()
        lacking = self._specs.sync(self._injection.wanted(observation))
        self._specs.put_gpus(self._injection.whole_gpus(observation))
        self._urgent = any(
            self._is_fresh(observation, ids) for ids in observation.grants if device_ids.set_name(ids) in lacking
        )

    def _plan(self, observation: Observation, gpus: Iterable[str]) -> Steps:
        """Towards what pods on these GPUs were promised and have."""
        wants = (
            Want(promise.place, not self._state.backoff.defers(promise.place), promise.pod.uid)
            for promise in observation.promised
            if promise.place.gpu not in observation.out_of_service
        )
        return steps.plan(observation, wants, gpus)

    def _reconcile(self, gpu: str) -> list[Blocked]:
        """Bring one GPU, whose lock is held, to where it should be, from what is on it now; what does not fit."""
        self._state.refresh_gpus([gpu])
        planned = self._plan(self._state.observe(), [gpu])
        self._executor.carry_out(planned.steps)
        return list(planned.blocked)

    def _is_fresh(self, observation: Observation, ids: Sequence[str]) -> bool:
        """Whether a container got these so lately that it may not have started."""
        now = self._state.clock()
        places = (place for place in map(observation.place, ids) if place is not None)
        taken_at = (self._state.taken_at.get(place) for place in places)
        return any(at is not None and now - at < STARTING_S for at in taken_at)

    # Whose slices are whose

    def _take_over(self, observation: Observation, listed: Iterable[tuple[GpuPlacement, Holder]]) -> None:
        """Slices that PodResources lists are held, whatever the journal says: it may be lost, or older."""
        state, listing = self._state, observation.listing
        if listing is None:
            return
        for place, holder in listed:
            if listing.asked_at < state.taken_at.get(place, state.began):
                continue  # it was handed out since: to another container, perhaps
            record = state.journal.records.get(place)
            if record is None and self._adopt(place):
                state.journal.grant(listing.together(device_ids.resource(place), holder))
            elif record is not None and record.state is RecordState.IDLE:
                state.journal.apply(place, SliceEvent.TAKE)
                state.journal.grant(listing.together(device_ids.resource(place), holder))
            self._name_owner(observation, place, holder)
            self._name_beside(observation, listing, place)

    def _adopt(self, place: GpuPlacement) -> bool:
        """The kubelet has given away what the journal does not know: the slice there is ours, or must be cut."""
        instance = self._state.view.instance(place)
        gpu = self._state.view.gpus.get(place.gpu)
        if gpu is None or not gpu.readable or (instance is not None and not instance.whole):
            return False
        record = Record(place, RecordState.ALLOCATED)
        if instance is not None:
            ci = instance.compute_instances[0].ci_id
            record = Record(place, RecordState.ALLOCATED, instance.gi_id, ci, instance.mig_uuid or "")
        self._state.journal.adopt(record)
        self._state.taken_at[place] = self._state.clock()
        _log.warning("took over a slice that the kubelet lists and the journal lacks", place=str(place))
        return True

    def _name_owner(self, observation: Observation, place: GpuPlacement, holder: Holder) -> None:
        record = self._state.journal.records.get(place)
        if record is None or record.state not in states.HELD:
            return
        owner = observation.pod_index.owner(record, holder)
        if owner is None or owner == record.owner:
            return
        self._state.journal.own(place, owner)
        self._report_ready(observation, record, owner)

    def _name_beside(self, observation: Observation, listing: PodResourcesView, place: GpuPlacement) -> None:
        """The whole GPUs that a slice's container has too, where its pod asks for such and all of them are named."""
        record = self._state.journal.records.get(place)
        owner = record.owner if record is not None else None
        pod = (observation.pods or {}).get(owner.uid) if owner is not None else None
        if owner is None or pod is None or not pod.whole:
            return
        gpus = listing.held_by(WHOLE_GPU, owner)
        if len(gpus) == dict(pod.whole).get(owner.container):
            self._state.journal.lie_beside(place, gpus)

    def _name_unlisted(self, observation: Observation, gpu: str) -> None:
        """Slices of ordinary init containers belong to the pods that the kubelet's checkpoint names."""
        state, listing = self._state, observation.listing
        for place, record in tuple(state.journal.records.items()):
            if place.gpu != gpu or record.owner is not None or record.state not in states.HELD or listing is None:
                continue
            owner = observation.pod_index.assignee(place)
            if owner is not None and listing.asked_at >= state.taken_at.get(place, state.began):
                state.journal.own(place, owner)
                self._report_ready(observation, record, owner)

    def _take_back(self, observation: Observation, gpu: str) -> None:
        """Free a GPU's slices whose pod is over, that PodResources no longer lists, and on which nothing runs."""
        state, listing = self._state, observation.listing
        if observation.pods is None or listing is None:
            return
        for place, record in tuple(state.journal.records.items()):
            if place.gpu != gpu or record.state not in states.HELD:
                continue
            taken_at = state.taken_at.get(place, state.began)
            if unlisted(record, listing, taken_at, state.options.grace_s) and observation.pod_index.may_reclaim(
                record, unknown_are_gone=True
            ):
                if observation.pod_index.may_reclaim(record, unknown_are_gone=state.pods_listed_at > taken_at):
                    self._free(record)
                else:
                    state.wants_pods = True

    def _free(self, record: Record) -> None:
        pids = self._state.pids(record.place)
        if pids is None:
            return
        owner = record.owner and f"{record.owner.namespace}/{record.owner.pod}"
        if pids:
            running = ", ".join(map(str, pids))
            whose = f" of {owner}" if owner else ""
            leak = f"{record.place}{whose}: its pod is over, but process {running} still runs on it"
            self._leaks.append(leak)
            if leak not in self._leaked:
                _log.warning("leak", slice=leak)
            return
        self._state.journal.revoke([device_ids.device_id(record.place)])
        self._state.journal.apply(record.place, SliceEvent.FREE, owner=None, beside=())
        _log.info("freed", place=str(record.place), owner=owner)

    def _end_use(self) -> None:
        """What no container has any more, and no process uses, is well again where its mark waits for no more."""
        state = self._state
        if not state.journal.marks:
            return
        held = {(place.gpu, record.gi_id) for place, record in state.observe().held.items()}
        for gpu, gi_id in tuple(state.journal.marks):
            in_use = state.may_be_used(gpu) if gi_id is None else (gpu, gi_id) in held
            if not in_use:
                state.journal.mark(marks.after_use(state.journal.marks, (gpu, gi_id)))

    # What pods are told

    def _observe_pods(self, observation: Observation) -> None:
        """Note when each pod was first seen, and tell those whose placement is not valid here."""
        node_pods = observation.pods or {}
        self._events.observe_pods(node_pods)
        catalogues = {gpu.uuid: gpu.catalogue for gpu in observation.view.gpus.values()}
        for pod in node_pods.values():
            if pod.waits:
                if pod.note:
                    self._events.noted(pod)
                problem = promises.problem(pod, catalogues)
                if problem is not None:
                    self._events.failed(pod, problem)
                if self._hides:
                    for container in pod.mixed:
                        kinds = " and ".join(sorted(pod.mixed[container]))
                        self._events.hidden(pod, f"container {container} asks for {kinds}: {_HIDDEN}")

    def _report_ready(self, observation: Observation, before: Record, owner: Owner) -> None:
        pod = (observation.pods or {}).get(owner.uid)
        if pod is not None and before.owner is None:
            record = self._state.journal.records[before.place]
            took_s = self._events.ready(pod, f"{before.place} ({record.mig_uuid})")
            self._metrics.time_to_slice_seconds.observe(took_s)
            self._report_same_gpu(pod)

    def _report_same_gpu(self, pod: PodView) -> None:
        """Tell a pod that has all its slices by now if some of a container share a GPU although it did not ask for it.

        Slices of ordinary init containers are not always named; what is known of the others is said.
        """
        if pod.asks.packed or len(pod.asks.slots) < 2:
            return
        records = self._state.journal.records.values()
        owned = [(r.owner.container, r.place.gpu) for r in records if r.owner is not None and r.owner.uid == pod.uid]
        if len(owned) >= len(pod.asks.slots):
            message = same_gpu.sentence(owned)
            if message:
                self._events.same_gpu(pod, message)

    def _report_refusals(self) -> None:
        """Tell pods whose Allocate was refused for good, where it is clear which pod it was."""
        for refusal in self._state.take_refusals():
            if refusal.resource != WHOLE_GPU:
                profile = profile_name(refusal.resource)
                waiting = pods.waiting_for((self._state.pods or {}).values(), profile)
                if len(waiting) == 1:
                    self._events.failed(waiting[0], refusal.message)

    def _report_ill(self, observation: Observation) -> None:
        """Tell the pods that have an ill slice, a slice of an ill GPU, or an ill GPU as a whole."""
        if not observation.marks:
            return
        for place, record in observation.held.items():
            pod = (observation.pods or {}).get(record.owner.uid) if record.owner else None
            if pod is not None and not pod.over:
                if mark := observation.slice_mark(place):
                    self._events.ill(pod, f"{place}: {mark.message}")
                if mark := observation.gpu_mark(place.gpu):
                    self._events.ill(pod, f"GPU {place.gpu}: {mark.message}")
        for (resource, device_id), holder in observation.holders.items():
            if resource == WHOLE_GPU and (mark := observation.gpu_mark(device_id)):
                pod = observation.pod_index.living(holder)
                if pod is not None:
                    self._events.ill(pod, f"GPU {device_id}: {mark.message}")

    def _report_misfits(self, observation: Observation, blocked: Sequence[Blocked]) -> None:
        """Tell pods whose slice cannot be had: a promise without room elsewhere, or one that vanished for good."""
        node_pods = observation.pods or {}
        room: dict[str, bool] = {}  # by profile: thousands of false promises must not cost thousands of searches
        for want in blocked:
            pod = node_pods.get(want.pod_uid)
            record = observation.records.get(want.place)
            if pod is not None:
                profile = want.place.placement.profile
                if profile not in room:
                    room[profile] = bool(preferred_allocation.room(observation, profile))
                if not room[profile]:
                    self._events.failed(pod, f"{want.why}; and there is no room elsewhere on this node")
            elif record is not None and record.owner is not None:
                owner = node_pods.get(record.owner.uid)
                if owner is not None:
                    self._events.failed(owner, f"its slice is gone and cannot be cut again: {want.why}")


def _listed_by_gpu(observation: Observation) -> Mapping[str, list[tuple[GpuPlacement, Holder]]]:
    """Who is listed with which place of ours, by GPU."""
    listed: dict[str, list[tuple[GpuPlacement, Holder]]] = {}
    for (resource, device_id), holder in observation.holders.items():
        place = observation.place(device_id)
        if place is not None and device_ids.resource(place) == resource:
            listed.setdefault(place.gpu, []).append((place, holder))
    return listed
