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
from node_agent.gpu import boards, device
from node_agent.gpu.device import GpuState
from node_agent.gpu.nvml import capabilities, catalogue, cutting, numa
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
    nameplate: "_Nameplate | None" = None


@dataclass(frozen=True, slots=True)
class _Nameplate:
    """What only a change of MIG mode can change of a GPU. `pci_device_id` is with the vendor's, as NVML gives it."""

    product: str
    minor: int | None
    bus_id: str
    pci_device_id: int
    memory_mib: int
    brand: int | None
    numa_node: int | None


class NvmlDevices:
    """MigDevices over NVML. `root` is where the host's /proc and /sys are mounted."""

    def __init__(self, driver: Driver, *, root: Path = Path("/"), deadlines: Deadlines | None = None) -> None:
        self._driver = driver
        self._root = root
        self._deadlines = deadlines or Deadlines()
        self._library = Lane("NVML library")
        self._watch = Watch(driver)
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
        board = self._gpu(gpu)
        inventory = self._inventory(board)
        return self._read(board, "list instances", lambda _: inventory.read())

    def remaining(self, gpu: str) -> Mapping[str, int]:
        """See MigDevices."""
        board = self._gpu(gpu)
        profiles = self._catalogue(board).profiles
        return self._read(
            board,
            "ask for remaining capacity",
            lambda _: {p.name: self._driver.remaining(board.handle, p.profile_id) for p in profiles},
        )

    def create(self, gpu: str, placement: Placement) -> device.GpuInstance:
        """See MigDevices."""
        board = self._gpu(gpu)
        profile, inventory = self._profile(board, placement), self._inventory(board)

        def work(ticket: Ticket) -> device.GpuInstance:
            return cutting.create(self._driver, board.handle, inventory, profile, placement, ticket)

        def undo(made: device.GpuInstance) -> None:
            cutting.destroy(self._driver, board.handle, inventory, profile, made.gi_id, placement)

        return board.lane.run(f"create {placement}", work, self._deadlines.change_s, undo)

    def destroy(self, gpu: str, gi_id: int, placement: Placement) -> bool:
        """See MigDevices."""
        board = self._gpu(gpu)
        profile, inventory = self._profile(board, placement), self._inventory(board)

        def work(_: Ticket) -> bool:
            return cutting.destroy(self._driver, board.handle, inventory, profile, gi_id, placement)

        return board.lane.run(f"destroy {placement}", work, self._deadlines.change_s)

    def processes(self, gpu: str, gi_id: int) -> tuple[device.GpuProcess, ...]:
        """See MigDevices."""
        board = self._gpu(gpu)

        def work(_: Ticket) -> tuple[device.GpuProcess, ...]:
            self._driver.gpu_instance(board.handle, gi_id)
            return tuple(cutting.processes(self._driver, board.handle, gi_id))

        return self._read(board, "list processes", work)

    def device_nodes(self, gpu: str, gi_id: int) -> tuple[device.DeviceNode, ...]:
        """See MigDevices."""
        board = self._gpu(gpu)
        minor = board.info.minor if board.info else None
        if minor is None:
            raise device.NotSupportedError(f"GPU {gpu} has no minor number, so no device nodes")
        return capabilities.device_nodes(self._root, minor, gi_id)

    def mode(self, gpu: str) -> device.ModeState:
        """See MigDevices."""
        board = self._gpu(gpu)
        return self._read(board, "ask for MIG mode", lambda _: self._driver.mode(board.handle))

    def set_mode(self, gpu: str, enabled: bool) -> device.ModeChange:
        """See MigDevices."""
        board = self._gpu(gpu)

        def work(_: Ticket) -> device.ModeChange:
            activation = self._driver.set_mode(board.handle, enabled)
            board.handle = self._driver.handle(board.index)
            board.catalogue = board.inventory = board.nameplate = None  # the minor number too can have changed
            return device.ModeChange(activation, self._driver.mode(board.handle))

        change = board.lane.run("set MIG mode", work, self._deadlines.change_s)
        self._watch.add(board.uuid, board.handle)
        self._describe(board)
        return change

    def energy_mj(self, gpu: str) -> int | None:
        """See MigDevices."""
        board = self._gpu(gpu)
        return self._read(board, "ask for energy", lambda _: self._driver.energy_mj(board.handle))

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
                self._driver.init()
                self._initialised = True
            return self._driver.count()

        number = self._library.run("initialise NVML and count GPUs", count, self._deadlines.read_s)
        known = {board.index: board for board in self._gpus.values()}
        gpus = [known.get(index) or self._find(index) for index in range(number)]
        return tuple(gpu if isinstance(gpu, device.GpuInfo) else self._describe(gpu) for gpu in gpus)

    def _find(self, index: int) -> _Gpu | device.GpuInfo:
        """Identify the GPU at an index for the first time."""
        lane = self._lanes.setdefault(index, Lane(f"GPU {index}"))

        def work(_: Ticket) -> tuple[str, Handle]:
            handle = self._driver.handle(index)
            return self._driver.uuid(handle), handle

        try:
            uuid, handle = lane.run("identify", work, self._deadlines.read_s)
        except (device.UninitializedError, device.DriverMismatchError, device.DriverNotLoadedError):
            raise
        except device.DeviceError as error:
            return device.GpuInfo(f"unreadable-{index}", index, None, "", "", 0, _trouble(error), str(error))
        board = self._gpus[uuid] = _Gpu(uuid, index, handle, lane)
        self._watch.add(uuid, handle)
        return board

    def _forget(self) -> None:
        """Shut the library down and drop all that came from it."""
        if self._initialised:
            self._initialised = False
            with suppress(device.DeviceError):
                self._library.run("shut NVML down", lambda _: self._driver.shutdown(), self._deadlines.read_s)
        self._gpus.clear()
        self._watch.forget()

    # Describing a GPU

    def _describe(self, board: _Gpu) -> device.GpuInfo:
        """What can be done with a GPU; never raises for a GPU in trouble, nor waits for a GPU that is being cut."""
        if board.info is not None and board.lane.busy:
            return board.info
        try:
            board.info = self._read(board, "describe", lambda _: self._look(board))
        except (device.UninitializedError, device.DriverMismatchError, device.DriverNotLoadedError):
            raise
        except device.DeviceError as error:
            last = board.info or device.GpuInfo(board.uuid, board.index, None, "", "", 0, GpuState.UNREADABLE)
            board.info = dataclasses.replace(last, state=_trouble(error), detail=str(error))
        return board.info

    def _look(self, board: _Gpu) -> device.GpuInfo:
        plate = board.nameplate = board.nameplate or self._read_nameplate(board)
        info = device.GpuInfo(
            uuid=board.uuid,
            index=board.index,
            minor=plate.minor,
            product=plate.product,
            pci_bus_id=plate.bus_id,
            memory_mib=plate.memory_mib,
            state=GpuState.READY,
            numa_node=plate.numa_node,
        )
        try:
            mode = self._driver.mode(board.handle)
        except (device.NotSupportedError, device.MissingFunctionError) as error:
            why = self._why_not_for_computing(board.handle, plate)
            state = GpuState.NOT_COMPUTE if why else GpuState.NOT_CAPABLE
            return dataclasses.replace(info, state=state, detail=why or str(error))
        info = dataclasses.replace(info, mode=mode)
        if (self._driver.number("nvmlDeviceGetVirtualizationMode", board.handle) or 0) >= _VIRTUAL:
            return dataclasses.replace(info, state=GpuState.VGPU, detail="its host decides about MIG")
        if lacks := self._driver.lacks():
            return dataclasses.replace(info, state=GpuState.OLD_DRIVER, detail=f"the driver lacks {', '.join(lacks)}")
        if not mode.current and (why := self._why_not_for_computing(board.handle, plate)):
            return dataclasses.replace(info, state=GpuState.NOT_COMPUTE, detail=why)
        return self._with_catalogue(board, info, mode, plate.pci_device_id)

    def _why_not_for_computing(self, handle: Handle, plate: _Nameplate) -> str:
        """Empty if the board is for computing. The compute mode is asked each time: an administrator may change it."""
        compute_mode = self._driver.number("nvmlDeviceGetComputeMode", handle)
        return boards.why_not_for_computing(plate.product, plate.brand, compute_mode)

    def _read_nameplate(self, board: _Gpu) -> _Nameplate:
        minor, memory_mib = None, 0
        with suppress(device.NotSupportedError, device.NoPermissionError):
            minor = self._driver.minor(board.handle)
        with suppress(device.NotSupportedError, device.NoPermissionError):
            memory_mib = self._driver.memory_mib(board.handle)
        bus_id, pci_device_id = self._driver.pci(board.handle)
        brand = self._driver.number("nvmlDeviceGetBrand", board.handle)
        product, numa_node = self._driver.product(board.handle), numa.node(self._root, bus_id)
        return _Nameplate(product, minor, bus_id, pci_device_id, memory_mib, brand, numa_node)

    def _with_catalogue(
        self, board: _Gpu, info: device.GpuInfo, mode: device.ModeState, pci_device_id: int
    ) -> device.GpuInfo:
        """The state of a MIG-capable GPU, and what it can be cut into."""
        settled = GpuState.READY if mode.current else GpuState.MIG_OFF
        state = settled if mode.settled else GpuState.MODE_PENDING
        try:
            if board.catalogue is None:
                board.catalogue = catalogue.read(
                    self._driver, board.handle, info.product, pci_device_id, info.memory_mib
                )
                board.inventory = None
        except errors.CatalogueError as error:
            return dataclasses.replace(info, state=GpuState.UNREADABLE, detail=str(error))
        except device.NotSupportedError as error:
            known = catalogue.from_table(pci_device_id)
            if mode.current:
                return dataclasses.replace(info, state=GpuState.UNREADABLE, detail=str(error), catalogue=known)
            return dataclasses.replace(info, state=state, detail=str(error), catalogue=known)
        return dataclasses.replace(info, state=state, catalogue=board.catalogue, live=True)

    # Within

    def _gpu(self, uuid: str) -> _Gpu:
        if not self._gpus:
            self.discover()
        try:
            return self._gpus[uuid]
        except KeyError:
            raise device.StaleHandleError(f"no GPU {uuid} on this node") from None

    def _catalogue(self, board: _Gpu) -> Catalogue:
        """The catalogue to work with. Raises NotSupportedError, saying why, if there is none."""
        info = board.info or self._describe(board)
        known = board.catalogue or info.catalogue
        if known is None:
            raise device.NotSupportedError(f"GPU {board.uuid} is {info.state}: {info.detail}")
        return known

    def _profile(self, board: _Gpu, placement: Placement) -> Profile:
        profile = self._catalogue(board).by_name.get(placement.profile)
        if profile is None or profile.memory_slices != placement.size:
            raise device.InvalidArgumentError(f"GPU {board.uuid}: {placement} is not in its catalogue")
        return profile

    def _inventory(self, board: _Gpu) -> Instances:
        if board.inventory is None:
            board.inventory = Instances(self._driver, board.handle, self._catalogue(board))
        return board.inventory

    def _read(self, board: _Gpu, what: str, work: Callable[[Ticket], T]) -> T:
        return board.lane.run(what, work, self._deadlines.read_s)


def _trouble(error: device.DeviceError) -> GpuState:
    if isinstance(error, device.DeadlineExceededError):
        return GpuState.WEDGED
    lost = isinstance(error, device.GpuLostError | device.ResetRequiredError)
    return GpuState.LOST if lost else GpuState.UNREADABLE
