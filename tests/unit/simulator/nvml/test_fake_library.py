"""The fake library as pynvml sees it: C structures, handles, misuse, symbols, and the order of checks."""

import ctypes
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from node_agent.gpu.nvml.driver import Driver
from simulator.gpu.driver import Privilege, SimulatedDriver, simulate
from simulator.gpu.faults import Call
from simulator.gpu.users import DeviceUser
from simulator.nvml import structs
from simulator.nvml.library import FakeLibrary

Nvml = Any
IN_USE, INSUFFICIENT_RESOURCES, NOT_FOUND, NOT_SUPPORTED, INVALID_ARGUMENT = 19, 23, 6, 3, 2


class Opened:
    """An unmodified pynvml on a fake library, with the handle of the first GPU."""

    def __init__(self, driver: SimulatedDriver) -> None:
        self.driver = driver
        self.gpu = driver.by_index()[0]
        self.library = FakeLibrary(driver)
        self.nvml: Nvml = Driver(self.library).nvml
        self.nvml.nvmlInit()
        self.handle = self.nvml.nvmlDeviceGetHandleByIndex(0)

    def code(self, call: Callable[[], object]) -> int:
        """The return code with which a call failed."""
        with pytest.raises(self.nvml.NVMLError) as caught:
            call()
        return int(caught.value.value)

    def create(self, profile_id: int, start: int, size: int) -> Any:
        """Make a GPU instance."""
        placement = self.nvml.c_nvmlGpuInstancePlacement_t(start, size)
        return self.nvml.nvmlDeviceCreateGpuInstanceWithPlacement(self.handle, profile_id, ctypes.byref(placement))


@pytest.fixture
def opened() -> Iterator[Opened]:
    made = Opened(simulate("a100-40gb:2"))
    yield made
    assert not made.library.crashes


@pytest.mark.parametrize(
    ("ours", "theirs", "size"),
    [
        (structs.GpuInstanceProfileInfo, "c_nvmlGpuInstanceProfileInfo_t", 48),
        (structs.GpuInstanceProfileInfoV2, "c_nvmlGpuInstanceProfileInfo_v2_t", 152),
        (structs.ComputeInstanceProfileInfo, "c_nvmlComputeInstanceProfileInfo_t", 36),
        (structs.ComputeInstanceProfileInfoV2, "c_nvmlComputeInstanceProfileInfo_v2_t", 136),
        (structs.GpuInstanceInfo, "c_nvmlGpuInstanceInfo_t", 24),
        (structs.ComputeInstanceInfo, "c_nvmlComputeInstanceInfo_t", 32),
        (structs.DeviceAttributes, "c_nvmlDeviceAttributes", 40),
        (structs.ProcessInfo, "c_nvmlProcessInfo_t", 24),
        (structs.EventData, "c_nvmlEventData_t", 32),
        (structs.PciInfo, "nvmlPciInfo_t", 68),
        (structs.MemoryInfo, "c_nvmlMemory_t", 24),
        (structs.FieldValue, "c_nvmlFieldValue_t", 40),
        (structs.GpuInstancePlacement, "c_nvmlGpuInstancePlacement_t", 8),
    ],
)
def test_structures_have_the_size_of_the_header(
    opened: Opened, ours: type[ctypes.Structure], theirs: str, size: int
) -> None:
    """Each structure has the size that the C compiler gives it, here and in pynvml."""
    assert ctypes.sizeof(ours) == ctypes.sizeof(getattr(opened.nvml, theirs)) == size


def test_third_struct_of_profiles_has_the_size_of_its_version() -> None:
    """The size of a versioned structure is the low half of its version."""
    for struct in (
        structs.GpuInstanceProfileInfoV2,
        structs.GpuInstanceProfileInfoV3,
        structs.ComputeInstanceProfileInfoV2,
    ):
        assert ctypes.sizeof(struct) == struct.VERSION & 0xFFFF
    assert structs.GpuInstanceProfileInfoV3.capabilities.offset == 144


def test_struct_passed_by_value_is_caught(opened: Opened) -> None:
    """A structure passed by value, on which a real library crashes, is a TypeError here."""
    placement = opened.nvml.c_nvmlGpuInstancePlacement_t(0, 4)
    with pytest.raises(ctypes.ArgumentError, match="by value"):
        opened.nvml.nvmlDeviceCreateGpuInstanceWithPlacement(opened.handle, 9, placement)
    with pytest.raises(ctypes.ArgumentError, match="by value"):
        opened.nvml.nvmlDeviceGetGpuInstancePossiblePlacements(opened.handle, 9, None, ctypes.c_uint(0))


def test_handle_passed_as_a_number_is_cut_to_32_bits(opened: Opened) -> None:
    """A handle passed on as a bare number is no handle any more."""
    number = ctypes.cast(opened.handle, ctypes.c_void_p).value
    assert number is not None
    assert number > 0xFFFFFFFF
    assert opened.code(lambda: opened.nvml.nvmlDeviceGetMigMode(number)) == INVALID_ARGUMENT


