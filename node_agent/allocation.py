"""Allocation: the agent's answers to the kubelet: what is offered, what it should pick, what a container gets.

`allocate` makes one attempt and says whether another may help; `service` repeats it until its deadline, because the
kubelet has none and admits no other pod meanwhile. It is idempotent: the kubelet asks again for the ids of an init
container, and gives ids of an ended pod to the next one before we noticed its end.
"""

from collections.abc import Collection, Iterable, Sequence

from allocator import errors
from allocator.mig.profile import GpuPlacement, profile_name
from node_agent.containers import cdi, injection, visibility
from node_agent.gpu import device
from node_agent.reconciler import Reconciler, waiting_for
from node_agent.slices import device_ids, preferred_allocation, states, steps
from node_agent.slices.executor import Failure
from node_agent.slices.observed import ObservedNode
from node_agent.slices.ownership import PodIndex
from node_agent.slices.states import RecordState, SliceEvent
from node_agent.slices.steps import Blocked, Want
from node_agent.state import AgentState


class AllocationError(errors.MigschedError):
    """The kubelet's Allocate cannot be answered. `retryable` says that it may be in a moment."""

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable


class Allocation:
    """What the device plugins ask. Blocks on the driver: call it from a thread."""

    def __init__(self, state: AgentState, agent: Reconciler, specs: cdi.Specs | None) -> None:
        self._state = state
        self._agent = agent
        self._specs = specs

    def offers(self) -> dict[str, dict[str, bool]]:
        """Device ids and whether they are healthy, by resource.

        Every placement is offered, always healthy: which of them can exist together is the scheduler's and
        Allocate's concern, and an id that a container has must never look unwell for want of room.
        """
        with self._state.lock:
            found: dict[str, dict[str, bool]] = {}
            for name, place in self._state.offered().items():
                found.setdefault(device_ids.resource(place), {})[name] = True
            whole = self._state.whole_gpus()
            if whole:
                found[device_ids.WHOLE_GPU] = whole
            return found

    def expects(self, resource: str, available: Collection[str], size: int) -> bool:
        """Whether as many promises of a resource as are asked for are known and can be kept with the ids available."""
        with self._state.lock:
            self._state.ingest()
            promised = [one.place for one in self._state.promised() if device_ids.resource(one.place) == resource]
            return sum(device_ids.device_id(one) in available for one in promised) >= size

    def prefer(self, resource: str, available: Sequence[str], must: Sequence[str], size: int) -> list[str]:
        """The ids the kubelet should pick."""
        if resource == device_ids.WHOLE_GPU:
            rest = [one for one in sorted(available) if one not in must]
            return [*must, *rest][:size]
        with self._state.lock:
            self._state.ingest()
            return preferred_allocation.prefer(self._state.situation(), profile_name(resource), available, must, size)

    def allocate(self, resource: str, ids: Sequence[str]) -> cdi.Edits:
        """Cut what is not there yet and hand it out, all or nothing. One attempt.

        Raises AllocationError, and JournalError or CdiError where these cannot be written.
        """
        if resource == device_ids.WHOLE_GPU:
            with self._state.gpu_locks.hold(ids):
                return self._whole(ids)
        with self._state.lock:
            places = [self._place(resource, one) for one in ids]
        with self._state.gpu_locks.hold(one.gpu for one in places):
            self._state.ingest()
            self._state.refresh_gpus({one.gpu for one in places})
            self._refuse_if_used(places)
            self._create(places)
            return self._hand_out(places)

    def refused(self, resource: str, why: str) -> None:
        """Allocate was refused for good: tell the pod, if it is clear which one it was."""
        with self._state.lock:
            if resource != device_ids.WHOLE_GPU:
                pods = waiting_for(list((self._state.pods or {}).values()), profile_name(resource))
                if len(pods) == 1:
                    self._agent.report_refusal(pods[0], why)

    def _whole(self, ids: Sequence[str]) -> cdi.Edits:
        self._state.ingest()
        offered = self._state.whole_gpus()
        for one in ids:
            if one not in offered:
                raise AllocationError(f"GPU {one} is not offered as a whole: it is in MIG mode or not on this node")
            if not offered[one]:
                raise AllocationError(f"GPU {one} is not well: {self._state.faults.get(one, 'see the MigNode')}")
        now = self._state.clock()
        self._state.gpu_taken_at.update(dict.fromkeys(ids, now))
        return injection.for_gpus(self._state, ids)

    def _place(self, resource: str, name: str) -> GpuPlacement:
        place = self._state.places().get(name)
        if place is None or device_ids.resource(place) != resource:
            raise AllocationError(f"{resource}: device {name[:80]!r} is none of this node's GPUs")
        return place

    def _refuse_if_used(self, places: Iterable[GpuPlacement]) -> None:
        """A slice may still be used by a pod that the kubelet has forgotten already."""
        for place in places:
            if place in self._state.journal.records and self._state.view.instance(place) is not None:
                pids = self._state.pids(place)
                if pids:
                    running = ", ".join(map(str, pids))
                    raise AllocationError(f"{place} is still used by process {running}", retryable=True)

    def _create(self, places: Sequence[GpuPlacement]) -> None:
        """Bring these GPUs to where all these slices stand, beside what others were promised."""
        gpus = {one.gpu for one in places}
        planned = steps.plan(
            ObservedNode({uuid: gpu for uuid, gpu in self._state.view.gpus.items() if uuid in gpus}),
            {p: r for p, r in self._state.journal.records.items() if p.gpu in gpus},
            [*self._promises_beside(places), *(Want(one) for one in places if not self._held(one))],
            self._state.stuck,
        )
        for one in planned.misfits:
            if one.place in places:
                raise AllocationError(one.why, retryable=self._will_pass(one))
        failures = self._agent.carry_out(planned)
        for place in places:
            if not self._ready(place):
                raise self._failed(place, failures)

    def _promises_beside(self, places: Sequence[GpuPlacement]) -> list[Want]:
        """Room to keep for other promises; not for those that contradict a promise now redeemed."""
        promised = [one.place for one in self._state.promised()]
        redeemed = [one for one in places if one in promised]
        return [
            Want(one, cut=False)
            for one in promised
            if one not in places and not any(p.gpu == one.gpu and p.placement.overlaps(one.placement) for p in redeemed)
        ]

    def _held(self, place: GpuPlacement) -> bool:
        record = self._state.journal.records.get(place)
        return record is not None and record.state in states.HELD

    def _ready(self, place: GpuPlacement) -> bool:
        record = self._state.journal.records.get(place)
        there = self._state.view.instance(place)
        return (
            record is not None
            and record.state in (RecordState.IDLE, RecordState.ALLOCATED)
            and there is not None
            and there.whole
            and record.gi_id == there.gi_id
        )

    def _failed(self, place: GpuPlacement, failures: Sequence[Failure]) -> AllocationError:
        for one in failures:
            if one.step.place.gpu == place.gpu:
                return AllocationError(f"cannot cut {place}: {one.why}", retryable=not one.hopeless)
        gpu = self._state.view.gpus.get(place.gpu)
        why = gpu.why_not() if gpu is not None else ""
        return AllocationError(f"cannot cut {place}: {why or 'the GPU holds something else there'}", retryable=True)

    def _will_pass(self, misfit: Blocked) -> bool:
        """Whether all that is in the way is about to go: slices of pods that are over, or that are stuck."""
        return bool(misfit.blockers) and all(self._is_going(one) for one in misfit.blockers)

    def _is_going(self, place: GpuPlacement) -> bool:
        if place in self._state.stuck:
            return True
        record, pods, listing = self._state.journal.records.get(place), self._state.pods, self._state.listing
        if record is None:
            return False
        return pods is None or listing is None or not PodIndex(pods, listing).wants_back(record)

    def _hand_out(self, places: Sequence[GpuPlacement]) -> cdi.Edits:
        journal, now = self._state.journal, self._state.clock()
        fresh = [one for one in places if not self._held(one)]
        ids = tuple(sorted(device_ids.device_id(one) for one in places))
        try:
            edits = self._edits(places)
            journal.hand_out(places, ids)
            self._state.taken_at.update(dict.fromkeys(places, now))
            self._specify(device_ids.set_name(ids), places, edits)
        except (cdi.CdiError, AllocationError):
            if ids in journal.grants:
                journal.revoke(ids)
            for place in fresh:
                if self._held(place):
                    journal.apply(place, SliceEvent.FREE, owner=None)
            raise
        return edits

    def _specify(self, name: str, places: Sequence[GpuPlacement], edits: cdi.Edits) -> None:
        """Say what the name means; where the container may see other slices too, the next step will."""
        if self._specs is None:
            return
        if visibility.Shares(self._state.journal.records, self._state.pods or {}).seen_with(places) is None:
            self._specs.drop(name)
        else:
            self._specs.put(name, edits)

    def _edits(self, places: Sequence[GpuPlacement]) -> cdi.Edits:
        try:
            return injection.for_slices(self._state, sorted(places))
        except device.DeviceError as error:
            raise AllocationError(f"cannot tell the device nodes of {places[0]}: {error}", retryable=True) from error
