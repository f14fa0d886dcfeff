"""Executor: carries planned steps out, each one journalled before the GPU is touched. The step and Allocate share it.

The caller holds the GPUs' locks. Slices that go together are retired in one write of the journal. After a failure it
reads the GPU again rather than believe the error, and leaves the rest of that GPU's steps for the next round. A process
on a slice is never disturbed: such a slice is not destroyed, and its place counts as stuck for a while.
"""

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import structlog

from allocator.mig.profile import GpuPlacement
from node_agent.gpu import device
from node_agent.gpu.device import GpuInstance
from node_agent.metrics import Metrics
from node_agent.slices.backoff import Backoff
from node_agent.slices.journal import Journal
from node_agent.slices.states import RecordState, SliceEvent
from node_agent.slices.steps import Action, Step

_log = structlog.get_logger("executor")


@dataclass(frozen=True, slots=True)
class Failure:
    """A step that could not be done: why, and whether trying again may help."""

    step: Step
    why: str
    hopeless: bool = False


class ObservedGpus(Protocol):
    """What is known of the GPUs' instances, kept in step with what is done to them."""

    def forget_instance(self, place: GpuPlacement) -> None:
        """A slice is gone from a GPU. Told before the journal is."""

    def refresh_gpus(self, gpus: Iterable[str]) -> None:
        """Read these GPUs again."""


class Executor:
    """Changes GPUs and journal together, and keeps what is known of the GPUs and what failed in step with it."""

    def __init__(
        self, devices: device.MigDevices, journal: Journal, gpus: ObservedGpus, backoff: Backoff, metrics: Metrics
    ) -> None:
        self._devices = devices
        self._journal = journal
        self._gpus = gpus
        self._backoff = backoff
        self._metrics = metrics

    def carry_out(self, steps: Sequence[Step]) -> list[Failure]:
        """Do the steps in order, note what failed, and read the GPUs that changed; the failures, of each GPU at most
        one. The caller holds the GPUs' locks. Raises JournalError.
        """
        failures = self._run(steps)
        for failure in failures:
            self._backoff.failed(failure.step)
        touched = {step.place.gpu for step in steps if step.action is not Action.NOTE}
        if touched:
            self._gpus.refresh_gpus(touched)
        return failures

    def _run(self, steps: Sequence[Step]) -> list[Failure]:
        failures: list[Failure] = []
        broken: set[str] = set()
        unused: set[GpuPlacement] = set()  # checked for processes, and retired
        for number, step in enumerate(steps):
            if step.place.gpu in broken:
                continue
            try:
                self._do(step, steps[number:], unused)
            except device.DeviceError as error:
                broken.add(step.place.gpu)
                hopeless = isinstance(
                    error, (device.InvalidArgumentError, device.NotSupportedError, device.NoPermissionError)
                )
                failures.append(Failure(step, f"{step.place}: {error}", hopeless))
                self._metrics.failures.labels(step.action.value).inc()
                _log.warning("step failed", action=step.action.value, place=str(step.place), error=str(error))
        return failures

    def _do(self, step: Step, following: Sequence[Step], unused: set[GpuPlacement]) -> None:
        if step.action is Action.NOTE:
            self._note(step)
        elif step.action is Action.UNDO:
            self._undo(step)
        elif step.action is Action.DESTROY:
            self._destroy(step, following, unused)
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

    def _destroy(self, step: Step, following: Sequence[Step], unused: set[GpuPlacement]) -> None:
        if step.instance is None:
            return
        if step.place not in unused:
            self._refuse_if_used(step.place, step.instance)
            together = [step, *self._also_unused(step, following[1:])]
            self._retire(together)
            unused |= {other.place for other in together}
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
        unused = []
        for other in following:
            if other.action is not Action.DESTROY or other.place.gpu != step.place.gpu or other.instance is None:
                break
            with suppress(device.DeviceError):
                self._refuse_if_used(other.place, other.instance)
                unused.append(other)
                continue
            break
        return unused

    def _retire(self, steps: Sequence[Step]) -> None:
        records = self._journal.records
        self._journal.retire([step.place for step in steps if records[step.place].state is not RecordState.DESTROYING])

    def _remove(self, place: GpuPlacement, instance: GpuInstance) -> None:
        """Destroy an instance; one that is gone, or whose id names another place by now, needs no more."""
        with suppress(device.StaleHandleError):
            self._devices.destroy(place.gpu, instance.gi_id, place.placement)
        self._gpus.forget_instance(place)

    def _refuse_if_used(self, place: GpuPlacement, instance: GpuInstance) -> None:
        pids = [str(p.pid) for p in self._devices.processes(place.gpu, instance.gi_id)]
        if pids:
            raise device.DeviceBusyError(f"in use by process {', '.join(pids)}")

    def _still_whole(self, place: GpuPlacement) -> bool:
        with suppress(device.DeviceError):
            return any(i.placement == place.placement and i.whole for i in self._devices.instances(place.gpu))
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
            raise  # not known whether it was made: the intent stays until the GPU answers again
        except device.DeviceError:
            self._settle(place)
            raise
        self._made(place, made)
        self._metrics.cut_seconds.observe(time.perf_counter() - began)
        _log.info("cut", place=str(place), mig_uuid=made.mig_uuid, seconds=round(time.perf_counter() - began, 3))

    def _settle(self, place: GpuPlacement) -> None:
        """After a failed cut: the intent is void if nothing stands there; otherwise the next round sees to it."""
        with suppress(device.DeviceError):
            if not any(i.placement == place.placement for i in self._devices.instances(place.gpu)):
                self._journal.apply(place, SliceEvent.FAILED)

    def _made(self, place: GpuPlacement, made: GpuInstance) -> None:
        ci = made.compute_instances[0].ci_id if made.compute_instances else None
        self._journal.apply(place, SliceEvent.MADE, gi_id=made.gi_id, ci_id=ci, mig_uuid=made.mig_uuid or "")