def test_array_elements_alias_the_array(opened: Opened) -> None:
    """A handle taken from pynvml's array changes when the array is used again: why the binding copies."""
    opened.create(19, 0, 1)
    opened.create(14, 2, 2)
    array, count = (opened.nvml.c_nvmlGpuInstance_t * 7)(), ctypes.c_uint(0)
    opened.nvml.nvmlDeviceGetGpuInstances(opened.handle, 19, array, ctypes.byref(count))
    first = array[0]
    before = opened.nvml.nvmlGpuInstanceGetInfo(first).profileId
    opened.nvml.nvmlDeviceGetGpuInstances(opened.handle, 14, array, ctypes.byref(count))
    assert (before, opened.nvml.nvmlGpuInstanceGetInfo(first).profileId) == (19, 14)


def test_array_without_room_is_insufficient_size(opened: Opened) -> None:
    """Too small an array for the placements is refused and the number needed is told."""
    array, count = (opened.nvml.c_nvmlGpuInstancePlacement_t * 2)(), ctypes.c_uint(2)
    call = opened.nvml.nvmlDeviceGetGpuInstancePossiblePlacements
    assert opened.code(lambda: call(opened.handle, 19, array, ctypes.byref(count))) == 7
    assert count.value == 7


def test_functions_before_init_are_uninitialized() -> None:
    """Before nvmlInit and after the last nvmlShutdown every function is UNINITIALIZED, and old handles are dead."""
    opened = Opened(simulate("a100-40gb"))
    opened.nvml.nvmlInit()
    opened.nvml.nvmlShutdown()
    assert opened.nvml.nvmlDeviceGetMigMode(opened.handle) == [1, 1]
    opened.nvml.nvmlShutdown()
    assert opened.code(lambda: opened.nvml.nvmlDeviceGetMigMode(opened.handle)) == 1
    opened.nvml.nvmlInit()
    assert opened.code(lambda: opened.nvml.nvmlDeviceGetMigMode(opened.handle)) == INVALID_ARGUMENT


def test_missing_symbol_is_function_not_found() -> None:
    """A symbol that the driver's library lacks is FUNCTION_NOT_FOUND, as from any old library."""
    symbol = "nvmlDeviceGetGpuInstanceRemainingCapacity"
    gpu = simulate("a100-40gb").by_index()[0]
    opened = Opened(SimulatedDriver([gpu], missing=frozenset({symbol})))
    assert opened.code(lambda: opened.nvml.nvmlDeviceGetGpuInstanceRemainingCapacity(opened.handle, 19)) == 13


def test_struct_of_the_future_is_a_version_mismatch() -> None:
    """An old driver refuses the third struct of profiles, a new one fills it with the graphics capability."""
    for version, expected in (("550.54.14", 25), ("580.159.04", 0)):
        opened = Opened(simulate("rtx-pro-6000-blackwell-96gb", version=version))
        info = structs.GpuInstanceProfileInfoV3(version=structs.GpuInstanceProfileInfoV3.VERSION)
        function = opened.library.nvmlDeviceGetGpuInstanceProfileInfoV
        enum = 10 if expected == 0 else 0
        assert function(opened.handle, enum, ctypes.byref(info)) == expected
        assert info.capabilities == (2 if expected == 0 else 0)


def test_check_order() -> None:
    """Permission is checked before the mode, the mode before the arguments, the arguments before the room."""
    opened = Opened(simulate("h100-80gb", mig=False))
    opened.driver.privilege = Privilege.MONITOR
    assert opened.code(lambda: opened.create(99, 0, 4)) == 4
    opened.driver.privilege = Privilege.ADMIN
    assert opened.code(lambda: opened.create(99, 0, 4)) == NOT_SUPPORTED
    opened.nvml.nvmlDeviceSetMigMode(opened.handle, 1)
    assert opened.code(lambda: opened.create(99, 0, 4)) == INVALID_ARGUMENT
    opened.create(0, 0, 8)
    assert opened.code(lambda: opened.create(9, 2, 4)) == INVALID_ARGUMENT
    assert opened.code(lambda: opened.create(9, 0, 3)) == INVALID_ARGUMENT
    assert opened.code(lambda: opened.create(9, 0, 4)) == INSUFFICIENT_RESOURCES


