"""The traps of pynvml, each shown to be avoided."""

import ctypes
import importlib.metadata
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from node_agent.gpu import device
from node_agent.gpu.nvml import failures
from node_agent.gpu.nvml.driver import NEEDED, Driver, address
from simulator.gpu.driver import SimulatedDriver, simulate
from simulator.gpu.faults import Call
from simulator.nvml.library import FakeLibrary

MODEL = "a100-40gb"


def initialised(driver: SimulatedDriver) -> Driver:
    """A binding on the driver's library."""
    made = Driver(FakeLibrary(driver))
    made.init()
    return made


@pytest.fixture
def driver() -> SimulatedDriver:
    return simulate(MODEL)


@pytest.fixture
def binding(driver: SimulatedDriver) -> Iterator[Driver]:
    made = initialised(driver)
    yield made
    assert not made.nvml.nvmlLib.crashes


@pytest.fixture
def handle(binding: Driver) -> Any:
    return binding.handle(0)


def old(*missing: str) -> Driver:
    """A binding on a driver that lacks some symbols."""
    return initialised(SimulatedDriver(simulate(MODEL).gpus.values(), missing=frozenset(missing)))


def test_the_maintained_package_is_used() -> None:
    """What is imported as pynvml is nvidia-ml-py 13 or newer, whose structs match today's drivers."""
    assert int(importlib.metadata.version("nvidia-ml-py").split(".")[0]) >= 13


def test_handles_outlive_the_next_listing(driver: SimulatedDriver, binding: Driver, handle: Any) -> None:
    """Handles from one listing stay the same after the next one, and each leads to its own instance."""
    gpu = driver.by_index()[0]
    for start in (0, 1):
        gpu.create("1g.5gb", start)
    gpu.create("2g.10gb", 2)
    small = binding.gpu_instances(handle, 19, 7)
    before = [address(handle) for handle in small]
    (large,) = binding.gpu_instances(handle, 14, 3)
    assert [address(handle) for handle in small] == before
    assert [binding.gpu_instance_info(handle).start for handle in (*small, large)] == [0, 1, 2]


def test_handles_keep_64_bits(driver: SimulatedDriver, binding: Driver, handle: Any) -> None:
    """Handles above 4 GiB are passed on whole."""
    driver.by_index()[0].create("1g.5gb", 0)
    (instance,) = binding.gpu_instances(handle, 19, 7)
    assert address(instance) > 0xFFFFFFFF
    assert binding.gpu_instance_info(instance).number == 7


def test_names_lose_their_prefix(binding: Driver, handle: Any) -> None:
    """The profile's name comes without "MIG "."""
    assert binding.profile(handle, 0).name == "1g.5gb"


@pytest.mark.parametrize("symbol", ["nvmlDeviceGetGpuInstanceProfileInfoV"])
def test_old_struct_of_profiles(symbol: str) -> None:
    """Without the versioned function the first struct is read, which has everything but the name."""
    made, new = old(symbol), initialised(simulate(MODEL))
    told, full = made.profile(made.handle(0), 9), new.profile(new.handle(0), 9)
    assert told.name is None
    assert full.name == "1g.10gb"
    assert (told.profile_id, told.memory_mib, told.dec) == (full.profile_id, full.memory_mib, full.dec)


def test_old_struct_of_compute_profiles() -> None:
    """Without the versioned function compute profiles are read from the first struct."""
    made = old("nvmlGpuInstanceGetComputeInstanceProfileInfoV")
    instance = made.create_gpu_instance(made.handle(0), 9, 0, 4)
    assert made.compute_profile(instance, 2).compute_slices == 3


