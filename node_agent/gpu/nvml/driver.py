"""Driver: pynvml with plain values in and out. The other modules of this package call the driver through it alone.

It hides what pynvml leaves to its callers: output pointers, the two-call pattern, arrays that alias the handles taken
from them, counts that come as ctypes objects, functions that older drivers or older pynvml lack, and errors that
cannot be compared. Every NVMLError leaves here as an error of `node_agent.gpu.device`.
"""

import ctypes
import importlib.util
import itertools
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from node_agent.gpu import device
from node_agent.gpu.nvml import failures, library_file, raw_events
from node_agent.gpu.nvml.raw_events import RawEvent

Handle = Any  # a ctypes pointer to one of NVML's opaque structs
Observer = Callable[[str, float, int], None]  # NVML function, seconds it took, return code

_FIELD_RESETLESS = 184  # NVML_FI_DEV_IS_RESETLESS_MIG_SUPPORTED
_TIMEOUT = 10
_MIB = 1 << 20
_copies = itertools.count()


@dataclass(frozen=True, slots=True)
class ProfileInfo:
    """A GPU instance profile. `name` is None where the driver is too old to tell."""

    profile_id: int
    compute_slices: int
    max_instances: int
    sm: int
    copy_engines: int
    dec: int
    enc: int
    jpeg: int
    ofa: int
    memory_mib: int
    name: str | None


@dataclass(frozen=True, slots=True)
class ComputeProfileInfo:
    """A compute instance profile of one GPU instance profile."""

    enum_index: int
    profile_id: int
    compute_slices: int
    max_instances: int
    sm: int


@dataclass(frozen=True, slots=True)
class InstanceInfo:
    """What a GPU instance (units: memory slices) or a compute instance (units: compute slices) says of itself."""

    number: int
    profile_id: int
    start: int
    size: int