def test_gpu_instance_with_a_compute_instance_is_in_use(opened: Opened) -> None:
    """A GPU instance goes only after its compute instances, those only after their processes, and handles die."""
    instance = opened.create(9, 4, 4)
    part = opened.nvml.nvmlGpuInstanceCreateComputeInstance(instance, 2)
    opened.gpu.start_process(2, 77)
    assert opened.code(lambda: opened.nvml.nvmlComputeInstanceDestroy(part)) == IN_USE
    opened.gpu.end_process(77)
    assert opened.code(lambda: opened.nvml.nvmlGpuInstanceDestroy(instance)) == IN_USE
    opened.nvml.nvmlComputeInstanceDestroy(part)
    opened.nvml.nvmlGpuInstanceDestroy(instance)
    assert opened.code(lambda: opened.nvml.nvmlGpuInstanceDestroy(instance)) == INVALID_ARGUMENT
    assert opened.code(lambda: opened.nvml.nvmlDeviceGetGpuInstanceById(opened.handle, 2)) == NOT_FOUND


def test_handle_does_not_survive_re_creation(opened: Opened) -> None:
    """The handle of a destroyed instance is dead although the same place is cut again."""
    old = opened.create(19, 0, 1)
    opened.nvml.nvmlGpuInstanceDestroy(old)
    opened.create(19, 0, 1)
    assert opened.code(lambda: opened.nvml.nvmlGpuInstanceGetInfo(old)) == INVALID_ARGUMENT


def test_compute_instances_in_slices_of_their_gpu_instance(opened: Opened) -> None:
    """Compute instances are placed in compute slices, and the info's device is the parent GPU."""
    instance = opened.create(0, 0, 8)
    made = opened.nvml.nvmlGpuInstanceCreateComputeInstance(instance, 2)
    info = opened.nvml.nvmlComputeInstanceGetInfo_v2(made)
    assert (info.id, info.profileId, info.placement.size) == (0, 2, 3)
    assert opened.nvml.nvmlDeviceGetUUID(info.device) == opened.gpu.uuid
    count = ctypes.c_uint(0)
    call = opened.nvml.nvmlGpuInstanceGetComputeInstancePossiblePlacements
    call(instance, 2, None, ctypes.byref(count))
    array = (opened.nvml.c_nvmlComputeInstancePlacement_t * count.value)()
    call(instance, 2, array, ctypes.byref(count))
    assert [(placement.start, placement.size) for placement in array] == [(0, 3), (4, 3)]
    assert opened.nvml.nvmlGpuInstanceGetComputeInstanceRemainingCapacity(instance, 2) == 1


def test_mig_device_tells_of_itself(opened: Opened) -> None:
    """A MIG device has its own UUID, name, memory, attributes and processes; of the GPU no utilization is told."""
    instance = opened.create(9, 4, 4)
    opened.nvml.nvmlGpuInstanceCreateComputeInstance(instance, 2)
    mig = opened.nvml.nvmlDeviceGetMigDeviceHandleByIndex(opened.handle, 0)
    assert opened.nvml.nvmlDeviceIsMigDeviceHandle(mig).value == 1
    assert opened.nvml.nvmlDeviceGetName(mig) == "NVIDIA A100-SXM4-40GB MIG 3g.20gb"
    attributes = opened.nvml.nvmlDeviceGetAttributes_v2(mig)
    assert (attributes.multiprocessorCount, attributes.memorySizeMB) == (42, 19968 - 128)
    assert (attributes.gpuInstanceSliceCount, attributes.computeInstanceSliceCount) == (3, 3)
    opened.gpu.start_process(2, 77, memory_mib=100)
    assert [process.pid for process in opened.nvml.nvmlDeviceGetComputeRunningProcesses(mig)] == [77]
    memory = opened.nvml.nvmlDeviceGetMemoryInfo(mig)
    assert (memory.total - memory.free, memory.used) == (100 << 20, 100 << 20)
    assert opened.code(lambda: opened.nvml.nvmlDeviceGetUtilizationRates(opened.handle)) == NOT_SUPPORTED


@pytest.mark.parametrize(("privilege", "told"), [(Privilege.ADMIN, 2), (Privilege.NONE, 0xFFFFFFFF)])
def test_parent_lists_all_processes(opened: Opened, privilege: Privilege, told: int) -> None:
    """Asked of the GPU, processes of all instances are listed, with ids for the privileged only."""
    instance = opened.create(9, 4, 4)
    opened.nvml.nvmlGpuInstanceCreateComputeInstance(instance, 2)
    opened.gpu.start_process(2, 77)
    opened.driver.privilege = privilege
    (process,) = opened.nvml.nvmlDeviceGetComputeRunningProcesses(opened.handle)
    assert (process.pid, process.gpuInstanceId) == (77, told)


def test_hidden_holder_shows_no_process(opened: Opened) -> None:
    """Who holds an instance without a process makes it IN_USE with an empty list of processes."""
    instance = opened.create(19, 0, 1)
    opened.gpu.hold(DeviceUser("dcgm", 7))
    assert opened.code(lambda: opened.nvml.nvmlGpuInstanceDestroy(instance)) == IN_USE
    assert opened.nvml.nvmlDeviceGetComputeRunningProcesses(opened.handle) == []


