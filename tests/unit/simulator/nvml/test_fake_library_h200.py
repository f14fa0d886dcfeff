"""The fake library as an H200 with MIG mode off, against what pynvml was answered by a real one.

Measured on one H200 behind PCI passthrough, driver 580.159.04, NVML 13.580.159.04, MIG mode off, read-only.
"""

import ctypes
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from allocator.mig import gpu_models
from node_agent.gpu.nvml.driver import Driver
from simulator.gpu.driver import SimulatedDriver, Virtualization
from simulator.gpu.gpu import SimulatedGpu
from simulator.gpu.mode import ModeMachine
from simulator.nvml.library import FakeLibrary

# name, enumerator, id, SM, CE, DEC, ENC, JPEG, OFA, MiB, instances, size, starts
MEASURED = [
    ("MIG 1g.18gb", 0, 19, 16, 1, 1, 0, 1, 0, 16384, 7, 1, (0, 1, 2, 3, 4, 5, 6)),
    ("MIG 1g.18gb+me", 7, 20, 16, 1, 1, 0, 1, 1, 16384, 1, 1, (0, 1, 2, 3, 4, 5, 6)),
    ("MIG 1g.35gb", 9, 15, 26, 1, 1, 0, 1, 0, 33280, 4, 2, (0, 2, 4, 6)),
    ("MIG 2g.35gb", 1, 14, 32, 2, 2, 0, 2, 0, 33280, 3, 2, (0, 2, 4)),
    ("MIG 3g.71gb", 2, 9, 60, 3, 3, 0, 3, 0, 71424, 2, 4, (0, 4)),
    ("MIG 4g.71gb", 3, 5, 64, 4, 4, 0, 4, 0, 71424, 1, 4, (0,)),
    ("MIG 7g.141gb", 4, 0, 132, 8, 7, 0, 7, 1, 143360, 1, 8, (0,)),
]
ABSENT = (5, 6, 8, 10, 11, 12, 13, 14, 15, 16)
UNKNOWN = (17, 18)
NOT_SUPPORTED, INVALID_ARGUMENT, NOT_FOUND = 3, 2, 6


@pytest.fixture
def nvml() -> Iterator[ModuleType]:
    """An unmodified pynvml, initialised on the fake library."""
    mode = ModeMachine(enabled=False, needs_reset=False, passthrough=True)
    gpu = SimulatedGpu(gpu_models.find("h200-141gb"), "GPU-0", mode=mode, branch=580)
    library = FakeLibrary(SimulatedDriver([gpu], virtualization=Virtualization.PASSTHROUGH))
    module = Driver(library).nvml
    module.nvmlInit()
    yield module
    assert not library.crashes


@pytest.fixture
def handle(nvml: Any) -> Any:
    return nvml.nvmlDeviceGetHandleByIndex(0)


def code(nvml: Any, call: Callable[[], object]) -> int:
    """The return code with which a call failed."""
    with pytest.raises(nvml.NVMLError) as caught:
        call()
    return int(caught.value.value)


@pytest.mark.parametrize("row", MEASURED, ids=lambda row: str(row[0]))
def test_profiles(nvml: Any, handle: Any, row: tuple[Any, ...]) -> None:
    """Each profile answers in both struct versions with the measured numbers, and its version reads back 0."""
    name, enum, profile_id, *numbers, mib, instances, _, _ = row
    for version in (1, 2):
        info = nvml.nvmlDeviceGetGpuInstanceProfileInfo(handle, enum, version)
        told = [info.multiprocessorCount, info.copyEngineCount, info.decoderCount, info.encoderCount]
        told += [info.jpegCount, info.ofaCount]
        assert (info.id, told, info.memorySizeMB, info.instanceCount) == (profile_id, numbers, mib, instances)
    assert info.name == name
    assert info.version == 0


