"""AgentState: what the agent knows at the moment, shared by its step and its answers to the kubelet. Made by service.

The journal is what survives a crash; all else here is found out again: the GPUs as last seen, the node's pods, what
PodResources listed, and when something was tried last. Whoever reads or changes any of it holds `lock`, and whoever
changes what belongs to a GPU has its turn (`turns`).
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from allocator.mig.catalogue import Catalogue
from allocator.mig.profile import GpuPlacement
from node_agent.cluster.pods import PodView
from node_agent.gpu import device, selection
from node_agent.gpu.device import EventKind, GpuInfo, GpuState
from node_agent.gpu.gpu_locks import GpuLocks, Lock
from node_agent.gpu.instrumented import InstrumentedDevices
from node_agent.gpu.selection import GpuSelection
from node_agent.metrics import Metrics
from node_agent.slices import device_ids, observed, promises, states
from node_agent.slices.journal import Journal
from node_agent.slices.observed import ObservedGpu, ObservedNode
from node_agent.slices.ownership import PodResourcesView
from node_agent.slices.preferred_allocation import AllocationContext
from node_agent.slices.promises import OutstandingPromise


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """How the agent behaves; times in seconds."""

    grace_s: float = 30.0  # how long after Allocate an id may be missing from PodResources
    retry_s: float = 5.0  # before something that failed is tried again
    discover_s: float = 10.0  # between looks at GPUs of which the driver reports nothing: events can be lost
    manage_mig_mode: GpuSelection = selection.NONE
    observer: bool = False
    real_nodes: bool = True  # device nodes exist; with simulated GPUs there are none


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
        self.options = options or AgentOptions()
        self.clock = clock
        self._inbox = threading.Lock()
        self._new_pods: Mapping[str, PodView] | None = None
        self._new_listing: PodResourcesView | None = None
        self._new_events: list[device.DeviceEvent] = []
        self.view = ObservedNode()
        self.pods: Mapping[str, PodView] | None = None
        self.listing: PodResourcesView | None = None
        self.taken_at: dict[GpuPlacement, float] = {}
        self.gpu_taken_at: dict[str, float] = {}
        self.stuck: dict[GpuPlacement, tuple[float, str]] = {}  # until when, and why
        self.retry: dict[GpuPlacement, float] = {}
        self.faults: dict[str, str] = {}
        self.mode_notes: dict[str, str] = {}  # by GPU: why MIG mode is not in force though asked for
        self.began = clock()
        self._infos: dict[str, GpuInfo] = {}
        self._offered: tuple[dict[str, Catalogue], dict[str, GpuPlacement]] = {}, {}
        self._looked: float | None = None  # when all GPUs were looked at last
        self._changed: set[str] = set()  # GPUs of which something was reported, or that were left out, since

    # What the world tells

    def on_pods(self, pods: Mapping[str, PodView]) -> None:
        """The node's pods that ask for slices, by UID."""
        with self._inbox:
            self._new_pods = pods

    def on_listing(self, listing: PodResourcesView) -> None:
        """What PodResources answered; older than what is known is ignored."""
        with self._inbox:
            if self._new_listing is None or listing.asked_at >= self._new_listing.asked_at:
                self._new_listing = listing

    def on_events(self, events: Iterable[device.DeviceEvent]) -> None:
        """What the driver reported: a fault that concerns a whole GPU marks it until the agent starts anew."""
        with self._inbox:
            self._new_events += events

    def ingest(self) -> None:
        """Make what was seen since last time known. Whoever holds `lock` calls it first.

        Seeing never waits for `lock`: a driver call may take a minute, and the event loop must not.
        """
        with self._inbox:
            events, self._new_events = self._new_events, []
            self.pods, self.listing = self._new_pods, self._new_listing
        for event in events:
            self._changed.add(event.gpu_uuid)
            if event.kind is EventKind.FAULT and event.critical and event.gi_id is None:
                self.faults[event.gpu_uuid] = f"XID {event.xid} was reported; reset the GPU or drain the node"

    # Looking

    def refresh(self) -> None:
        """Look at GPUs of which the driver reported something; at all where one could not be read or it is time.

        To be called without the lock. GPUs whose turn somebody has are looked at next time.
        """
        with self.lock:
            unread = any(not gpu.readable for gpu in self.view.gpus.values())
            due = self._looked is None or unread or self.clock() - self._looked >= self.options.discover_s
            if not due and not self._changed:
                return
            if due:
                self._looked = self.clock()
            changed, self._changed = self._changed, set()
            self.discover()
            gpus = [uuid for uuid in self._infos if due or uuid in changed or uuid not in self.view.gpus]
            if self.view.trouble:
                return
        for uuid in gpus:
            with self.gpu_locks.try_hold(uuid) as mine:
                if mine:
                    self.refresh_gpus([uuid])
            if not mine:
                with self.lock:
                    self._changed.add(uuid)

    def discover(self) -> None:
        """Ask which GPUs there are. What cannot be seen is remembered as it was."""
        try:
            found = {one.uuid: one for one in self.devices.discover()}
        except device.DeviceError as error:
            self._looked = None
            blind = {
                uuid: ObservedGpu(gpu.info, gpu.instances, readable=False, trouble=str(error))
                for uuid, gpu in self.view.gpus.items()
            }
            self.view = ObservedNode(blind, str(error))
            return
        self._infos = found
        self.view = ObservedNode({uuid: gpu for uuid, gpu in self.view.gpus.items() if uuid in found})

    def refresh_gpus(self, gpus: Iterable[str]) -> None:
        """Look at some GPUs, whose turn the caller has."""
        infos = [self._infos[uuid] for uuid in gpus if uuid in self._infos]
        seen = observed.read_gpus(self.devices, infos, self.view.gpus)
        self.view = ObservedNode({**self.view.gpus, **seen}, self.view.trouble)

    def forget_instance(self, place: GpuPlacement) -> None:
        """A slice is gone from a GPU whose turn the caller has. Unseen at once: an instance without a record would be
        somebody else's, and in the way, for all who ask before the next look, which may be a driver call away.
        """
        gpu = self.view.gpus.get(place.gpu)
        if gpu is None:
            return
        left = tuple(one for one in gpu.instances if one.placement != place.placement)
        self.view = ObservedNode({**self.view.gpus, place.gpu: replace(gpu, instances=left)}, self.view.trouble)

    # Questions

    def catalogues(self) -> dict[str, Catalogue]:
        """Catalogues of GPUs in MIG mode, by UUID, of those that cannot be used at the moment too."""
        return {
            gpu.uuid: gpu.catalogue
            for gpu in self.view.gpus.values()
            if gpu.catalogue is not None
            and gpu.info.state not in observed.WHOLE
            and (gpu.info.mode is None or gpu.info.mode.current)
        }

    def places(self) -> dict[str, GpuPlacement]:
        """Every place that a device id may mean, by id: what is offered, and what was once."""
        return {device_ids.device_id(place): place for place in self.journal.records} | self.offered()

    def offered(self) -> dict[str, GpuPlacement]:
        """Every place that is offered, by device id."""
        catalogues = self.catalogues()
        if catalogues != self._offered[0]:
            self._offered = catalogues, device_ids.offered(catalogues)
        return self._offered[1]

    def whole_gpus(self) -> dict[str, bool]:
        """GPUs to be given away whole, by UUID, and whether they are well."""
        held = {r.place.gpu for r in self.journal.records.values() if r.state in states.HELD}
        chosen = self.options.manage_mig_mode
        return {
            gpu.uuid: gpu.uuid not in self.faults
            for gpu in self.view.gpus.values()
            if gpu.uuid not in held
            and (
                gpu.info.state is GpuState.NOT_CAPABLE
                or (gpu.info.state is GpuState.MIG_OFF and not (gpu.info.mode and chosen.covers(gpu.info)))
            )
        }

    def may_be_used(self, gpu: str) -> bool:
        """Whether a container has a GPU as a whole, or may have got it since PodResources was asked."""
        listing = self.listing
        given = self.gpu_taken_at.get(gpu, float("-inf"))
        return (
            listing is None
            or listing.asked_at <= given + self.options.grace_s
            or gpu in listing.ids(device_ids.WHOLE_GPU)
        )

    def promised(self) -> list[OutstandingPromise]:
        """Promises that still have to be kept."""
        return promises.outstanding(self.pods or {}, self.journal.records, self.listing, self.catalogues())

    def taken(self) -> frozenset[GpuPlacement]:
        """Places that nothing new may touch: containers' slices, foreign ones, stuck ones."""
        records = self.journal.records
        taken = {p for p, r in records.items() if r.state in states.HELD} | set(self.stuck)
        for gpu in self.view.gpus.values():
            for one in gpu.instances:
                record = records.get(GpuPlacement(gpu.uuid, one.placement))
                if record is None or (record.gi_id is not None and not observed.is_it(record, one)):
                    taken.add(GpuPlacement(gpu.uuid, one.placement))
        return frozenset(taken)

    def situation(self) -> AllocationContext:
        """What steering goes by."""
        found = self.pods or {}
        promisees = {}
        catalogues = self.catalogues()
        for pod in found.values():
            for one in pod.promises:
                catalogue = catalogues.get(one.gpu)
                profile = catalogue.by_name.get(one.profile) if catalogue is not None else None
                if catalogue is not None and profile is not None and one.start in profile.starts:
                    place = GpuPlacement(one.gpu, catalogue.placement(one.profile, one.start))
                    promisees[device_ids.device_id(place)] = pod.uid
        return AllocationContext(self.view, self.taken(), self.promised(), promisees)

    def pids(self, place: GpuPlacement) -> tuple[int, ...] | None:
        """Processes on the slice at a place; None where nobody can tell now."""
        gpu = self.view.gpus.get(place.gpu)
        if gpu is None or not gpu.readable:
            return None
        instance = gpu.by_placement.get(place.placement)
        if instance is None:
            return ()
        try:
            return tuple(p.pid for p in self.devices.processes(place.gpu, instance.gi_id))
        except device.StaleHandleError:
            return ()
        except device.DeviceError:
            return None

    def prune(self) -> None:
        """Forget attempts whose time has passed, and what belongs to slices that are no more."""
        now = self.clock()
        self.stuck = {p: (until, why) for p, (until, why) in self.stuck.items() if until > now}
        self.retry = {p: until for p, until in self.retry.items() if until > now}
        self.taken_at = {p: at for p, at in self.taken_at.items() if p in self.journal.records}
