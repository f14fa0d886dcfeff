"""NvmlDevices: the node agent's device port on the GPUs of this node, through NVML.

The agent makes one for its lifetime; it loads the driver's library with the first call, in whatever process that is.
Each GPU's calls run in that GPU's lane: one at a time, each with a deadline. Handles are kept until the library has
to be initialised again.
"""

import dataclasses
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from allocator import errors
from allocator.mig.catalogue import Catalogue
from allocator.mig.profile import Placement, Profile
from node_agent.gpu import device
from node_agent.gpu.device import GpuState
from node_agent.gpu.nvml import capabilities, catalogue, cutting
from node_agent.gpu.nvml.driver import Driver, Handle
from node_agent.gpu.nvml.instances import Instances
from node_agent.gpu.nvml.lane import Lane, Ticket
from node_agent.gpu.nvml.watching import Watch

T = TypeVar("T")
_VIRTUAL = 2  # nvmlGpuVirtualizationMode_t: 2 vGPU guest, 3 and 4 vGPU hosts; 1 is a passed-through, whole GPU


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds after which a driver call counts as hung. The driver is slow under churn: seconds, not milliseconds."""

    read_s: float = 30.0
    change_s: float = 60.0


@dataclass(slots=True, eq=False)
class _Gpu:
    """A GPU that was identified once, with what is kept about it."""

    uuid: str
    index: int
    handle: Handle
    lane: Lane
    info: device.GpuInfo | None = None
    catalogue: Catalogue | None = None  # live, not out of the table
    inventory: Instances | None = None
    names: tuple[str, int | None, str, int, int] | None = None


class NvmlDevices:
    """MigDevices over NVML. `root` is where the host's /proc is mounted."""

    def __init__(self, binding: Driver, *, root: Path = Path("/"), deadlines: Deadlines | None = None) -> None:
        self._binding = binding
        self._root = root
        self._deadlines = deadlines or Deadlines()
        self._library = Lane("NVML library")
        self._watch = Watch(binding)
        self._gpus: dict[str, _Gpu] = {}
        self._lanes: dict[int, Lane] = {}
        self._initialised = False
        self._finding = threading.Lock()

    def discover(self) -> tuple[device.GpuInfo, ...]:
        """See MigDevices."""
        with self._finding:
            try:
                return self._look_at_all()
            except device.UninitializedError:  # the driver was reloaded under us
                self._forget()
                return self._look_at_all()

    def instances(self, gpu: str) -> tuple[device.GpuInstance, ...]:
        """See MigDevices."""
        one = self._gpu(gpu)
        inventory = self._inventory(one)
        return self._read(one, "list instances", lambda _: inventory.read())

    def remaining(self, gpu: str) -> Mapping[str, int]:
        """See MigDevices."""
        one = self._gpu(gpu)
        profiles = self._catalogue(one).profiles
        return self._read(
            one,
            "ask for remaining capacity",
            lambda _: {p.name: self._binding.remaining(one.handle, p.profile_id) for p in profiles},
        )

    def create(self, gpu: str, placement: Placement) -> device.GpuInstance:
        """See MigDevices."""
        one = self._gpu(gpu)
        profile, inventory = self._profile(one, placement), self._inventory(one)

        def work(ticket: Ticket) -> device.GpuInstance:
            return cutting.create(self._binding, one.handle, inventory, profile, placement, ticket)

        def undo(made: device.GpuInstance) -> None:
            cutting.destroy(self._binding, one.handle, inventory, profile, made.gi_id, placement)

        return one.lane.run(f"create {placement}", work, self._deadlines.change_s, undo)

    def destroy(self, gpu: str, gi_id: int, placement: Placement) -> bool:
        """See MigDevices."""
        one = self._gpu(gpu)
        profile, inventory = self._profile(one, placement), self._inventory(one)

        def work(_: Ticket) -> bool:
            return cutting.destroy(self._binding, one.handle, inventory, profile, gi_id, placement)

        return one.lane.run(f"destroy {placement}", work, self._deadlines.change_s)

    def processes(self, gpu: str, gi_id: int) -> tuple[device.GpuProcess, ...]:
        """See MigDevices."""
        one = self._gpu(gpu)

        def work(_: Ticket) -> tuple[device.GpuProcess, ...]:
            self._binding.gpu_instance(one.handle, gi_id)
            return tuple(cutting.processes(self._binding, one.handle, gi_id))

        return self._read(one, "list processes", work)

    def device_nodes(self, gpu: str, gi_id: int) -> tuple[device.DeviceNode, ...]:
        """See MigDevices."""
        one = self._gpu(gpu)
        minor = one.info.minor if one.info else None
        if minor is None:
            raise device.NotSupportedError(f"GPU {gpu} has no minor number, so no device nodes")
        return capabilities.device_nodes(self._root, minor, gi_id)

    def mode(self, gpu: str) -> device.ModeState:
        """See MigDevices."""
        one = self._gpu(gpu)
        return self._read(one, "ask for MIG mode", lambda _: self._binding.mode(one.handle))

    def set_mode(self, gpu: str, enabled: bool) -> device.ModeChange:
        """See MigDevices."""
        one = self._gpu(gpu)

        def work(_: Ticket) -> device.ModeChange:
            activation = self._binding.set_mode(one.handle, enabled)
            one.handle = self._binding.handle(one.index)
            one.catalogue = one.inventory = one.names = None  # the minor number too can have changed
            return device.ModeChange(activation, self._binding.mode(one.handle))

        change = one.lane.run("set MIG mode", work, self._deadlines.change_s)
        self._watch.add(one.uuid, one.handle)
        self._describe(one)
        return change

    def wait(self, timeout_s: float) -> tuple[device.DeviceEvent, ...]:
        """See MigDevices."""
        return self._watch.wait(timeout_s)

    def close(self) -> None:
        """See MigDevices."""
        self._watch.close()
        with self._finding:
            self._forget()
            for lane in (self._library, *self._lanes.values()):
                lane.close()

    # Finding GPUs

    def _look_at_all(self) -> tuple[device.GpuInfo, ...]:
        """Every GPU by index, those met before from what is kept of them."""

        def count(_: Ticket) -> int:
            if not self._initialised:
                self._binding.init()
                self._initialised = True
            return self._binding.count()

        number = self._library.run("initialise NVML and count GPUs", count, self._deadlines.read_s)
        known = {one.index: one for one in self._gpus.values()}
        found = [known.get(index) or self._find(index) for index in range(number)]
        return tuple(one if isinstance(one, device.GpuInfo) else self._describe(one) for one in found)

    def _find(self, index: int) -> _Gpu | device.GpuInfo:
        """Identify the GPU at an index for the first time."""
        lane = self._lanes.setdefault(index, Lane(f"GPU {index}"))

        def work(_: Ticket) -> tuple[str, Handle]:
            handle = self._binding.handle(index)
            return self._binding.uuid(handle), handle

        try:
            uuid, handle = lane.run("identify", work, self._deadlines.read_s)
        except (device.UninitializedError, device.DriverMismatchError, device.DriverNotLoadedError):
            raise
        except device.DeviceError as exc:
            return device.GpuInfo(f"unreadable-{index}", index, None, "", "", 0, _trouble(exc), str(exc))
        one = self._gpus[uuid] = _Gpu(uuid, index, handle, lane)
        self._watch.add(uuid, handle)
        return one

    def _forget(self) -> None:
        """Shut the library down and drop all that came from it."""
        if self._initialised:
            self._initialised = False
            with suppress(device.DeviceError):
                self._library.run("shut NVML down", lambda _: self._binding.shutdown(), self._deadlines.read_s)
        self._gpus.clear()
        self._watch.forget()

    # Describing a GPU

    def _describe(self, one: _Gpu) -> device.GpuInfo:
        """What can be done with a GPU; never raises for a GPU in trouble, nor waits for one that is being cut."""
        if one.info is not None and one.lane.busy:
            return one.info
        try:
            one.info = self._read(one, "describe", lambda _: self._look(one))
        except (device.UninitializedError, device.DriverMismatchError, device.DriverNotLoadedError):
            raise
        except device.DeviceError as exc:
            last = one.info or device.GpuInfo(one.uuid, one.index, None, "", "", 0, GpuState.UNREADABLE)
            one.info = dataclasses.replace(last, state=_trouble(exc), detail=str(exc))
        return one.info

    def _look(self, one: _Gpu) -> device.GpuInfo:
        if one.names is None:
            one.names = self._names(one)
        product, minor, bus_id, pci_device_id, memory_mib = one.names
        info = device.GpuInfo(one.uuid, one.index, minor, product, bus_id, memory_mib, GpuState.READY)
        try:
            mode = self._binding.mode(one.handle)
        except (device.NotSupportedError, device.MissingFunctionError) as exc:
            return dataclasses.replace(info, state=GpuState.NOT_CAPABLE, detail=str(exc))
        info = dataclasses.replace(info, mode=mode)
        if self._binding.virtualization(one.handle) >= _VIRTUAL:
            return dataclasses.replace(info, state=GpuState.VGPU, detail="its host decides about MIG")
        if lacks := self._binding.lacks():
            return dataclasses.replace(info, state=GpuState.OLD_DRIVER, detail=f"the driver lacks {', '.join(lacks)}")
        return self._with_catalogue(one, info, mode, pci_device_id)

    def _names(self, one: _Gpu) -> tuple[str, int | None, str, int, int]:
        """Product, minor, PCI address, PCI device id, memory in MiB: what only a change of mode can change."""
        minor, memory_mib = None, 0
        with suppress(device.NotSupportedError, device.NoPermissionError):
            minor = self._binding.minor(one.handle)
        with suppress(device.NotSupportedError, device.NoPermissionError):
            memory_mib = self._binding.memory_mib(one.handle)
        bus_id, pci_device_id = self._binding.pci(one.handle)
        return self._binding.product(one.handle), minor, bus_id, pci_device_id, memory_mib

    def _with_catalogue(
        self, one: _Gpu, info: device.GpuInfo, mode: device.ModeState, pci_device_id: int
    ) -> device.GpuInfo:
        """The state of a MIG-capable GPU, and what it can be cut into."""
        settled = GpuState.READY if mode.current else GpuState.MIG_OFF
        state = settled if mode.settled else GpuState.MODE_PENDING
        try:
            if one.catalogue is None:
                one.catalogue = catalogue.read(self._binding, one.handle, info.product, pci_device_id, info.memory_mib)
                one.inventory = None
        except errors.CatalogueError as exc:
            return dataclasses.replace(info, state=GpuState.UNREADABLE, detail=str(exc))
        except device.NotSupportedError as exc:
            known = catalogue.from_table(pci_device_id)
            if mode.current:
                return dataclasses.replace(info, state=GpuState.UNREADABLE, detail=str(exc), catalogue=known)
            return dataclasses.replace(info, state=state, detail=str(exc), catalogue=known)
        return dataclasses.replace(info, state=state, catalogue=one.catalogue, live=True)

    # Within

    def _gpu(self, uuid: str) -> _Gpu:
        if not self._gpus:
            self.discover()
        try:
            return self._gpus[uuid]
        except KeyError:
            raise device.StaleHandleError(f"no GPU {uuid} on this node") from None

    def _catalogue(self, one: _Gpu) -> Catalogue:
        """The catalogue to work with. Raises NotSupportedError, saying why, if there is none."""
        info = one.info or self._describe(one)
        known = one.catalogue or info.catalogue
        if known is None:
            raise device.NotSupportedError(f"GPU {one.uuid} is {info.state}: {info.detail}")
        return known

    def _profile(self, one: _Gpu, placement: Placement) -> Profile:
        profile = self._catalogue(one).by_name.get(placement.profile)
        if profile is None or profile.memory_slices != placement.size:
            raise device.InvalidArgumentError(f"GPU {one.uuid}: {placement} is not in its catalogue")
        return profile

    def _inventory(self, one: _Gpu) -> Instances:
        if one.inventory is None:
            one.inventory = Instances(self._binding, one.handle, self._catalogue(one))
        return one.inventory

    def _read(self, one: _Gpu, what: str, work: Callable[[Ticket], T]) -> T:
        return one.lane.run(what, work, self._deadlines.read_s)


def _trouble(exc: device.DeviceError) -> GpuState:
    if isinstance(exc, device.DeadlineExceededError):
        return GpuState.WEDGED
    lost = isinstance(exc, device.GpuLostError | device.ResetRequiredError)
    return GpuState.LOST if lost else GpuState.UNREADABLE
