"""What NvmlDevices does beyond the port's contract: degrade, explain, and leave nothing open."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from allocator.mig import gpu_models
from node_agent.gpu import device
from node_agent.gpu.device import GpuState
from node_agent.gpu.nvml import capabilities
from node_agent.gpu.nvml.devices import Deadlines, NvmlDevices
from node_agent.gpu.nvml.driver import ComputeProfileInfo, Driver
from node_agent.gpu.nvml.instances import Instances
from simulator.gpu.driver import Privilege, SimulatedDriver, simulate
from simulator.gpu.faults import Call
from simulator.gpu.gpu import SimulatedGpu
from simulator.gpu.users import DeviceUser
from simulator.nvml.library import FakeLibrary

MODEL = "a100-40gb"


class Node:
    """NvmlDevices on a simulated driver."""

    def __init__(self, driver: SimulatedDriver, deadlines: Deadlines | None = None) -> None:
        self.driver = driver
        self.library = FakeLibrary(driver)
        self.called: list[str] = []  # the NVML functions
        self.binding = Driver(self.library, lambda name, *_: self.called.append(name))
        self.devices = NvmlDevices(self.binding, deadlines=deadlines)
        self.gpu = driver.by_index()[0]

    def create(self, profile: str, start: int) -> device.GpuInstance:
        """Cut on the first GPU."""
        return self.devices.create(self.gpu.uuid, self.gpu.catalogue.placement(profile, start))


@pytest.fixture
def node() -> Node:
    return Node(simulate(MODEL))


def calls(node: Node) -> list[str]:
    """The NVML functions called from now on."""
    node.called.clear()
    return node.called


def test_the_library_is_loaded_with_the_first_call() -> None:
    """Nothing is initialised before the first call, so that a fork in between does no harm; closing shuts it down."""
    node = Node(simulate(MODEL))
    seen = calls(node)
    assert seen == []
    node.devices.instances(node.gpu.uuid)
    assert seen[0] == "nvmlInit"
    node.devices.close()
    assert seen[-1] == "nvmlShutdown"
    assert not node.library.session.initialised


def test_closing_without_a_call(node: Node) -> None:
    """Closing what was never used is no error."""
    node.devices.close()


def test_threads_end_with_close() -> None:
    """After closing no thread of ours is left."""
    before = set(threading.enumerate())
    node = Node(simulate(f"{MODEL}:3"))
    node.devices.discover()
    assert len(set(threading.enumerate()) - before) >= 4
    node.devices.close()
    until = time.monotonic() + 20
    while set(threading.enumerate()) - before:
        assert time.monotonic() < until, "a thread is left"


def test_handles_and_the_catalogue_are_kept(node: Node) -> None:
    """A second discovery asks for MIG mode, and neither for handles nor for profiles again."""
    node.devices.discover()
    seen = calls(node)
    node.devices.discover()
    assert "nvmlDeviceGetMigMode" in seen
    assert not {"nvmlInit", "nvmlDeviceGetHandleByIndex", "nvmlDeviceGetGpuInstanceProfileInfo"} & set(seen)


def test_a_cut_walks_the_mig_devices_once(node: Node) -> None:
    """The walk over all MIG devices, slow on a busy GPU, is made once per cut."""
    node.devices.discover()
    seen = calls(node)
    node.create("1g.5gb", 0)
    assert seen.count("nvmlDeviceGetMaxMigDeviceCount") == 1
    assert seen.count("nvmlDeviceGetUUID") == 1


def test_busy_names_the_processes(node: Node) -> None:
    """A refusal to destroy names the processes in the slice, or says that none is visible."""
    made = node.create("1g.5gb", 0)
    node.gpu.start_process(made.gi_id, 4242)
    with pytest.raises(device.DeviceBusyError) as caught:
        node.devices.destroy(node.gpu.uuid, made.gi_id, made.placement)
    assert caught.value.__notes__ == ["processes in it: 4242"]
    node.gpu.end_process(4242)
    node.gpu.hold(DeviceUser("dcgm", made.gi_id))
    with pytest.raises(device.DeviceBusyError) as caught:
        node.devices.destroy(node.gpu.uuid, made.gi_id, made.placement)
    assert "none visible" in caught.value.__notes__[0]


def test_failed_rollback_is_told(node: Node) -> None:
    """A cut whose rollback failed as well says so beside its own error."""
    node.driver.faults.fail(Call.CREATE_COMPUTE_INSTANCE, device.NoRoomError)
    node.driver.faults.fail(Call.DESTROY_GPU_INSTANCE, device.DeviceBusyError)
    with pytest.raises(device.NoRoomError) as caught:
        node.create("1g.5gb", 0)
    assert "could not be destroyed" in caught.value.__notes__[0]


def test_a_placement_that_reads_back_otherwise_is_taken_back(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU instance that came out elsewhere than asked for is destroyed and refused."""
    node.devices.discover()

    def elsewhere(handle: Any, profile_id: int, _start: int, _size: int) -> Any:
        return node.binding.nvml.nvmlDeviceCreateGpuInstance(handle, profile_id)

    monkeypatch.setattr(node.binding, "create_gpu_instance", elsewhere)
    with pytest.raises(device.DeviceError, match=r"asked for 1g\.5gb@0, got profile 19 at 6:1"):
        node.create("1g.5gb", 0)
    assert node.gpu.instances() == ()


