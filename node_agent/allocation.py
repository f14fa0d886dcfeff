"""Allocation: the agent's answers to the kubelet: what is offered, what it should pick, what a container gets.

`allocate` makes one attempt and says whether another may help; `kubelet.backend` repeats it until its deadline, because
the kubelet has none and admits no other pod meanwhile. It is idempotent: the kubelet asks again for the ids of an init
container, and gives ids of an ended pod to the next one before the agent noticed its end.
"""

from collections.abc import Callable, Collection, Iterable, Sequence

import structlog

from allocator import errors
from allocator.mig.profile import WHOLE_GPU, GpuPlacement, profile_name
from node_agent.containers import cdi, visibility
from node_agent.containers.driver_files import DriverFiles, DriverFilesError
from node_agent.containers.injection import Injection
from node_agent.gpu import device
from node_agent.slices import device_ids, preferred_allocation, steps
from node_agent.slices.executor import Executor, Failure
from node_agent.slices.numa_alignment import NumaAlignment
from node_agent.slices.observation import Observation
from node_agent.slices.offer import DeviceOffer
from node_agent.slices.ownership import Assigned
from node_agent.slices.states import RecordState, SliceEvent
from node_agent.slices.steps import Blocked, Want
from node_agent.state import AgentState

_log = structlog.get_logger("allocation")


class AllocationError(errors.MigschedError):
    """The kubelet's Allocate cannot be answered. `retryable` says that it may be in a moment."""

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable


