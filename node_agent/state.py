"""AgentState: what the agent knows at the moment, shared by its step and its answers to the kubelet. Made by service.

The journal is what survives a crash; all else here is found out again: the GPUs as last read, the node's pods, what
PodResources listed, and when something was tried last. It is read and changed only with `lock`, and what belongs to a
GPU is changed only by the holder of that GPU's lock (`gpu_locks`). `observe` gives one moment of it, frozen.
"""

import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

import structlog

from allocator.mig.profile import WHOLE_GPU, GpuPlacement
from kubeclient import timestamps
from node_agent.cluster.pods import PodView
from node_agent.gpu import device
from node_agent.gpu.device import GpuInfo, GpuState
from node_agent.gpu.gpu_locks import GpuLocks, Lock
from node_agent.gpu.instrumented import InstrumentedDevices
from node_agent.gpu.out_of_service import OutOfService
from node_agent.health import faults, marks
from node_agent.health.faults import GpuFault
from node_agent.metrics import Metrics
from node_agent.options import AgentOptions
from node_agent.slices import observed, states
from node_agent.slices.backoff import Backoff
from node_agent.slices.journal import Journal
from node_agent.slices.observation import Observation
from node_agent.slices.observed import ObservedGpu, ObservedNode
from node_agent.slices.ownership import PodResourcesView

_ENERGY_S = 1.0  # a step reads each GPU every two seconds; a call of its own costs an Allocate more than what it reads
_log = structlog.get_logger("agent")


@dataclass(frozen=True, slots=True)
class AllocateRefusal:
    """An Allocate that was refused for good: the resource, and why, for the pod that it was for."""

    resource: str
    message: str