def test_set_mode_returns_the_activation_status(opened: Opened) -> None:
    """A mode that only becomes pending is a successful call with a status, not an exception."""
    opened.gpu.hold(DeviceUser("dcgm"))
    assert opened.nvml.nvmlDeviceSetMigMode(opened.handle, 0) == IN_USE
    assert opened.nvml.nvmlDeviceGetMigMode(opened.handle) == [1, 0]
    assert opened.code(lambda: opened.nvml.nvmlDeviceSetMigMode(opened.handle, 2)) == INVALID_ARGUMENT


def test_an_error_of_the_simulation_is_kept(opened: Opened) -> None:
    """An exception inside the fake library becomes UNKNOWN and is kept for the test to find."""
    opened.gpu.index = None  # type: ignore[assignment]
    assert opened.code(lambda: opened.nvml.nvmlDeviceGetIndex(opened.handle)) == 999
    assert len(opened.library.crashes) == 1
    opened.library.crashes.clear()


def test_gpu_lost(opened: Opened) -> None:
    """A lost GPU answers everything with GPU_IS_LOST, is counted still, and the other one works."""
    opened.driver.lose(opened.gpu.uuid)
    assert opened.code(lambda: opened.nvml.nvmlDeviceGetMigMode(opened.handle)) == 15
    assert opened.code(lambda: opened.nvml.nvmlDeviceGetHandleByIndex(0)) == 15
    assert opened.nvml.nvmlDeviceGetCount() == 2
    assert opened.nvml.nvmlDeviceGetMigMode(opened.nvml.nvmlDeviceGetHandleByIndex(1)) == [1, 1]


def test_latency_strikes_the_call_that_it_is_for() -> None:
    """Each call lasts as long as its latency says, and others do not."""
    lasted: list[float] = []
    opened = Opened(simulate("a100-40gb", pause=lasted.append))
    opened.driver.faults.latency_s = {Call.UUID: 10.0}
    opened.nvml.nvmlDeviceGetMigMode(opened.handle)
    opened.nvml.nvmlDeviceGetUUID(opened.handle)
    assert lasted == [10.0]


def test_handles_by_name(opened: Opened) -> None:
    """A GPU is found by UUID and by PCI address, a MIG device by its own UUID, and what is not there not."""
    instance = opened.create(9, 4, 4)
    opened.nvml.nvmlGpuInstanceCreateComputeInstance(instance, 2)
    mig = opened.nvml.nvmlDeviceGetMigDeviceHandleByIndex(opened.handle, 0)
    by_uuid, by_address = opened.nvml.nvmlDeviceGetHandleByUUID, opened.nvml.nvmlDeviceGetHandleByPciBusId
    for device_handle in (
        by_uuid(opened.gpu.uuid),
        by_address("00000000:10:00.0"),
        opened.nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(mig),
    ):
        assert opened.nvml.nvmlDeviceGetUUID(device_handle) == opened.gpu.uuid
    assert opened.nvml.nvmlDeviceGetGpuInstanceId(by_uuid(opened.nvml.nvmlDeviceGetUUID(mig))) == 2
    assert opened.code(lambda: by_uuid("GPU-not-here")) == NOT_FOUND
    assert opened.code(lambda: by_address("00000000:99:00.0")) == NOT_FOUND


@pytest.mark.parametrize("holes", [False, True])
def test_indices_of_mig_devices(holes: bool) -> None:
    """When a MIG device goes, those behind it move up, or keep their index and leave a hole that is not found."""
    opened = Opened(SimulatedDriver(simulate("a100-40gb").gpus.values(), holes=holes))
    for start in range(3):
        opened.gpu.create("1g.5gb", start)
    opened.gpu.destroy(7)
    by_index = opened.nvml.nvmlDeviceGetMigDeviceHandleByIndex
    assert opened.nvml.nvmlDeviceGetMaxMigDeviceCount(opened.handle) == 7
    assert opened.code(lambda: by_index(opened.handle, 0 if holes else 2)) == NOT_FOUND
    last = by_index(opened.handle, 2 if holes else 1)
    assert opened.nvml.nvmlDeviceGetGpuInstanceId(last) == 9
    assert opened.nvml.nvmlDeviceGetIndex(last) == (2 if holes else 1)
    assert opened.code(lambda: by_index(opened.handle, 7)) == INVALID_ARGUMENT


def test_handle_does_not_survive_another_hand(opened: Opened) -> None:
    """The handle of an instance that others destroyed and made again is dead."""
    old = opened.create(19, 0, 1)
    opened.gpu.destroy(7)
    opened.gpu.create("1g.5gb", 0)
    assert opened.code(lambda: opened.nvml.nvmlGpuInstanceGetInfo(old)) == INVALID_ARGUMENT
