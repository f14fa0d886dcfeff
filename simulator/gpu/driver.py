"""SimulatedDriver: the driver of one simulated node. `devices` and `simulator.nvml` are its two faces.

It holds the GPUs and adds what is the driver's and not the GPU's: the order of checks (loaded, lost, permission, and
only then what the GPU itself refuses), privileges, version, virtualization, events, capability files and faults.
Thread-safe; a call that takes time does not keep calls on other GPUs waiting.
"""

import threading
import time
import uuid as uuids
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from pathlib import Path

from allocator import errors
from allocator.mig import gpu_models
from allocator.mig.catalogue import Catalogue
from node_agent.gpu import device
from simulator.gpu import events, pci
from simulator.gpu.board import known_enums
from simulator.gpu.capabilities import CapabilityTree
from simulator.gpu.events import EventQueue, GpuEvent
from simulator.gpu.faults import Call, GpuFaults
from simulator.gpu.gpu import SimulatedGpu
from simulator.gpu.mode import ModeMachine


class Privilege(IntEnum):
    """What the calling process may do."""

    NONE = 0  # ask for names and modes
    MONITOR = 1  # enumerate instances (the mig/monitor capability)
    CONFIG = 2  # create and destroy instances (the mig/config capability)
    ADMIN = 3  # also switch MIG mode (CAP_SYS_ADMIN)


class Virtualization(IntEnum):
    """NVML's nvmlGpuVirtualizationMode_t."""

    NONE = 0
    PASSTHROUGH = 1
    VGPU = 2
    HOST_VGPU = 3


@dataclass(frozen=True, slots=True)
class MigDevice:
    """A MIG device as enumerated: the compute instance it stands for, and its index (None in a hole)."""

    gi_id: int
    ci_id: int
    mig_uuid: str