def test_placements_without_any(binding: Driver, handle: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile that lists no placement has none, and no empty array is handed to the driver."""
    calls: list[Any] = []

    def empty(_handle: object, _profile: int, array: object, _count: object) -> None:
        calls.append(array)

    monkeypatch.setattr(binding.nvml, "nvmlDeviceGetGpuInstancePossiblePlacements", empty)
    assert binding.placements(handle, 19) == ()
    assert calls == [None]


def test_function_that_pynvml_lacks(binding: Driver, handle: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that an older pynvml does not have is a missing function, not an AttributeError."""
    monkeypatch.delattr(binding.nvml, "nvmlDeviceCreateGpuInstanceWithPlacement")
    with pytest.raises(device.MissingFunctionError, match="pynvml"):
        binding.create_gpu_instance(handle, 19, 0, 1)


@pytest.mark.parametrize("symbol", NEEDED)
def test_function_that_the_driver_lacks(symbol: str) -> None:
    """What is needed for cutting and missing in the driver is named."""
    assert old(symbol).lacks() == (symbol,)
    assert initialised(simulate(MODEL)).lacks() == ()


def test_library_mismatch_is_translated(binding: Driver, handle: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """pynvml's mismatch error, which is no NVMLError, is a missing function."""

    def mismatch(_: object) -> None:
        raise binding.nvml.NVMLLibraryMismatchError("unversioned")

    monkeypatch.setattr(binding.nvml, "nvmlDeviceGetMinorNumber", mismatch)
    with pytest.raises(device.MissingFunctionError, match="unversioned"):
        binding.minor(handle)


def test_processes_on_an_older_driver(driver: SimulatedDriver) -> None:
    """Without the newest process list the one before is read, and without both it is said."""
    driver.by_index()[0].create("1g.5gb", 0)
    driver.by_index()[0].start_process(7, 42, memory_mib=10)
    names = [f"nvmlDeviceGet{kind}RunningProcesses_v3" for kind in ("Compute", "Graphics", "MPSCompute")]
    made = initialised(SimulatedDriver(driver.gpus.values(), missing=frozenset(names)))
    assert made.processes(made.handle(0)) == [device.GpuProcess(42, 10, 7, 0)]
    names.append("nvmlDeviceGetComputeRunningProcesses_v2")
    made = initialised(SimulatedDriver(driver.gpus.values(), missing=frozenset(names)))
    with pytest.raises(device.MissingFunctionError):
        made.processes(made.handle(0))


def test_reset_field_may_be_unknown(binding: Driver, handle: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that does not tell whether MIG mode needs a reset leaves it open."""
    assert binding.toggle_needs_reset(handle) is True

    class Value:
        nvmlReturn = 3  # noqa: N815

    monkeypatch.setattr(binding.nvml, "nvmlDeviceGetFieldValues", lambda *_: [Value])
    assert binding.toggle_needs_reset(handle) is None


def test_errors_are_told_apart_by_code(driver: SimulatedDriver, binding: Driver, handle: Any) -> None:
    """An error of NVML comes as the port's, names the function and the code, and keeps pynvml's as its cause."""
    driver.faults.fail(Call.GET_MODE, device.ResetRequiredError)
    with pytest.raises(device.ResetRequiredError, match="nvmlDeviceGetMigMode answered 16") as caught:
        binding.mode(handle)
    assert isinstance(caught.value.__cause__, binding.nvml.NVMLError)


@pytest.mark.parametrize("code", [8, 11, 20, 26, 999, 12345])
def test_code_without_a_class(code: int) -> None:
    """A code that means nothing special is a plain DeviceError that names it, known to pynvml or not."""
    error = failures.translated(code, "nvmlSomething")
    assert type(error) is device.DeviceError
    assert str(code) in str(error)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (1, device.UninitializedError),
        (2, device.InvalidArgumentError),
        (3, device.NotSupportedError),
        (4, device.NoPermissionError),
        (6, device.StaleHandleError),
        (9, device.DriverNotLoadedError),
        (12, device.DriverNotLoadedError),
        (13, device.MissingFunctionError),
        (15, device.GpuLostError),
        (16, device.ResetRequiredError),
        (18, device.DriverMismatchError),
        (19, device.DeviceBusyError),
        (23, device.NoRoomError),
        (25, device.MissingFunctionError),
    ],
)
def test_codes_with_a_class(code: int, expected: type[device.DeviceError]) -> None:
    """Each code that the agent acts on has its own error."""
    assert type(failures.translated(code, "nvmlSomething")) is expected


def test_every_call_is_observed(driver: SimulatedDriver) -> None:
    """An observer is told function, seconds and code of each call, failed ones included."""
    seen: list[tuple[str, float, int]] = []
    made = Driver(FakeLibrary(driver), lambda *call: seen.append(call))
    made.init()
    with pytest.raises(device.InvalidArgumentError):
        made.handle(9)
    assert [(name, code) for name, _, code in seen] == [("nvmlInit", 0), ("nvmlDeviceGetHandleByIndex", 2)]
    assert all(seconds >= 0 for _, seconds, _ in seen)


def test_libraries_do_not_mix() -> None:
    """Two bindings with libraries of their own see their own GPUs, and the real pynvml is left alone."""
    import pynvml  # type: ignore[import-untyped]

    first, second = initialised(simulate(MODEL, seed="a")), initialised(simulate(MODEL, seed="b"))
    assert first.uuid(first.handle(0)) != second.uuid(second.handle(0))
    assert pynvml.nvmlLib is None
    assert not [name for name in sys.modules if name.startswith("pynvml_copy")]


def test_event_without_attribution(driver: SimulatedDriver, binding: Driver, handle: Any) -> None:
    """Ids that the driver does not attribute come as None, and no event as None."""
    events = binding.event_set()
    binding.register(handle, events)
    assert binding.wait(events, 0) is None
    driver.xid(driver.by_index()[0].uuid, 79)
    event = binding.wait(events, 1000)
    assert event is not None
    assert (event.is_xid, event.data, event.gi_id, event.ci_id) == (True, 79, None, None)
    assert event.handle == ctypes.cast(handle, ctypes.c_void_p).value


def test_waiting_reports_real_errors(driver: SimulatedDriver, binding: Driver) -> None:
    """An error of the wait that is not its timeout is raised."""
    events = binding.event_set()
    driver.upgrade()
    with pytest.raises(device.DriverMismatchError):
        binding.wait(events, 0)
