"""MigDevices: the port through which the node agent sees and cuts its GPUs, with its values and its errors.

Two implementations: `node_agent.gpu.nvml` talks to the driver, `simulator.gpu` stands in for it; one contract suite
(tests/contract/devices) runs on both. All calls block, none for longer than its deadline; an event loop calls them
from a worker thread. GPUs are named by UUID because index, minor number and handles change; GPU instances by id AND
placement because the driver reuses an id as soon as its place is free.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Protocol

from allocator import errors
from allocator.mig.catalogue import Catalogue
from allocator.mig.profile import Placement


class DeviceError(errors.MigschedError):
    """A GPU did not do what was asked. `code` is NVML's return code for it (nvmlReturn_t)."""

    code: ClassVar[int] = 999


class UninitializedError(DeviceError):
    """The library was not initialised, or shut down meanwhile."""

    code = 1


class InvalidArgumentError(DeviceError):
    """The driver does not know this profile, placement or handle: the request can never succeed."""

    code = 2


class NotSupportedError(DeviceError):
    """This GPU cannot do it: not MIG capable, MIG mode off, or a vGPU."""

    code = 3


class NoPermissionError(DeviceError):
    """The agent lacks a privilege (CAP_SYS_ADMIN or the mig/config capability): fix the deployment."""

    code = 4


class StaleHandleError(DeviceError):
    """No such GPU or GPU instance (any more), or the id now names another placement: look again."""

    code = 6


class DriverNotLoadedError(DeviceError):
    """There is no NVIDIA driver on this node, or it is not loaded."""

    code = 9


class MissingFunctionError(DeviceError):
    """The driver is too old for this call."""

    code = 13


class GpuLostError(DeviceError):
    """The GPU fell off the bus."""

    code = 15


class ResetRequiredError(DeviceError):
    """The GPU must be reset before it can be used again."""

    code = 16


class DriverMismatchError(DeviceError):
    """The driver was upgraded under the running agent: restart the agent."""

    code = 18


class DeviceBusyError(DeviceError):
    """Something still uses the instance, visibly or not: try again, then name the holders."""

    code = 19


class NoRoomError(DeviceError):
    """Overlap, profile limit or engines exhausted, the driver does not say which: our picture is stale, look again."""

    code = 23


class DeadlineExceededError(DeviceError):
    """A driver call did not return in time: not known yet whether it was done, and the GPU is wedged until it is."""

    code = 10


class GpuState(StrEnum):
    """What can be done with a GPU now."""

    READY = "ready"  # MIG mode on, catalogue known: slices can be cut
    MIG_OFF = "mig-off"  # capable, but MIG mode is off: whole-GPU use
    MODE_PENDING = "mode-pending"  # a MIG mode change waits for a reset or reboot
    NOT_CAPABLE = "not-capable"  # no MIG on this board: whole-GPU use
    EXCLUDED = "excluded"  # the agent's settings leave it alone: never touched, never offered
    NOT_COMPUTE = "not-compute"  # a display adapter, or CUDA is prohibited on it: `detail` says which
    VGPU = "vgpu"  # a virtual GPU: its host decides about MIG
    OLD_DRIVER = "old-driver"  # the driver lacks what cutting needs
    UNREADABLE = "unreadable"  # the driver answers, but not with what is needed; `detail` says what
    LOST = "lost"  # fell off the bus, or needs a reset
    WEDGED = "wedged"  # a driver call has not returned


@dataclass(frozen=True, slots=True)
class ModeState:
    """MIG mode of a GPU: in force now, and after the next reset."""

    current: bool
    pending: bool

    @property
    def settled(self) -> bool:
        """No change is waiting for a reset."""
        return self.current == self.pending


@dataclass(frozen=True, slots=True)
class ModeChange:
    """What became of a MIG mode change: the driver's activation status (0 = in force now) and the mode read back.

    Status 19: in force only once all users of the GPU are gone; 16: only after a reset or reboot; 3: cannot be
    activated here. None of these is an error of the call, and the mode is then merely pending.
    """

    activation: int
    mode: ModeState

    @property
    def in_force(self) -> bool:
        """The wanted mode is active now."""
        return self.activation == 0 and self.mode.settled


@dataclass(frozen=True, slots=True)
class GpuInfo:
    """One GPU as discovered. `catalogue` is None where `state` and `detail` say why.

    `minor` is the N of /dev/nvidiaN and differs from `index` on many machines. `live` tells a catalogue that the
    driver reported from one out of our table. `memory_mib` is 0 where the driver would not say. `numa_node` is the
    host's NUMA node next to the GPU; None where the machine has none or does not tell.
    """

    uuid: str
    index: int
    minor: int | None
    product: str
    pci_bus_id: str
    memory_mib: int
    state: GpuState
    detail: str = ""
    mode: ModeState | None = None
    catalogue: Catalogue | None = None
    live: bool = False
    numa_node: int | None = None


@dataclass(frozen=True, slots=True)
class ComputeInstance:
    """A compute instance in a GPU instance; `start` and `size` are compute slices of that GPU instance.

    `mig_uuid` is what CUDA and NVIDIA_VISIBLE_DEVICES call it. The same place may get the same one again, for
    another profile too: it is no proof of identity.
    """

    ci_id: int
    profile_id: int
    start: int
    size: int
    mig_uuid: str | None


