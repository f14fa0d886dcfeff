"""Executor: carries planned steps out, each one journalled before the GPU is touched. Used by agent.

The GPUs' turns are the caller's. Slices that go together are retired in one write of the journal. After a failure it
looks at the GPU again rather than believe the error, and leaves the rest of that GPU's steps for the next round. A
process on a slice is never disturbed: such a slice is not destroyed, and its place counts as stuck for a while.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog

from allocator.mig.profile import GpuPlacement
from node_agent.gpu import device
from node_agent.gpu.device import GpuInstance
from node_agent.metrics import Metrics
from node_agent.slices.journal import Journal
from node_agent.slices.states import RecordState, SliceEvent
from node_agent.slices.steps import Action, Step

_log = structlog.get_logger("cutter")


@dataclass(frozen=True, slots=True)
class Failure:
    """A step that could not be done: why, and whether trying again may help."""

    step: Step
    why: str
    hopeless: bool = False


class Executor:
    """Changes GPUs and journal together. `gone` is told of an instance that is there no more, before the journal is."""

    def __init__(
        self, devices: device.MigDevices, journal: Journal, metrics: Metrics, gone: Callable[[GpuPlacement], None]
    ) -> None:
        self._devices = devices
        self._journal = journal
        self._metrics = metrics
        self._gone = gone
        self._unused: set[GpuPlacement] = set()  # in this run: looked at, and retired

    def run(self, steps: Sequence[Step]) -> list[Failure]:
        """Do the steps in order; those that failed, of each GPU at most one. Raises JournalError."""
        failures: list[Failure] = []
        broken: set[str] = set()
        self._unused = set()
        for number, step in enumerate(steps):
            if step.place.gpu in broken:
                continue
            try:
                self._do(step, steps[number:])
            except device.DeviceError as error:
                broken.add(step.place.gpu)
                hopeless = isinstance(
                    error, (device.InvalidArgumentError, device.NotSupportedError, device.NoPermissionError)
                )
                failures.append(Failure(step, f"{step.place}: {error}", hopeless))
                self._metrics.failures.labels(step.action.value).inc()
                _log.warning("step failed", action=step.action.value, place=str(step.place), error=str(error))
        return failures

    def _do(self, step: Step, following: Sequence[Step]) -> None:
        if step.action is Action.NOTE:
            self._note(step)
        elif step.action is Action.UNDO:
            self._undo(step)
        elif step.action is Action.DESTROY:
            self._destroy(step, following)
        else:
            self._create(step)

    def _note(self, step: Step) -> None:
        if step.event is SliceEvent.MADE and step.instance is not None:
            self._made(step.place, step.instance)
        elif step.event is not None:
            self._journal.apply(step.place, step.event)

    def _undo(self, step: Step) -> None:
        """Take away what is left of an unfinished cut, or of a slice whose compute instance is gone."""
        record = self._journal.records[step.place]
        if step.instance is None:
            return
        self._refuse_if_used(step.place, step.instance)
        if record.state is RecordState.ALLOCATED:
            self._journal.apply(step.place, SliceEvent.RESTORE)
        self._remove(step.place, step.instance)
        if record.state is RecordState.CUTTING:
            self._journal.apply(step.place, SliceEvent.FAILED)

    def _destroy(self, step: Step, following: Sequence[Step]) -> None:
        if step.instance is None:
            return
        if step.place not in self._unused:
            self._refuse_if_used(step.place, step.instance)
            self._retire([step, *self._also_unused(step, following[1:])])
        began = time.perf_counter()
        try:
            self._remove(step.place, step.instance)
        except device.DeviceBusyError:
            if self._still_whole(step.place):
                self._journal.apply(step.place, SliceEvent.REFUSED)
            raise
        self._journal.apply(step.place, SliceEvent.GONE)
        self._metrics.destroy_seconds.observe(time.perf_counter() - began)
        _log.info("destroyed", place=str(step.place))

    def _also_unused(self, step: Step, following: Sequence[Step]) -> list[Step]:
        """The next steps if they destroy, too, on the same GPU, up to one whose slice is in use."""
        found = []
        for one in following:
            if one.action is not Action.DESTROY or one.place.gpu != step.place.gpu or one.instance is None:
                break
            with suppress(device.DeviceError):
                self._refuse_if_used(one.place, one.instance)
                found.append(one)
                continue
            break
        return found

    def _retire(self, steps: Sequence[Step]) -> None:
        records = self._journal.records
        self._journal.retire([one.place for one in steps if records[one.place].state is not RecordState.DESTROYING])
        self._unused |= {one.place for one in steps}

    def _remove(self, place: GpuPlacement, instance: GpuInstance) -> None:
        """Destroy an instance; one that is gone, or whose id names another place by now, needs no more."""
        with suppress(device.StaleHandleError):
            self._devices.destroy(place.gpu, instance.gi_id, place.placement)
        self._gone(place)

    def _refuse_if_used(self, place: GpuPlacement, instance: GpuInstance) -> None:
        pids = [str(p.pid) for p in self._devices.processes(place.gpu, instance.gi_id)]
        if pids:
            raise device.DeviceBusyError(f"in use by process {', '.join(pids)}")

    def _still_whole(self, place: GpuPlacement) -> bool:
        with suppress(device.DeviceError):
            return any(one.placement == place.placement and one.whole for one in self._devices.instances(place.gpu))
        return False

    def _create(self, step: Step) -> None:
        place = step.place
        if step.action is Action.CREATE:
            self._journal.create(place)
        elif self._journal.records[place].state is not RecordState.RESTORING:
            self._journal.apply(place, SliceEvent.RESTORE)
        began = time.perf_counter()
        try:
            made = self._devices.create(place.gpu, place.placement)
        except device.DeadlineExceededError:
            raise  # nobody knows: the intent stays until the GPU answers again
        except device.DeviceError:
            self._settle(place)
            raise
        self._made(place, made)
        self._metrics.cut_seconds.observe(time.perf_counter() - began)
        _log.info("cut", place=str(place), mig_uuid=made.mig_uuid, seconds=round(time.perf_counter() - began, 3))

    def _settle(self, place: GpuPlacement) -> None:
        """After a failed cut: the intent is void if nothing stands there; otherwise the next round sees to it."""
        with suppress(device.DeviceError):
            if not any(one.placement == place.placement for one in self._devices.instances(place.gpu)):
                self._journal.apply(place, SliceEvent.FAILED)

    def _made(self, place: GpuPlacement, made: GpuInstance) -> None:
        ci = made.compute_instances[0].ci_id if made.compute_instances else None
        self._journal.apply(place, SliceEvent.MADE, gi_id=made.gi_id, ci_id=ci, mig_uuid=made.mig_uuid or "")