class AgentState:
    """Everything one agent knows."""

    def __init__(
        self,
        node: str,
        devices: device.MigDevices,
        journal: Journal,
        metrics: Metrics,
        options: AgentOptions | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.node = node
        self.lock = Lock()
        self.gpu_locks = GpuLocks(self.lock)
        self.devices = InstrumentedDevices(devices, self.lock, metrics)
        self.journal = journal
        self._metrics = metrics
        self.options = options or AgentOptions()
        self.clock = clock
        self._inbox = threading.Lock()
        self._new_pods: Mapping[str, PodView] | None = None
        self._new_listed_at = float("-inf")
        self._new_listing: PodResourcesView | None = None
        self._new_events: list[device.DeviceEvent] = []
        self._new_annotation = ""
        self._refusals: list[AllocateRefusal] = []
        self.view = ObservedNode()
        self.pods: Mapping[str, PodView] | None = None
        self.pods_listed_at = float("-inf")  # when the list was asked for on which the pods rest
        self.wants_pods = False  # a slice waits for a younger list
        self.listing: PodResourcesView | None = None
        self.taken_at: dict[GpuPlacement, float] = {}
        self.gpu_taken_at: dict[str, float] = {}
        self.backoff = Backoff(self.options.retry_s, clock)
        self._mode_notes: Mapping[str, str] = {}  # by GPU: why MIG mode is not in force though asked for
        self._asked_out = OutOfService(self.options.out_of_service_gpus, self.options.exclude_gpus)
        self._out_of_service: Mapping[str, str] = {}
        self._energy_mj: dict[str, int] = {}  # by GPU, as last read
        self._energy_at: dict[str, float] = {}  # by GPU, when that was
        self.began = clock()
        self._infos: dict[str, GpuInfo] = {}
        self._read_all_at: float | None = None
        self._changed: set[str] = set()  # GPUs of which something was reported, or that were left out, since
        self._observation = Observation()

    # The inbox

    def on_pods(self, pods: Mapping[str, PodView] | None, listed_at: float = float("-inf")) -> None:
        """The node's pods that ask for slices, by UID. None, before the first list, changes nothing.

        `listed_at` is when the last list of them was asked for, by `clock`.
        """
        if pods is not None:
            with self._inbox:
                self._new_pods, self._new_listed_at = pods, listed_at

    def on_listing(self, listing: PodResourcesView) -> None:
        """What PodResources answered; older than what is known is ignored."""
        with self._inbox:
            if self._new_listing is None or listing.asked_at >= self._new_listing.asked_at:
                self._new_listing = listing

    def on_events(self, events: Iterable[device.DeviceEvent]) -> None:
        """What the driver reported: what it says is ill is known with the next `ingest`."""
        with self._inbox:
            self._new_events += events

    def on_annotation(self, text: str) -> None:
        """What the node's annotation says is out of service."""
        with self._inbox:
            self._new_annotation = text

    def on_refusal(self, refusal: AllocateRefusal) -> None:
        """An Allocate was refused; its pod is told with the next step."""
        with self._inbox:
            self._refusals.append(refusal)

    def take_refusals(self) -> list[AllocateRefusal]:
        """The refusals since the last call."""
        with self._inbox:
            refusals, self._refusals = self._refusals, []
        return refusals

    def ingest(self) -> None:
        """Make known what came in since the last call. To be called first after taking `lock`.

        The inbox never waits for `lock`: a driver call may take a minute, and the event loop must not.
        """
        with self._inbox:
            events, self._new_events = self._new_events, []
            pods, self.listing = self._new_pods, self._new_listing
            self.pods_listed_at = self._new_listed_at
            annotation = self._new_annotation
        if annotation != self._asked_out.annotation:
            self._asked_out = replace(self._asked_out, annotation=annotation)
        if pods != self.pods:
            self.pods = pods
        for event in events:
            self._changed.add(event.gpu_uuid)
            fault = faults.fault(event)
            if fault is not None:
                self._fall_ill(fault)

    def _fall_ill(self, fault: GpuFault) -> None:
        """Mark, log and count what a fault says is ill."""
        policy = self.options.health
        fault_class = policy.class_of(fault)
        self._metrics.count_fault(fault.code, fault_class.value, memory=fault.xid is None)
        _log.warning(
            "the driver reports a fault",
            gpu=fault.gpu,
            gi=fault.gi_id,
            ci=fault.ci_id,
            cause=fault.cause,
            fault_class=fault_class.value,
        )
        gpu = self.view.gpus.get(fault.gpu)
        standing = [instance.gi_id for instance in gpu.instances] if gpu else []
        whole = gpu is not None and gpu.info.state in observed.WHOLE
        self.journal.mark(
            marks.with_fault(self.journal.marks, fault, policy, standing, whole=whole, now=timestamps.now())
        )

    # Reading the GPUs

    def refresh(self) -> None:
        """Read the GPUs that the driver reported events for, or all if one was unreadable or the interval has elapsed.

        To be called without the lock. GPUs whose lock another thread has are read next time.
        """
        with self.lock:
            unread = any(gpu.unread for gpu in self.view.gpus.values())
            now = self.clock()
            due = self._read_all_at is None or unread or now - self._read_all_at >= self.options.discover_s
            if not due and not self._changed:
                return
            if due:
                self._read_all_at = now
            changed, self._changed = self._changed, set()
            self.discover()
            gpus = [uuid for uuid in self._infos if due or uuid in changed or uuid not in self.view.gpus]
            if self.view.trouble:
                return
        for uuid in gpus:
            with self.gpu_locks.try_hold(uuid) as held:
                if held:
                    self.refresh_gpus([uuid])
            if not held:
                with self.lock:
                    self._changed.add(uuid)

    def discover(self) -> None:
        """Ask which GPUs there are. What cannot be read is remembered as it was."""
        try:
            infos = {info.uuid: self._unless_excluded(info) for info in self.devices.discover()}
        except device.DeviceError as error:
            self._read_all_at = None
            if isinstance(error, device.DriverNotLoadedError):
                self.journal.mark(marks.after_loss(self.journal.marks))
            unreadable = {
                uuid: ObservedGpu(gpu.info, gpu.instances, readable=False, trouble=str(error))
                for uuid, gpu in self.view.gpus.items()
            }
            self._see(unreadable, str(error))
            return
        self._infos = infos
        gone = [uuid for uuid, _ in self.journal.marks if uuid not in infos or infos[uuid].state is GpuState.LOST]
        self.journal.mark(marks.after_loss(self.journal.marks, gone))
        self._see({uuid: gpu for uuid, gpu in self.view.gpus.items() if uuid in infos})

    def _see(self, gpus: Mapping[str, ObservedGpu], trouble: str = "") -> None:
        """Keep these GPUs in view. What is as it was stays the same object, and so does what was worked out of it."""
        if gpus != self.view.gpus or trouble != self.view.trouble:
            self.view = ObservedNode(gpus, trouble)

    def _unless_excluded(self, info: GpuInfo) -> GpuInfo:
        """A GPU as it is to be treated. One that containers still have slices of is left alone once they are over."""
        if info.uuid in self._holders() or not self.options.exclude_gpus.covers(info):
            return info
        detail = "left alone: the agent's setting exclude_gpus names it"
        return replace(info, state=GpuState.EXCLUDED, detail=detail, catalogue=None, live=False)

    def _holders(self) -> set[str]:
        """The GPUs of which containers have slices, as the journal knows."""
        return {place.gpu for place, record in self.journal.records.items() if record.state in states.HELD}

    def refresh_gpus(self, gpus: Iterable[str]) -> None:
        """Read some GPUs. The caller holds their locks."""
        infos = [self._infos[uuid] for uuid in gpus if uuid in self._infos]
        read = observed.read_gpus(self.devices, infos, self.view.gpus)
        self._see({**self.view.gpus, **read}, self.view.trouble)
        for gpu in read.values():
            self._judge(gpu)

    def _judge(self, gpu: ObservedGpu) -> None:
        """What the reading of a GPU says of its marks. Its energy counter is kept in mind, for the day when it falls
        ill and cannot be read any more. Of a well GPU it is read once per step, not at each reading of an Allocate.
        """
        well = not any(uuid == gpu.uuid for uuid, _ in self.journal.marks)
        if well and gpu.readable and self.clock() - self._energy_at.get(gpu.uuid, -math.inf) < _ENERGY_S:
            return
        energy_mj = None
        if gpu.readable:
            with suppress(device.DeviceError):
                energy_mj = self.devices.energy_mj(gpu.uuid)
            present = [instance.gi_id for instance in gpu.instances]
            self.journal.mark(marks.after_reading(self.journal.marks, gpu.uuid, present, energy_mj))
        if energy_mj is None:
            self.journal.mark(marks.with_counter(self.journal.marks, gpu.uuid, self._energy_mj.get(gpu.uuid)))
        else:
            self._energy_mj[gpu.uuid] = energy_mj
            self._energy_at[gpu.uuid] = self.clock()

    def forget_instance(self, place: GpuPlacement) -> None:
        """A slice is gone from a GPU whose lock the caller holds. Forgotten at once: an instance without a record would
        count as foreign, and be in the way, for every thread that asks before the GPU is read again, which may be a
        driver call away.
        """
        gpu = self.view.gpus.get(place.gpu)
        if gpu is None:
            return
        gone = gpu.by_placement.get(place.placement)
        if gone is not None:
            self.journal.mark(marks.without_instance(self.journal.marks, place.gpu, gone.gi_id))
        instances = tuple(instance for instance in gpu.instances if instance.placement != place.placement)
        self._see({**self.view.gpus, place.gpu: replace(gpu, instances=instances)}, self.view.trouble)

    def note_mode(self, gpu: str, note: str | None) -> None:
        """Why MIG mode is not in force on a GPU though asked for; None where it is, or was not asked for."""
        if self._mode_notes.get(gpu) != note:
            others = {uuid: known for uuid, known in self._mode_notes.items() if uuid != gpu}
            self._mode_notes = others if note is None else {**others, gpu: note}

    # Questions

    @property
    def out_of_service(self) -> Mapping[str, str]:
        """Why, by UUID, of the GPUs that take no new work. The same object as long as it says the same."""
        reasons = self._asked_out.reasons(gpu.info for gpu in self.view.gpus.values())
        if reasons != self._out_of_service:
            self._out_of_service = reasons
        return self._out_of_service

    @property
    def annotation_problem(self) -> str:
        """What of the node's annotation says nothing, in words."""
        return self._asked_out.problem([gpu.info for gpu in self.view.gpus.values()])

    def observe(self) -> Observation:
        """What is known at this moment. With the lock."""
        self._observation = self._observation.followed_by(
            Observation(
                self.view,
                self.journal.records,
                self.journal.grants,
                self.pods,
                self.listing,
                self.backoff.stuck,
                self.journal.marks,
                self._mode_notes,
                self.out_of_service,
            )
        )
        return self._observation

    def whole_gpus(self) -> dict[str, bool]:
        """GPUs to be given away whole, by UUID, and whether they are well and in service, or with a container still."""
        out = self.out_of_service
        held = {place.gpu for place in self.observe().held}
        managed = self.options.manage_mig_mode
        return {
            gpu.uuid: self.observe().closed(gpu.uuid) is None and (gpu.uuid not in out or self._is_listed(gpu.uuid))
            for gpu in self.view.gpus.values()
            if gpu.uuid not in held
            and (
                gpu.info.state is GpuState.NOT_CAPABLE
                or (gpu.info.state is GpuState.MIG_OFF and not (gpu.info.mode and managed.covers(gpu.info)))
            )
        }

    def may_be_used(self, gpu: str) -> bool:
        """Whether a container has a GPU as a whole, or may have got it since PodResources was asked."""
        listing = self.listing
        given_at = self.gpu_taken_at.get(gpu, float("-inf"))
        return listing is None or listing.asked_at <= given_at + self.options.grace_s or self._is_listed(gpu)

    def _is_listed(self, gpu: str) -> bool:
        """Whether PodResources says that a container has a GPU as a whole."""
        return self.listing is not None and gpu in self.listing.ids(WHOLE_GPU)

    def pids(self, place: GpuPlacement) -> tuple[int, ...] | None:
        """Processes on the slice at a place; None where the driver cannot tell now."""
        gpu = self.view.gpus.get(place.gpu)
        if gpu is None or not gpu.readable:
            return None
        instance = gpu.by_placement.get(place.placement)
        if instance is None:
            return ()
        try:
            return tuple(process.pid for process in self.devices.processes(place.gpu, instance.gi_id))
        except device.StaleHandleError:
            return ()
        except device.DeviceError:
            return None

    def prune(self) -> None:
        """Forget failures whose time has passed, and what belongs to slices that are no more."""
        self.backoff.prune()
        self.taken_at = {place: at for place, at in self.taken_at.items() if place in self.journal.records}