def test_a_slice_without_uuid_is_taken_back(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slice whose MIG device does not appear cannot be handed out and is destroyed."""
    monkeypatch.setattr(node.binding, "mig_devices", lambda _: [])
    with pytest.raises(device.DeviceError, match="no MIG UUID"):
        node.create("1g.5gb", 0)
    assert node.gpu.instances() == ()


def test_an_instance_that_vanishes_while_listed_is_left_out(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """An instance that another hand destroys between two questions is left out of the inventory."""
    made = [node.create("1g.5gb", start) for start in (0, 1)]
    plain = node.binding.mig_devices

    def another_hand(handle: Any) -> Any:
        if len(node.gpu.instances()) == 2:
            node.gpu.destroy(made[0].gi_id)
        return plain(handle)

    monkeypatch.setattr(node.binding, "mig_devices", another_hand)
    assert node.devices.instances(node.gpu.uuid) == (made[1],)


@pytest.mark.parametrize(
    ("listed", "chosen"),
    [
        ([(0, 0, 1, 16), (7, 7, 1, 26)], 7),  # 1g.20gb of Hopper: only REV1 has all multiprocessors
        ([(0, 0, 1, 16), (7, 7, 1, 16)], 0),  # of equal ones the plain kind
        ([(7, 7, 1, 26)], 7),
        ([(3, 3, 4, 60), (8, 8, 7, 132), (4, 4, 7, 132)], 4),  # 7_SLICE_NVL is as large and not for us
    ],
)
def test_full_size_compute_profile(listed: list[tuple[int, int, int, int]], chosen: int) -> None:
    """The compute instance of a slice has all its compute slices and multiprocessors, of the plain kind if possible."""
    slices = max(size for _, _, size, _ in listed)
    known = gpu_models.find(MODEL)
    profile = next(p for p in known.profiles if p.compute_slices == slices)
    kinds = tuple(ComputeProfileInfo(enum, number, size, 1, sm) for enum, number, size, sm in listed)
    inventory = Instances(Driver(FakeLibrary(simulate(MODEL))), None, known, {profile.profile_id: kinds})
    assert inventory.full_compute_profile(profile, None).profile_id == chosen


def test_no_full_size_compute_profile(node: Node) -> None:
    """A driver that lists no compute instance of full size is told as such."""
    profile = node.gpu.catalogue.profile("3g.20gb")
    kinds = {profile.profile_id: (ComputeProfileInfo(0, 0, 1, 3, 14),)}
    inventory = Instances(node.binding, None, node.gpu.catalogue, kinds)
    with pytest.raises(device.NotSupportedError, match=r"3g\.20gb"):
        inventory.full_compute_profile(profile, None)


def test_gpu_that_cannot_be_identified(node: Node) -> None:
    """A GPU lost before it was ever seen has a placeholder for its UUID and hides nobody."""
    driver = simulate(f"{MODEL}:2")
    driver.lose(driver.by_index()[0].uuid)
    node = Node(driver)
    lost, well = node.devices.discover()
    assert (lost.uuid, lost.index, lost.state) == ("unreadable-0", 0, GpuState.LOST)
    assert well.state is GpuState.READY
    driver.restart()
    assert [info.state for info in node.devices.discover()] == [GpuState.READY] * 2


def test_gpu_that_hangs_before_it_is_known() -> None:
    """A GPU that hangs when first met is wedged, the other is ready, and later it is met again."""
    driver = simulate(f"{MODEL}:2")
    gate = driver.faults.hold(Call.UUID, gpu=driver.by_index()[0].uuid)
    node = Node(driver, Deadlines(read_s=0.5, change_s=0.5))
    assert [info.state for info in node.devices.discover()] == [GpuState.WEDGED, GpuState.READY]
    gate.open()
    until = time.monotonic() + 20
    while node.devices.discover()[0].state is not GpuState.READY:
        assert time.monotonic() < until, "it never came back"


def test_unreadable_gpu_says_what_it_was_asked(node: Node) -> None:
    """A GPU that answers with an error that means nothing special is unreadable, with the call in the detail."""
    node.driver.faults.fail(Call.DESCRIBE, device.DeviceError)
    (info,) = node.devices.discover()
    assert info.state is GpuState.UNREADABLE
    assert "999" in info.detail


def test_unreadable_catalogue_is_told(node: Node) -> None:
    """A GPU in MIG mode that lists no profiles is unreadable, with what the table knows and why it cannot be cut."""
    node.driver.faults.fail(Call.PROFILE, device.NotSupportedError, times=64)
    (info,) = node.devices.discover()
    assert (info.state, info.live) == (GpuState.UNREADABLE, False)
    assert info.catalogue is not None


def test_board_without_any_catalogue() -> None:
    """A GPU that tells nothing and is in no table has no catalogue, and a cut says why."""
    stranger = gpu_models.find(MODEL)
    stranger = type(stranger)(**{**vars(stranger), "pci_ids": ("0x999910DE",)})
    node = Node(SimulatedDriver([SimulatedGpu(stranger, "GPU-0")]))
    node.driver.faults.fail(Call.PROFILE, device.NotSupportedError, times=64)
    (info,) = node.devices.discover()
    assert info.catalogue is None
    with pytest.raises(device.NotSupportedError, match="lists no GPU instance profiles"):
        node.create("1g.5gb", 0)


def test_restart_between_two_calls(node: Node) -> None:
    """After a reload of the driver a call on a known GPU is uninitialised, until it is discovered again."""
    node.devices.discover()
    node.driver.restart()
    with pytest.raises(device.UninitializedError):
        node.devices.instances(node.gpu.uuid)
    node.devices.discover()
    assert node.devices.instances(node.gpu.uuid) == ()


def test_waiting_without_events_waits_no_longer(node: Node) -> None:
    """Where no GPU sends events a wait just ends empty, and closing ends it early."""
    node.driver.faults.fail(Call.EVENTS, device.NotSupportedError, times=99)
    assert node.devices.wait(0.01) == ()
    waiting = threading.Thread(target=node.devices.wait, args=(60,), daemon=True)
    waiting.start()
    node.devices.close()
    waiting.join(20)
    assert not waiting.is_alive()


def test_device_nodes_without_files(tmp_path: Path) -> None:
    """An instance that the driver's files do not show is stale, naming the file that was looked for."""
    with pytest.raises(device.StaleHandleError, match="gi3/access"):
        capabilities.device_nodes(tmp_path, 0, 3)


def test_device_nodes_with_garbage_files(tmp_path: Path) -> None:
    """A capability file without a minor number is an error that names it, and an unknown major stays open."""
    access = tmp_path / "proc/driver/nvidia/capabilities/gpu0/mig/gi3/access"
    access.parent.mkdir(parents=True)
    access.write_text("nothing of use\n")
    with pytest.raises(device.DeviceError, match="gi3/access names no DeviceFileMinor"):
        capabilities.device_nodes(tmp_path, 0, 3)
    access.write_text("DeviceFileMinor: 30\n")
    assert capabilities.device_nodes(tmp_path, 0, 3) == (device.DeviceNode("/dev/nvidia-caps/nvidia-cap30", 30),)
    (tmp_path / "proc/devices").write_text("Character devices:\n195 nvidia\n")
    assert capabilities.device_nodes(tmp_path, 0, 3)[0].major is None


def test_little_privilege_degrades(node: Node) -> None:
    """Without any privilege GPUs are still described, and listing instances says what is missing."""
    node.driver.privilege = Privilege.NONE
    assert node.devices.discover()[0].state is GpuState.READY
    with pytest.raises(device.NoPermissionError):
        node.devices.instances(node.gpu.uuid)


def test_an_abandoned_cut_goes_no_further() -> None:
    """A cut whose caller gave up during the first step does not begin the second."""
    node = Node(simulate(MODEL), Deadlines(change_s=0.3))
    node.devices.discover()
    gate = node.driver.faults.hold(Call.CREATE_GPU_INSTANCE)
    with pytest.raises(device.DeadlineExceededError):
        node.create("1g.5gb", 0)
    seen = calls(node)
    gate.open()
    until = time.monotonic() + 20
    while "nvmlGpuInstanceDestroy" not in seen:
        assert time.monotonic() < until, "it was not taken back"
    assert "nvmlGpuInstanceCreateComputeInstance" not in seen


def test_discovery_does_not_wait_for_a_gpu_that_is_being_cut(node: Node) -> None:
    """While a GPU is being cut, discovery answers with what was known of it."""
    (before,) = node.devices.discover()
    gate = node.driver.faults.hold(Call.CREATE_GPU_INSTANCE)
    cutting = threading.Thread(target=node.create, args=("1g.5gb", 0), daemon=True)
    cutting.start()
    assert gate.reached.wait(20)
    assert node.devices.discover() == (before,)
    gate.open()
    cutting.join()
    assert len(node.devices.instances(node.gpu.uuid)) == 1


def test_the_live_catalogue_replaces_the_table() -> None:
    """Once MIG is on, an Ampere is read with the profiles that its driver knows, not with those of the table."""
    node = Node(simulate(MODEL, mig=False, version="470.57.02"))
    (off,) = node.devices.discover()
    assert node.devices.instances(node.gpu.uuid) == ()
    node.gpu.set_mode(True)
    (on,) = node.devices.discover()
    assert off.catalogue is not None
    assert on.catalogue is not None
    assert set(off.catalogue.by_name) - set(on.catalogue.by_name) == {"1g.10gb"}
    assert node.devices.instances(node.gpu.uuid) == ()