class Allocation:
    """What the device plugins ask. Blocks on the driver: call it from a thread.

    `unfit` says why containers would start without their GPUs: then they get none. `assigned` is what the kubelet's
    checkpoint says at the moment; None where it cannot be read.
    """

    def __init__(
        self,
        state: AgentState,
        executor: Executor,
        specs: cdi.Specs | None,
        files: DriverFiles | None = None,
        unfit: Callable[[], str | None] = lambda: None,
        assigned: Callable[[], Assigned | None] = lambda: None,
    ) -> None:
        self._state = state
        self._executor = executor
        self._specs = specs
        self._files = files
        self._unfit = unfit
        self._assigned = assigned
        self._injection = Injection(state.devices, real_nodes=state.options.real_nodes, files=files)
        self._offered: tuple[Observation, dict[str, bool], dict[str, dict[str, DeviceOffer]]] | None = None

    def offers(self) -> dict[str, dict[str, DeviceOffer]]:
        """Device ids and what the kubelet is told of them, by resource.

        Every placement is offered, and healthy unless its GPU is ill or out of service: which of them can exist
        together is the scheduler's and Allocate's concern, and an id that a container has must never look unwell for
        want of room. Asked every second; made anew when something was observed.
        """
        with self._state.lock:
            observation, whole = self._state.observe(), self._state.whole_gpus()
            if self._offered is not None and self._offered[0] is observation and self._offered[1] == whole:
                return self._offered[2]
            numa = NumaAlignment(observation)
            closed = {gpu for gpu in observation.view.gpus if observation.closed(gpu) is not None}
            offers: dict[str, dict[str, DeviceOffer]] = {}
            for device_id, place in observation.offered.items():
                in_service = place.gpu not in observation.out_of_service or place in observation.held
                offer = DeviceOffer(in_service and place.gpu not in closed, numa.of_slice(place))
                offers.setdefault(device_ids.resource(place), {})[device_id] = offer
            for uuid, well in whole.items():
                offers.setdefault(WHOLE_GPU, {})[uuid] = DeviceOffer(well, numa.of_gpu(uuid))
            self._offered = observation, whole, offers
            return offers

    def expects(self, resource: str, available: Collection[str], size: int) -> bool:
        """Whether as many promises of a resource as are asked for are known and can be kept with the ids available."""
        with self._state.lock:
            self._state.ingest()
            promised = (promise.place for promise in self._state.observe().promised)
            ids = [device_ids.device_id(place) for place in promised if device_ids.resource(place) == resource]
            return sum(id_ in available for id_ in ids) >= size

    def prefer(self, resource: str, available: Sequence[str], must: Sequence[str], size: int) -> list[str]:
        """The ids the kubelet should pick."""
        if resource == WHOLE_GPU:
            rest = [id_ for id_ in sorted(available) if id_ not in must]
            return [*must, *rest][:size]
        with self._state.lock:
            self._state.ingest()
            observation = self._state.observe()
            return preferred_allocation.prefer(observation, profile_name(resource), available, must, size)

    def allocate(self, resource: str, ids: Sequence[str]) -> cdi.Edits:
        """Cut what is not there yet and hand it out, all or nothing. One attempt.

        Raises AllocationError, and JournalError or CdiError where these cannot be written.
        """
        unfit = self._unfit()
        if unfit is not None:
            raise AllocationError(unfit)
        if self._files is not None:
            self._files.refresh()
        if resource == WHOLE_GPU:
            with self._state.gpu_locks.hold(ids):
                return self._whole(ids)
        with self._state.lock:
            observation = self._state.observe()
            places = [_place(observation, resource, id_) for id_ in ids]
        gpus = {place.gpu for place in places}
        with self._state.gpu_locks.hold(gpus):
            self._state.ingest()
            self._state.refresh_gpus(gpus)
            self._refuse_ill(places)
            self._refuse_if_kept(places)
            self._refuse_if_used(places)
            _refuse_new_work(self._state.observe(), places)
            self._create(self._state.observe(), places)
            return self._hand_out(places)

    def _whole(self, ids: Sequence[str]) -> cdi.Edits:
        self._state.ingest()
        offered = self._state.whole_gpus()
        for uuid in ids:
            if uuid not in offered:
                raise AllocationError(f"GPU {uuid} is not offered as a whole: it is in MIG mode or not on this node")
            out = self._state.out_of_service.get(uuid)
            if out is not None:
                raise AllocationError(f"GPU {uuid} is {out}")
            if not offered[uuid]:
                mark = self._state.observe().closed(uuid)
                raise AllocationError(f"GPU {uuid} is ill: {mark.message if mark else 'see the MigNode'}")
        observation = self._state.observe()
        try:
            edits = self._injection.for_gpus(observation, ids)
        except DriverFilesError as error:
            raise AllocationError(str(error), retryable=True) from error
        if self._specs is not None and edits.common is not None:
            specified = self._injection.whole_gpus(observation)
            for uuid in ids:
                if uuid not in specified:
                    raise AllocationError(f"GPU {uuid} has no device node below {edits.root.dev / 'dev'}")
            self._specs.put_gpus(specified)
        self._state.gpu_taken_at.update(dict.fromkeys(ids, self._state.clock()))
        return edits

    def _refuse_ill(self, places: Iterable[GpuPlacement]) -> None:
        """An ill slice is cut anew before anybody gets it: at once where it is free, later where a container had it."""
        observation = self._state.observe()
        for place in places:
            if closed := observation.closed(place.gpu):
                raise AllocationError(f"GPU {place.gpu} is ill: {closed.message}")
            if place in observation.held and (mark := observation.condemned(place)):
                raise AllocationError(f"{place} is ill: {mark.message}", retryable=True)

    def _refuse_if_kept(self, places: Iterable[GpuPlacement]) -> None:
        """A kubelet that lists devices while it hands one out may forget that it did, and hand it out again.

        Seen with Kubernetes 1.37.2; kubernetes/kubernetes pull request 137534. What a living pod was given is given to
        no other one, whatever the kubelet believes. A pod that is about to end is waited for; so is a younger list of
        pods, where the kubelet's checkpoint names one that is not known.
        """
        observation = self._state.observe()
        held = [place for place in places if place in observation.held]
        assigned = (self._assigned() if held else None) or {}
        for place in held:
            named = assigned.get((device_ids.resource(place), device_ids.device_id(place)), ())
            keeper = observation.pod_index.keeper(observation.held[place], named)
            if keeper is not None:
                _log.warning("the kubelet gives away a slice that a living pod has", place=str(place), pod=keeper.title)
                raise AllocationError(f"{place} was given to a pod that has not ended", retryable=True)
            taken_at = self._state.taken_at.get(place, self._state.began)
            listed = observation.pods is not None
            if self._state.pods_listed_at <= taken_at and observation.pod_index.has_unknown(
                observation.held[place], named, listed=listed
            ):
                self._state.wants_pods = True
                why = "was given to a pod of which the API server has not told since"
                raise AllocationError(f"{place} {why}", retryable=True)

    def _refuse_if_used(self, places: Iterable[GpuPlacement]) -> None:
        """A slice may still be used by a pod that the kubelet has forgotten already."""
        for place in places:
            if place in self._state.journal.records and self._state.view.instance(place) is not None:
                pids = self._state.pids(place)
                if pids:
                    running = ", ".join(map(str, pids))
                    raise AllocationError(f"{place} is still used by process {running}", retryable=True)

    def _create(self, observation: Observation, places: Sequence[GpuPlacement]) -> None:
        """Bring these GPUs to where all these slices stand, beside what others were promised."""
        wants = [
            *_promises_beside(observation, places),
            *(Want(place) for place in places if place not in observation.held),
        ]
        planned = steps.plan(observation, wants, {place.gpu for place in places})
        for want in planned.blocked:
            if want.place in places:
                retryable = _may_fit_soon(observation, want)
                if not retryable:
                    _log.warning("no room", place=str(want.place), why=want.why, owners=_owners(observation, want))
                raise AllocationError(want.why, retryable=retryable)
        failures = self._executor.carry_out(planned.steps)
        created = self._state.observe()
        for place in places:
            if not _ready(created, place):
                raise _not_created(created, place, failures)

    def _hand_out(self, places: Sequence[GpuPlacement]) -> cdi.Edits:
        journal, now = self._state.journal, self._state.clock()
        observation = self._state.observe()
        fresh = [place for place in places if place not in observation.held]
        ids = tuple(sorted(device_ids.device_id(place) for place in places))
        try:
            edits = self._edits(observation, places)
            journal.hand_out(places, ids)
            self._state.taken_at.update(dict.fromkeys(places, now))
            self._specify(device_ids.set_name(ids), places, edits)
        except (cdi.CdiError, AllocationError):
            if ids in journal.grants:
                journal.revoke(ids)
            held = self._state.observe().held
            for place in fresh:
                if place in held:
                    journal.apply(place, SliceEvent.FREE, owner=None, beside=())
            raise
        return edits

    def _specify(self, name: str, places: Sequence[GpuPlacement], edits: cdi.Edits) -> None:
        """Say what the name means; where the container may see other slices too, the next step will."""
        if self._specs is None:
            return
        if visibility.Shares(self._state.observe()).seen_with(places) is None:
            self._specs.drop(name)
        else:
            self._specs.put(name, edits)

    def _edits(self, observation: Observation, places: Sequence[GpuPlacement]) -> cdi.Edits:
        try:
            return self._injection.for_slices(observation, sorted(places))
        except device.DeviceError as error:
            raise AllocationError(f"cannot tell the device nodes of {places[0]}: {error}", retryable=True) from error
        except DriverFilesError as error:
            raise AllocationError(str(error), retryable=True) from error