@dataclass(frozen=True, slots=True)
class GpuInstance:
    """A GPU instance as it stands on the GPU; `start` and `size` are memory slices."""

    gi_id: int
    profile: str
    profile_id: int
    start: int
    size: int
    compute_slices: int
    compute_instances: tuple[ComputeInstance, ...] = ()

    @property
    def placement(self) -> Placement:
        """Where it lies."""
        return Placement(self.profile, self.start, self.size)

    @property
    def whole(self) -> bool:
        """It carries exactly one compute instance, of full size: what the agent makes, and nothing else."""
        return len(self.compute_instances) == 1 and self.compute_instances[0].size == self.compute_slices

    @property
    def mig_uuid(self) -> str | None:
        """The MIG UUID of a whole slice; None while it is half made or split into several."""
        return self.compute_instances[0].mig_uuid if self.whole else None


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process on a GPU, by the host's pid. The ids are None where the driver does not tell."""

    pid: int
    memory_mib: int | None = None
    gi_id: int | None = None
    ci_id: int | None = None


@dataclass(frozen=True, slots=True)
class DeviceNode:
    """A character device that a container needs to use a slice. `major` is None where the driver's is not known."""

    path: str
    minor: int
    major: int | None = None


class EventKind(StrEnum):
    """What a driver event says."""

    GEOMETRY_CHANGED = "geometry-changed"  # a hint without detail: enumerate again
    FAULT = "fault"  # an XID error
    MEMORY_FAULT = "memory-fault"  # uncorrectable; the XID that often comes with it is an event of its own


class MemoryFault(StrEnum):
    """An uncorrectable error of a GPU's memory, as events other than XIDs tell it."""

    DOUBLE_BIT = "double-bit"
    CONTAINED = "contained"  # only the applications that used the memory are hurt
    UNCONTAINED = "uncontained"  # anything on the GPU may be
    RETIREMENT_FAILED = "retirement-failed"  # the bad memory could not be taken out of use


@dataclass(frozen=True, slots=True)
class DeviceEvent:
    """One event. A fault without `gi_id` concerns every slice of the GPU; a memory fault never has one."""

    gpu_uuid: str
    kind: EventKind
    xid: int | None = None
    gi_id: int | None = None
    ci_id: int | None = None
    memory_fault: MemoryFault | None = None


class MigDevices(Protocol):
    """The GPUs of one node.

    Every call but `discover` may raise DeviceError; StaleHandleError for a GPU UUID that is not here. A GPU whose
    driver call outlived its deadline answers DeadlineExceededError at once, until that call returns.
    """

    def discover(self) -> tuple[GpuInfo, ...]:
        """Every GPU of the node, by index. One bad GPU never hides the others: its `state` says what is wrong.

        Raises DriverNotLoadedError or DriverMismatchError where there is no usable driver at all.
        """
        ...

    def instances(self, gpu: str) -> tuple[GpuInstance, ...]:
        """Every GPU instance, by id, those without a compute instance and those of others included."""
        ...

    def remaining(self, gpu: str) -> Mapping[str, int]:
        """How many more instances of each profile the driver would grant now, each profile taken alone."""
        ...

    def create(self, gpu: str, placement: Placement) -> GpuInstance:
        """Cut a slice: a GPU instance exactly there with one full-size compute instance, as read back.

        All or nothing: what was made before a failure is destroyed again, also where the deadline passed meanwhile.
        Raises NoRoomError, InvalidArgumentError, NotSupportedError, DeviceBusyError.
        """
        ...

    def destroy(self, gpu: str, gi_id: int, placement: Placement) -> bool:
        """Destroy the compute instances, then the GPU instance, if it still is the one at `placement`.

        True if it was there, False if it was gone already. Raises StaleHandleError, having touched nothing, if the
        id now names another placement, and DeviceBusyError while something uses it.
        """
        ...

    def processes(self, gpu: str, gi_id: int) -> tuple[GpuProcess, ...]:
        """The processes in a GPU instance. Empty does not prove it idle: some clients hold it without a process."""
        ...

    def device_nodes(self, gpu: str, gi_id: int) -> tuple[DeviceNode, ...]:
        """The capability device nodes of a GPU instance and its compute instances."""
        ...

    def mode(self, gpu: str) -> ModeState:
        """MIG mode now. Raises NotSupportedError on a GPU without MIG."""
        ...

    def set_mode(self, gpu: str, enabled: bool) -> ModeChange:
        """Ask for MIG mode on or off. A change that only becomes pending is an answer, not an error."""
        ...

    def energy_mj(self, gpu: str) -> int | None:
        """Energy used since the driver began to drive the GPU, in mJ: less than before only after a reload or reset.

        None where the GPU does not count it.
        """
        ...

    def wait(self, timeout_s: float) -> tuple[DeviceEvent, ...]:
        """Events since the last call; empty after `timeout_s` without any. Events can be lost: also poll."""
        ...

    def close(self) -> None:
        """Release the library; a `wait` ends soon. Instances stay as they are."""
        ...
