"""What the port says about GPUs, whole and broken."""

import dataclasses
from pathlib import Path

import pytest

from allocator.mig import gpu_models
from node_agent.gpu import device
from node_agent.gpu.device import GpuState, ModeState
from simulator.gpu.driver import Privilege, SimulatedDriver, Virtualization, simulate
from simulator.gpu.faults import Call
from simulator.gpu.gpu import SimulatedGpu
from simulator.gpu.mode import ModeMachine
from tests.contract.devices.simulated_nodes import A100, FULLY_KNOWN, H200, Benches, SimulatedNodePort


@pytest.mark.parametrize("model", FULLY_KNOWN)
def test_the_catalogue_is_read_live(benches: Benches, model: str) -> None:
    """A GPU with MIG on reports, live, the catalogue that is published for its model."""
    info = benches.of(model).info()
    known = gpu_models.find(model)
    assert info.state is GpuState.READY
    assert info.live
    assert info.catalogue is not None
    told = dataclasses.replace(info.catalogue, pci_ids=known.pci_ids)
    assert told == known
    assert info.memory_mib == known.total_memory_mib


def test_gpus_come_by_index_with_their_own_minor(benches: Benches) -> None:
    """GPUs are listed by index, each with its UUID, product, address and a minor number that differs from the index."""
    catalogue = gpu_models.find(A100)
    gpus = [SimulatedGpu(catalogue, f"GPU-{index}", index, minor=7 - index) for index in (1, 0)]
    found = benches.on(SimulatedDriver(gpus)).devices.discover()
    assert [(one.uuid, one.index, one.minor) for one in found] == [("GPU-0", 0, 7), ("GPU-1", 1, 6)]
    assert {one.product for one in found} == {"NVIDIA A100-SXM4-40GB"}
    assert [one.pci_bus_id for one in found] == ["00000000:10:00.0", "00000000:11:00.0"]


def test_hopper_tells_its_catalogue_with_mig_off(benches: Benches) -> None:
    """With MIG off a Hopper reports its live catalogue, its full capacity and no instances, and that MIG is off."""
    bench = benches.of(H200, mig=False)
    info = bench.info()
    assert (info.state, info.mode, info.live) == (GpuState.MIG_OFF, ModeState(current=False, pending=False), True)
    assert info.catalogue is not None
    assert info.catalogue.profiles == gpu_models.find(H200).profiles
    assert bench.devices.instances(bench.uuid) == ()
    expected = {"1g.18gb": 7, "1g.18gb+me": 1, "1g.35gb": 4, "2g.35gb": 3, "3g.71gb": 2, "4g.71gb": 1, "7g.141gb": 1}
    assert bench.devices.remaining(bench.uuid) == expected


def test_ampere_with_mig_off_is_known_from_the_table(benches: Benches) -> None:
    """With MIG off an Ampere tells nothing, so that its catalogue comes out of the table and is not called live."""
    bench = benches.of(A100, mig=False)
    info = bench.info()
    assert (info.state, info.live) == (GpuState.MIG_OFF, False)
    assert info.catalogue is not None
    assert info.catalogue.profiles == gpu_models.find(A100).profiles
    assert bench.devices.instances(bench.uuid) == ()
    with pytest.raises(device.NotSupportedError):
        bench.devices.remaining(bench.uuid)


def test_pending_mode_is_told(benches: Benches) -> None:
    """A mode change that waits for a reset is a state of its own."""
    mode = ModeMachine(enabled=False, needs_reset=True, passthrough=True)
    bench = benches.on(SimulatedDriver([SimulatedGpu(gpu_models.find(A100), "GPU-0", mode=mode)]))
    assert bench.devices.set_mode("GPU-0", True) == device.ModeChange(16, ModeState(current=False, pending=True))
    info = bench.info()
    assert (info.state, info.mode) == (GpuState.MODE_PENDING, ModeState(current=False, pending=True))


def test_lost_gpu_does_not_hide_the_others(bench: SimulatedNodePort) -> None:
    """A GPU that fell off the bus keeps its UUID and says so, and the next one stays ready."""
    bench.devices.discover()
    bench.driver.lose(bench.uuid)
    lost, well = bench.devices.discover()
    assert (lost.uuid, lost.state) == (bench.uuid, GpuState.LOST)
    assert lost.detail
    assert well.state is GpuState.READY
    with pytest.raises(device.GpuLostError):
        bench.devices.instances(bench.uuid)
    with pytest.raises(device.GpuLostError):
        bench.create("1g.5gb", 0)


@pytest.mark.parametrize("kind", [Virtualization.VGPU, Virtualization.HOST_VGPU])
def test_virtual_gpus_are_left_to_their_host(benches: Benches, kind: Virtualization) -> None:
    """On a virtual GPU and on its host nothing is cut, and the state says why."""
    bench = benches.on(SimulatedDriver([SimulatedGpu(gpu_models.find(A100), "GPU-0")], virtualization=kind))
    info = bench.info()
    assert info.state is GpuState.VGPU
    assert info.detail


def test_passed_through_gpu_is_a_whole_one(benches: Benches) -> None:
    """A GPU passed through to a virtual machine is cut like any other."""
    gpu = SimulatedGpu(gpu_models.find(H200), "GPU-0")
    bench = benches.on(SimulatedDriver([gpu], virtualization=Virtualization.PASSTHROUGH))
    assert bench.info().state is GpuState.READY


def test_gpu_without_mig_is_told(benches: Benches) -> None:
    """A GPU whose driver knows no MIG mode for it is not capable."""
    bench = benches.of(A100)
    bench.driver.faults.fail(Call.GET_MODE, device.NotSupportedError)
    assert bench.info().state is GpuState.NOT_CAPABLE