class SimulatedDriver:
    """The GPUs of a node under one driver.

    `version` is the driver's, such as 580.159.04; its first number decides which profile enumerators it knows.
    `missing` are symbols that this driver's library lacks. With `root`, the files of driver and kernel are kept
    under it. `holes` keeps MIG device indices in place when one in front disappears; otherwise they close up. With
    `stale_listing` it goes on listing MIG devices that are gone, as a process that held NVML open for long has seen.
    """

    def __init__(
        self,
        gpus: Iterable[SimulatedGpu],
        *,
        version: str = "580.159.04",
        privilege: Privilege = Privilege.ADMIN,
        virtualization: Virtualization = Virtualization.NONE,
        missing: frozenset[str] = frozenset(),
        root: Path | None = None,
        holes: bool = False,
        stale_listing: bool = False,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.gpus = {gpu.uuid: gpu for gpu in gpus}
        self.version = version
        self.privilege = privilege
        self.virtualization = virtualization
        self.missing = missing
        self.root = root
        self.holes = holes
        self.stale_listing = stale_listing
        self.faults = GpuFaults(pause)
        self.broken: type[device.DeviceError] | None = None
        self.restarts = 0
        self._lock = threading.RLock()
        self._queues: list[EventQueue] = []
        self._indexed: dict[str, list[MigDevice | None]] = {uuid: [] for uuid in self.gpus}
        self._tree = None if root is None else CapabilityTree(root, [gpu.minor for gpu in self.gpus.values()])
        for gpu in self.gpus.values():
            if root is not None:
                pci.write_numa_node(root, gpu.index, gpu.numa_node)
            gpu.on_change = partial(self._changed, gpu)
            self._refresh(gpu)

    # --- looking

    @property
    def branch(self) -> int:
        """The driver branch: 580 of 580.159.04."""
        return int(self.version.split(".", 1)[0])

    @property
    def known_enums(self) -> int:
        """How many profile enumerators this driver knows."""
        return known_enums(self.branch)

    def by_index(self) -> tuple[SimulatedGpu, ...]:
        """The GPUs by NVML index."""
        return tuple(sorted(self.gpus.values(), key=lambda gpu: gpu.index))

    def find(self, uuid: str) -> SimulatedGpu:
        """The GPU with this UUID. Raises StaleHandleError if this node has none."""
        try:
            return self.gpus[uuid]
        except KeyError:
            raise device.StaleHandleError(f"no GPU {uuid} on this node") from None

    def mig_devices(self, gpu: SimulatedGpu) -> tuple[MigDevice | None, ...]:
        """The MIG devices of a GPU by index; None is a hole."""
        return tuple(self._indexed[gpu.uuid])

    @contextmanager
    def call(self, call: Call, gpu: SimulatedGpu | None = None, need: Privilege = Privilege.NONE) -> Iterator[None]:
        """Everything around a driver call: its checks, faults and the time it takes. The body is its effect.

        Raises DriverNotLoadedError, DriverMismatchError, GpuLostError, NoPermissionError, and injected faults.
        """
        uuid = None if gpu is None else gpu.uuid
        self._check(gpu, need)
        self.faults.before(call, uuid)
        with self._lock:
            self._check(gpu, need)
            yield
        self.faults.after(call, uuid)

    def _check(self, gpu: SimulatedGpu | None, need: Privilege) -> None:
        if self.broken is not None:
            raise self.broken("the simulated driver is out of order")
        if gpu is not None and gpu.lost:
            raise device.GpuLostError(f"GPU {gpu.uuid} has fallen off the bus")
        if self.privilege < need:
            raise device.NoPermissionError(f"needs {need.name}, has {self.privilege.name}")

    # --- events

    def listen(self) -> EventQueue:
        """A new, empty queue of events; register GPUs with it."""
        queue = EventQueue()
        with self._lock:
            self._queues.append(queue)
        return queue

    def unlisten(self, queue: EventQueue) -> None:
        """Drop a queue; threads that wait for an event of it stop waiting."""
        with self._lock:
            self._queues.remove(queue)
        queue.end()

    def emit(self, event: GpuEvent) -> None:
        """Deliver an event to all that registered for it, unless events are being lost."""
        if not self.faults.events_lost:
            for queue in tuple(self._queues):
                queue.put(event)

    def xid(self, gpu: str, xid: int, gi_id: int | None = None, ci_id: int | None = None) -> None:
        """An XID error happens on a GPU that works, attributed to an instance or not."""
        self.find(gpu).work()
        unknown = events.NOT_ATTRIBUTED
        self.emit(
            GpuEvent(gpu, events.XID, xid, unknown if gi_id is None else gi_id, unknown if ci_id is None else ci_id)
        )

    def memory_fault(self, gpu: str, fault: device.MemoryFault) -> None:
        """An uncorrectable memory error happens on a GPU that works."""
        self.find(gpu).work()
        self.emit(GpuEvent(gpu, events.MEMORY_FAULTS[fault]))

    # --- what happens to a driver

    def lose(self, uuid: str) -> None:
        """A GPU falls off the bus."""
        self.find(uuid).lost = True

    def reset(self, uuid: str) -> None:
        """A GPU is reset: its instances are gone."""
        with self._lock:
            self.find(uuid).lost = False
            self.find(uuid).reset()

    def restart(self) -> None:
        """The driver is reloaded, or the node reboots: instances are gone, and so is every handle."""
        with self._lock:
            self.restarts += 1
            for gpu in self.gpus.values():
                gpu.lost = False
                gpu.reset()
            self.broken = None

    def unload(self) -> None:
        """The driver is taken out; `restart` loads it again."""
        self.broken = device.DriverNotLoadedError

    def upgrade(self) -> None:
        """The kernel module is replaced under running processes; only a `restart` of all helps."""
        self.broken = device.DriverMismatchError

    # --- inside

    def _changed(self, gpu: SimulatedGpu) -> None:
        self._refresh(gpu)
        self.emit(GpuEvent(gpu.uuid, events.MIG_CONFIG_CHANGE))

    def _refresh(self, gpu: SimulatedGpu) -> None:
        """Renew what the driver derives from the instances: the indices of MIG devices, the capability files."""
        present = [
            MigDevice(instance.gi_id, ci.ci_id, ci.mig_uuid or "")
            for instance in gpu.instances()
            for ci in instance.compute_instances
        ]
        indexed = self._indexed[gpu.uuid]
        if self.stale_listing:
            indexed += [new for new in present if new not in indexed]
        elif self.holes:
            indexed[:] = [old if old in present else None for old in indexed]
            for new in present:
                if new not in indexed:
                    free = indexed.index(None) if None in indexed else len(indexed)
                    indexed[free : free + 1] = [new]
        else:
            indexed[:] = present
        if self._tree is not None:
            shown = {
                instance.gi_id: tuple(ci.ci_id for ci in instance.compute_instances) for instance in gpu.instances()
            }
            self._tree.show(gpu.minor, shown)


def simulate(
    spec: str,
    *,
    seed: str = "node-0",
    mig: bool = True,
    version: str = "580.159.04",
    root: Path | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> SimulatedDriver:
    """The driver of a node from a specification such as `a100-40gb:8` or `a30-24gb:2,h200-141gb:4`.

    `seed` makes the GPU UUIDs: the same seed gives the same ones. With `mig` off, MIG mode is off on every GPU.
    Raises SettingsError for a specification that cannot be read, CatalogueError for an unknown model.
    """
    models: list[Catalogue] = []
    for part in spec.split(","):
        model, _, count = part.strip().partition(":")
        if not (count or "1").isdecimal() or not 1 <= int(count or "1") <= MAX_GPUS:
            raise errors.SettingsError("simulated GPUs", spec, f"write MODEL:COUNT with a count of 1…{MAX_GPUS}")
        models += [gpu_models.find(model)] * int(count or "1")
    if len(models) > MAX_GPUS:
        raise errors.SettingsError("simulated GPUs", spec, f"at most {MAX_GPUS} on one node")
    branch = int(version.split(".", 1)[0])
    gpus = [
        SimulatedGpu(
            catalogue,
            f"GPU-{uuids.uuid5(uuids.NAMESPACE_OID, f'{seed}/{index}')}",
            index,
            mode=ModeMachine(enabled=mig, needs_reset=catalogue.toggle_needs_reset),
            branch=branch,
        )
        for index, catalogue in enumerate(models)
    ]
    return SimulatedDriver(gpus, version=version, root=root, pause=pause)


MAX_GPUS = 32  # the driver numbers capability files for so many