def _place(observation: Observation, resource: str, device_id: str) -> GpuPlacement:
    place = observation.place(device_id)
    if place is None or device_ids.resource(place) != resource:
        raise AllocationError(f"{resource}: device {device_id[:80]!r} is none of this node's GPUs")
    return place


def _refuse_new_work(observation: Observation, places: Iterable[GpuPlacement]) -> None:
    """A GPU that is out of service keeps what it has."""
    for place in places:
        if place.gpu in observation.out_of_service and place not in observation.held:
            raise AllocationError(f"GPU {place.gpu} is {observation.out_of_service[place.gpu]}")


def _promises_beside(observation: Observation, places: Sequence[GpuPlacement]) -> list[Want]:
    """Room to keep for other promises; not for those that contradict a promise now redeemed."""
    promised = [promise.place for promise in observation.promised]
    redeemed = [place for place in places if place in promised]
    return [
        Want(place, cut=False) for place in promised if place not in places and not any(map(place.overlaps, redeemed))
    ]


def _ready(observation: Observation, place: GpuPlacement) -> bool:
    record = observation.records.get(place)
    instance = observation.view.instance(place)
    return (
        record is not None
        and record.state in (RecordState.IDLE, RecordState.ALLOCATED)
        and instance is not None
        and instance.whole
        and record.gi_id == instance.gi_id
        and observation.condemned(place) is None
    )


def _not_created(observation: Observation, place: GpuPlacement, failures: Sequence[Failure]) -> AllocationError:
    for failure in failures:
        if failure.step.place.gpu == place.gpu:
            return AllocationError(f"cannot cut {place}: {failure.why}", retryable=not failure.hopeless)
    gpu = observation.view.gpus.get(place.gpu)
    why = gpu.why_not() if gpu is not None else None
    return AllocationError(f"cannot cut {place}: {why or 'the GPU holds something else there'}", retryable=True)


def _owners(observation: Observation, want: Blocked) -> list[str]:
    """The pods whose slices are in the way, for the agent's own log: pods of other namespaces are not told of them."""
    records = (observation.records.get(place) for place in want.blockers)
    return [f"{record.owner.namespace}/{record.owner.pod}" for record in records if record and record.owner]


def _may_fit_soon(observation: Observation, want: Blocked) -> bool:
    """Whether all that is in the way is about to go: slices of pods that are over, or that are stuck."""
    return bool(want.blockers) and all(observation.is_going(blocker) for blocker in want.blockers)