def test_driver_that_cannot_place_is_too_old(benches: Benches) -> None:
    """A driver that chooses places itself is too old to cut with, and the detail names what it lacks."""
    symbol = "nvmlDeviceCreateGpuInstanceWithPlacement"
    gpu = SimulatedGpu(gpu_models.find(A100), "GPU-0", branch=450)
    bench = benches.on(SimulatedDriver([gpu], version="450.80.02", missing=frozenset({symbol})))
    info = bench.info()
    assert info.state is GpuState.OLD_DRIVER
    assert symbol in info.detail


def test_node_without_driver(bench: SimulatedNodePort) -> None:
    """Without a driver discovery raises, and works again once the driver is loaded."""
    bench.driver.unload()
    with pytest.raises(device.DriverNotLoadedError):
        bench.devices.discover()
    bench.driver.restart()
    assert [one.state for one in bench.devices.discover()] == [GpuState.READY] * 2


def test_driver_upgraded_under_us(bench: SimulatedNodePort) -> None:
    """A driver replaced under the running agent is an error of its own, also for a GPU already known."""
    bench.devices.discover()
    bench.driver.upgrade()
    with pytest.raises(device.DriverMismatchError):
        bench.devices.discover()
    with pytest.raises(device.DriverMismatchError):
        bench.devices.instances(bench.uuid)


def test_restart_of_the_driver(bench: SimulatedNodePort) -> None:
    """After a reload of the driver the same GPUs are found again, empty."""
    bench.create("3g.20gb", 0)
    bench.driver.restart()
    assert [one.uuid for one in bench.devices.discover()] == [gpu.uuid for gpu in bench.driver.by_index()]
    assert bench.devices.instances(bench.uuid) == ()
    assert bench.create("3g.20gb", 4).whole


def test_unknown_gpu(bench: SimulatedNodePort) -> None:
    """A GPU that is not on this node is a stale handle."""
    with pytest.raises(device.StaleHandleError):
        bench.devices.instances("GPU-somewhere-else")


def test_switching_hopper_on_and_off(benches: Benches) -> None:
    """An idle Hopper switches at once, and is ready or off the moment after."""
    bench = benches.of(H200, mig=False)
    on = bench.devices.set_mode(bench.uuid, True)
    assert on.in_force
    assert bench.info().state is GpuState.READY
    bench.create("7g.141gb", 0)
    off = bench.devices.set_mode(bench.uuid, False)
    assert off.in_force
    assert bench.devices.mode(bench.uuid) == ModeState(current=False, pending=False)
    assert bench.devices.instances(bench.uuid) == ()


def test_switching_a_busy_gpu_stays_pending(benches: Benches) -> None:
    """A busy GPU answers a mode change with status 19 and keeps its mode until it is idle."""
    bench = benches.of(A100, mig=False)
    bench.gpu.start_process(None, 4711)
    change = bench.devices.set_mode(bench.uuid, True)
    assert (change.activation, change.in_force) == (19, False)
    assert change.mode == ModeState(current=False, pending=True)
    bench.gpu.end_process(4711)
    assert bench.devices.set_mode(bench.uuid, True).in_force


def test_minor_number_is_read_again_after_a_mode_change(benches: Benches) -> None:
    """A minor number that changed with MIG mode is told."""
    bench = benches.of(H200, mig=False)
    assert bench.info().minor == 0
    bench.gpu.minor = 5
    bench.devices.set_mode(bench.uuid, True)
    assert bench.info().minor == 5


def test_only_an_administrator_switches_modes(benches: Benches) -> None:
    """Without the privilege a mode change and a cut are refused, while looking is not."""
    driver = simulate(A100)
    driver.privilege = Privilege.MONITOR
    bench = benches.on(driver)
    assert bench.info().state is GpuState.READY
    assert bench.devices.instances(bench.uuid) == ()
    with pytest.raises(device.NoPermissionError):
        bench.devices.set_mode(bench.uuid, False)
    with pytest.raises(device.NoPermissionError):
        bench.create("1g.5gb", 0)


def test_display_adapter_is_not_for_computing(benches: Benches) -> None:
    """The display adapter of a DGX Station is a state of its own, and the detail says what it is."""
    bench = benches.of(f"{A100}:2")
    bench.driver.faults.fail(Call.GET_MODE, device.NotSupportedError, gpu=bench.uuid)
    bench.gpu.product = "NVIDIA DGX Display"
    adapter, other = bench.devices.discover()
    assert adapter.state is GpuState.NOT_COMPUTE
    assert "NVIDIA DGX Display is a display adapter" in adapter.detail
    assert other.state is GpuState.READY


def test_board_that_prohibits_computing_is_told_until_it_allows_it(benches: Benches) -> None:
    """A GPU with MIG off whose compute mode is prohibited is not for computing, and is again once that is changed."""
    bench = benches.of(H200, mig=False)
    bench.gpu.compute_mode = 2
    assert bench.info().state is GpuState.NOT_COMPUTE
    bench.gpu.compute_mode = 0
    assert bench.info().state is GpuState.MIG_OFF


def test_numa_node_of_each_gpu_is_told(benches: Benches, tmp_path: Path) -> None:
    """Each GPU's NUMA node is the host's next to it, 0 included; a machine without NUMA has none."""
    catalogue = gpu_models.find(A100)
    gpus = [SimulatedGpu(catalogue, f"GPU-{n}", n, numa_node=node) for n, node in enumerate((0, 1, None))]
    bench = benches.on(SimulatedDriver(gpus, root=tmp_path))
    assert [info.numa_node for info in bench.devices.discover()] == [0, 1, None]