@pytest.mark.parametrize("row", MEASURED, ids=lambda row: str(row[0]))
def test_placements_capacity_and_instances(nvml: Any, handle: Any, row: tuple[Any, ...]) -> None:
    """Placements, full capacity and no instances are answered although MIG mode is off."""
    _, _, profile_id, *_, instances, size, starts = row
    count = ctypes.c_uint(0)
    nvml.nvmlDeviceGetGpuInstancePossiblePlacements(handle, profile_id, None, ctypes.byref(count))
    array = (nvml.c_nvmlGpuInstancePlacement_t * count.value)()
    nvml.nvmlDeviceGetGpuInstancePossiblePlacements(handle, profile_id, array, ctypes.byref(count))
    assert [(placement.start, placement.size) for placement in array] == [(start, size) for start in starts]
    assert nvml.nvmlDeviceGetGpuInstanceRemainingCapacity(handle, profile_id) == instances
    array, count = (nvml.c_nvmlGpuInstance_t * instances)(), ctypes.c_uint(99)
    nvml.nvmlDeviceGetGpuInstances(handle, profile_id, array, ctypes.byref(count))
    assert count.value == 0


@pytest.mark.parametrize("version", [1, 2])
def test_absent_and_unknown_enumerators(nvml: Any, handle: Any, version: int) -> None:
    """Profiles that the board lacks are NOT_SUPPORTED, enumerators that the driver does not know INVALID_ARGUMENT."""
    for enum in ABSENT:
        call = nvml.nvmlDeviceGetGpuInstanceProfileInfo
        assert code(nvml, lambda enum=enum, call=call: call(handle, enum, version)) == NOT_SUPPORTED  # type: ignore[misc]
    for enum in UNKNOWN:
        call = nvml.nvmlDeviceGetGpuInstanceProfileInfo
        assert code(nvml, lambda enum=enum, call=call: call(handle, enum, version)) == INVALID_ARGUMENT  # type: ignore[misc]


def test_mode_and_mig_devices(nvml: Any, handle: Any) -> None:
    """MIG mode is off and settled, and there are no MIG devices, the first of them not found."""
    assert nvml.nvmlDeviceGetMigMode(handle) == [0, 0]
    assert nvml.nvmlDeviceGetMaxMigDeviceCount(handle) == 0
    assert code(nvml, lambda: nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, 0)) == NOT_FOUND
    assert nvml.nvmlDeviceIsMigDeviceHandle(handle).value == 0


def test_refusals(nvml: Any, handle: Any) -> None:
    """A GPU instance by id is not found, and attributes of the GPU itself are not supported."""
    assert code(nvml, lambda: nvml.nvmlDeviceGetGpuInstanceById(handle, 0)) == NOT_FOUND
    assert code(nvml, lambda: nvml.nvmlDeviceGetAttributes_v2(handle)) == NOT_SUPPORTED


def test_fields_memory_and_virtualization(nvml: Any, handle: Any) -> None:
    """Both MIG fields answer 1, the memory is the measured one, and the GPU is passed through."""
    assert [(field.nvmlReturn, field.value.uiVal) for field in nvml.nvmlDeviceGetFieldValues(handle, [184, 199])] == [
        (0, 1),
        (0, 1),
    ]
    assert nvml.nvmlDeviceGetMemoryInfo(handle).total // (1 << 20) == 143771
    assert nvml.nvmlDeviceGetVirtualizationMode(handle) == 1


def test_versions_and_handles(nvml: Any, handle: Any) -> None:
    """Driver and library tell the measured versions, and the GPU's UUID leads back to its handle."""
    assert nvml.nvmlSystemGetDriverVersion() == "580.159.04"
    assert nvml.nvmlSystemGetNVMLVersion() == "13.580.159.04"
    again = nvml.nvmlDeviceGetHandleByUUID(nvml.nvmlDeviceGetUUID(handle))
    assert ctypes.cast(again, ctypes.c_void_p).value == ctypes.cast(handle, ctypes.c_void_p).value