class Driver:
    """NVML through pynvml. `library` stands in for the loaded libnvidia-ml, for this object alone.

    With `root` it is looked for below that directory, again with each init until it is there. Thread-safe as far as
    NVML is. `observer` is called after every call. All methods raise DeviceError. `nvml` is pynvml, or its copy.
    """

    def __init__(
        self, library: object | None = None, observer: Observer | None = None, *, root: Path | None = None
    ) -> None:
        self.nvml = _pynvml(library)
        self._root = root
        self._observer = observer

    def _call(self, name: str, *arguments: Any) -> Any:
        function = getattr(self.nvml, name, None)
        if function is None:
            raise device.MissingFunctionError(f"this pynvml has no {name}")
        began = time.perf_counter()
        code = 0
        try:
            return function(*arguments)
        except self.nvml.NVMLError as error:
            code = error.value
            raise failures.translated(code, name) from error
        except self.nvml.NVMLLibraryMismatchError as error:
            raise device.MissingFunctionError(f"{name}: {error}") from error
        finally:
            if self._observer is not None:
                self._observer(name, time.perf_counter() - began, code)

    def _has(self, symbol: str) -> bool:
        return hasattr(self.nvml.nvmlLib, symbol)

    # Library and driver

    def init(self) -> None:
        """Load the library and initialise it; counted, so each init needs its shutdown."""
        if self._root is not None and self.nvml.nvmlLib is None:
            self.nvml.nvmlLib = library_file.load(self._root)  # type: ignore[attr-defined]  # a module's variable
        self._call("nvmlInit")

    def shutdown(self) -> None:
        """Take back one init; after the last one all handles are dead."""
        self._call("nvmlShutdown")

    def driver_version(self) -> str:
        """Such as 580.159.04."""
        return str(self._call("nvmlSystemGetDriverVersion"))

    def nvml_version(self) -> str:
        """Such as 13.580.159.04."""
        return str(self._call("nvmlSystemGetNVMLVersion"))

    def lacks(self) -> tuple[str, ...]:
        """The functions needed for cutting that this driver does not have."""
        return tuple(symbol for symbol in NEEDED if not self._has(symbol))

    # GPUs

    def count(self) -> int:
        """Number of GPUs, unreadable ones included."""
        return int(self._call("nvmlDeviceGetCount"))

    def handle(self, index: int) -> Handle:
        """The GPU at an index."""
        return self._call("nvmlDeviceGetHandleByIndex", index)

    def uuid(self, handle: Handle) -> str:
        """UUID of a GPU or a MIG device."""
        return str(self._call("nvmlDeviceGetUUID", handle))

    def product(self, handle: Handle) -> str:
        """Product name of a GPU."""
        return str(self._call("nvmlDeviceGetName", handle))

    def minor(self, handle: Handle) -> int:
        """N of /dev/nvidiaN; can change with MIG mode."""
        return int(self._call("nvmlDeviceGetMinorNumber", handle))

    def pci(self, handle: Handle) -> tuple[str, int]:
        """PCI address, and device id with vendor id, such as 0x20B010DE."""
        info = self._call("nvmlDeviceGetPciInfo", handle)
        return str(info.busId), int(info.pciDeviceId)

    def memory_mib(self, handle: Handle) -> int:
        """Memory of a GPU."""
        return int(self._call("nvmlDeviceGetMemoryInfo", handle).total) // _MIB

    def number(self, getter: str, handle: Handle) -> int | None:
        """What one of NVML's getters of a single number says of a GPU; None where the driver does not tell."""
        try:
            return int(self._call(getter, handle))
        except (device.NotSupportedError, device.MissingFunctionError, device.NoPermissionError):
            return None

    def mode(self, handle: Handle) -> device.ModeState:
        """MIG mode."""
        current, pending = self._call("nvmlDeviceGetMigMode", handle)
        return device.ModeState(bool(current), bool(pending))

    def set_mode(self, handle: Handle, enabled: bool) -> int:
        """Ask for MIG mode: the activation status, 0 when in force now; other than 0 is no error of the call."""
        return int(self._call("nvmlDeviceSetMigMode", handle, int(enabled)))

    def energy_mj(self, handle: Handle) -> int | None:
        """Energy used since the driver was last loaded, in mJ; None where it is not counted."""
        try:
            return int(self._call("nvmlDeviceGetTotalEnergyConsumption", handle))
        except (device.NotSupportedError, device.MissingFunctionError):
            return None

    def toggle_needs_reset(self, handle: Handle) -> bool | None:
        """Whether MIG mode changes only with a reset of the GPU; None where the driver does not tell."""
        try:
            value = self._call("nvmlDeviceGetFieldValues", handle, [_FIELD_RESETLESS])[0]
        except (device.NotSupportedError, device.MissingFunctionError, device.InvalidArgumentError):
            return None
        return None if value.nvmlReturn else not value.value.uiVal

    # GPU instances

    def profile(self, handle: Handle, enum_index: int) -> ProfileInfo:
        """The profile of an enumerator. NotSupportedError: not on this GPU; InvalidArgumentError: past the last one."""
        name: str | None
        try:
            info = self._call("nvmlDeviceGetGpuInstanceProfileInfo", handle, enum_index)
            name = str(info.name).removeprefix("MIG ")
        except device.MissingFunctionError:  # before R470 there is only the first struct, without names
            info = self._call("nvmlDeviceGetGpuInstanceProfileInfo", handle, enum_index, 1)
            name = None
        return ProfileInfo(
            profile_id=info.id,
            compute_slices=info.sliceCount,
            max_instances=info.instanceCount,
            sm=info.multiprocessorCount,
            copy_engines=info.copyEngineCount,
            dec=info.decoderCount,
            enc=info.encoderCount,
            jpeg=info.jpegCount,
            ofa=info.ofaCount,
            memory_mib=info.memorySizeMB,
            name=name,
        )

    def placements(self, handle: Handle, profile_id: int) -> tuple[tuple[int, int], ...]:
        """All (start, size) of a profile in memory slices, free or not."""
        name, count = "nvmlDeviceGetGpuInstancePossiblePlacements", ctypes.c_uint(0)
        self._call(name, handle, profile_id, None, ctypes.byref(count))
        array = (self.nvml.c_nvmlGpuInstancePlacement_t * count.value)()
        if count.value:
            self._call(name, handle, profile_id, array, ctypes.byref(count))
        return tuple((entry.start, entry.size) for entry in array[: count.value])

    def remaining(self, handle: Handle, profile_id: int) -> int:
        """How many more instances of a profile could be made now."""
        return int(self._call("nvmlDeviceGetGpuInstanceRemainingCapacity", handle, profile_id))

    def gpu_instances(self, handle: Handle, profile_id: int, most: int) -> list[Handle]:
        """The instances of a profile; `most` is how many the profile allows."""
        return self._list("nvmlDeviceGetGpuInstances", handle, profile_id, most, self.nvml.c_nvmlGpuInstance_t)

    def gpu_instance(self, handle: Handle, gi_id: int) -> Handle:
        """The instance with an id. Raises StaleHandleError if there is none."""
        return self._call("nvmlDeviceGetGpuInstanceById", handle, gi_id)

    def gpu_instance_info(self, instance: Handle) -> InstanceInfo:
        """Id, profile and place of a GPU instance."""
        return _instance_info(self._call("nvmlGpuInstanceGetInfo", instance))

    def create_gpu_instance(self, handle: Handle, profile_id: int, start: int, size: int) -> Handle:
        """Make a GPU instance exactly there."""
        placement = self.nvml.c_nvmlGpuInstancePlacement_t(start, size)
        return self._call("nvmlDeviceCreateGpuInstanceWithPlacement", handle, profile_id, ctypes.byref(placement))

    def destroy_gpu_instance(self, instance: Handle) -> None:
        """Destroy a GPU instance; it must be empty."""
        self._call("nvmlGpuInstanceDestroy", instance)

    # Compute instances

    def compute_profile(self, instance: Handle, enum_index: int) -> ComputeProfileInfo:
        """The compute profile of an enumerator, with shared engines. Errors as for `profile`."""
        name = "nvmlGpuInstanceGetComputeInstanceProfileInfo"
        try:
            info = self._call(name, instance, enum_index, 0)
        except device.MissingFunctionError:
            info = self._call(name, instance, enum_index, 0, 1)
        return ComputeProfileInfo(enum_index, info.id, info.sliceCount, info.instanceCount, info.multiprocessorCount)

    def compute_instances(self, instance: Handle, profile_id: int, most: int) -> list[Handle]:
        """The compute instances of a profile; `most` is how many the profile allows."""
        kind = self.nvml.c_nvmlComputeInstance_t
        return self._list("nvmlGpuInstanceGetComputeInstances", instance, profile_id, most, kind)

    def compute_instance_info(self, instance: Handle) -> InstanceInfo:
        """Id, profile and place of a compute instance. Its `device` is the parent GPU and is not read."""
        return _instance_info(self._call("nvmlComputeInstanceGetInfo_v2", instance))

    def create_compute_instance(self, instance: Handle, profile_id: int) -> Handle:
        """Make a compute instance."""
        return self._call("nvmlGpuInstanceCreateComputeInstance", instance, profile_id)

    def destroy_compute_instance(self, instance: Handle) -> None:
        """Destroy a compute instance."""
        self._call("nvmlComputeInstanceDestroy", instance)

    # MIG devices and processes

    def mig_devices(self, handle: Handle) -> list[tuple[int, int, Handle]]:
        """(GPU instance id, compute instance id, handle) of every MIG device; a GPU instance alone has none."""
        instances = []
        for index in range(int(self._call("nvmlDeviceGetMaxMigDeviceCount", handle))):
            try:
                mig = self._call("nvmlDeviceGetMigDeviceHandleByIndex", handle, index)
                gi_id = int(self._call("nvmlDeviceGetGpuInstanceId", mig))
                instances.append((gi_id, int(self._call("nvmlDeviceGetComputeInstanceId", mig)), mig))
            except (device.StaleHandleError, device.InvalidArgumentError):
                continue  # a hole, or gone while we looked
        return instances

    def processes(self, handle: Handle) -> list[device.GpuProcess]:
        """The processes of a GPU or MIG device, by pid: compute, graphics and MPS clients."""
        by_pid: dict[int, device.GpuProcess] = {}
        for kind in ("Compute", "Graphics", "MPSCompute"):
            for process in self._processes(handle, kind):
                by_pid[process.pid] = device.GpuProcess(
                    process.pid,
                    None if process.usedGpuMemory is None else process.usedGpuMemory // _MIB,
                    raw_events.attributed(process.gpuInstanceId),
                    raw_events.attributed(process.computeInstanceId),
                )
        return [by_pid[pid] for pid in sorted(by_pid)]

    def _processes(self, handle: Handle, kind: str) -> list[Any]:
        for version in ("_v3", "_v2"):
            try:
                return list(self._call(f"nvmlDeviceGet{kind}RunningProcesses{version}", handle))
            except device.MissingFunctionError:
                continue
        if kind == "Compute":
            raise device.MissingFunctionError("the driver lists no processes by GPU instance")
        return []

    # Events

    def event_set(self) -> Handle:
        """A new event set."""
        return self._call("nvmlEventSetCreate")

    def free_event_set(self, event_set: Handle) -> None:
        """Drop an event set."""
        self._call("nvmlEventSetFree", event_set)

    def register(self, handle: Handle, event_set: Handle) -> None:
        """Listen to a GPU's XID and memory errors and MIG changes, as far as it supports them."""
        supported = int(self._call("nvmlDeviceGetSupportedEventTypes", handle))
        kinds = raw_events.KINDS & supported
        if kinds:
            self._call("nvmlDeviceRegisterEvents", handle, kinds, event_set)

    def wait(self, event_set: Handle, timeout_ms: int) -> RawEvent | None:
        """The next event, None if none came in time."""
        try:
            event = self._call("nvmlEventSetWait", event_set, timeout_ms)
        except device.DeviceError as error:
            if getattr(error.__cause__, "value", None) == _TIMEOUT:
                return None
            raise
        return raw_events.read(event, address(event.device))

    def _list(self, name: str, parent: Handle, profile_id: int, most: int, kind: Any) -> list[Handle]:
        """Instances of a profile. A new array each time, because its elements are its memory, not copies."""
        count, array = ctypes.c_uint(0), (kind * most)()
        self._call(name, parent, profile_id, array, ctypes.byref(count))
        return list(array[: count.value])


NEEDED = (
    "nvmlDeviceCreateGpuInstanceWithPlacement",
    "nvmlDeviceGetGpuInstancePossiblePlacements_v2",
    "nvmlComputeInstanceGetInfo_v2",
)  # without these a slice cannot be put where the scheduler wants it, or not be read back


def address(handle: Handle) -> int:
    """The address a handle stands for."""
    return ctypes.cast(handle, ctypes.c_void_p).value or 0


def _instance_info(info: Any) -> InstanceInfo:
    return InstanceInfo(info.id, info.profileId, info.placement.start, info.placement.size)


def _pynvml(library: object | None) -> ModuleType:
    """pynvml itself; or with a library of one's own an unmodified second copy, as pynvml keeps it in a global."""
    if library is None:
        import pynvml  # type: ignore[import-untyped]

        return pynvml  # type: ignore[no-any-return]
    original = importlib.util.find_spec("pynvml")
    spec = original and importlib.util.spec_from_file_location(f"pynvml_copy_{next(_copies)}", original.origin)
    if not spec or not spec.loader:
        raise ImportError("pynvml (the package nvidia-ml-py) is not installed")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # it looks itself up there while it is executed
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[spec.name]
    module.nvmlLib = library  # type: ignore[attr-defined]
    return module
