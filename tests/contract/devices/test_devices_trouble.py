"""How the port behaves when the driver hangs, is slow, or has something to say."""

import threading
import time
from collections.abc import Callable

import pytest

from allocator.mig import gpu_models
from node_agent.gpu import device
from node_agent.gpu.device import DeviceEvent, EventKind, GpuState, MemoryFault
from node_agent.gpu.nvml.devices import Deadlines
from simulator.gpu.driver import SimulatedDriver, simulate
from simulator.gpu.faults import Call
from simulator.gpu.gpu import SimulatedGpu
from tests.contract.devices.simulated_nodes import A100, Benches, SimulatedNodePort, open_bench

SOON_S = 20.0
SHORT = Deadlines(read_s=0.5, change_s=0.5)


def eventually(condition: Callable[[], bool]) -> None:
    """Wait for a condition, not for a time."""
    until = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < until, "it never came true"


def answers(bench: SimulatedNodePort) -> bool:
    """Whether the first GPU is served again."""
    try:
        bench.devices.instances(bench.uuid)
    except device.DeadlineExceededError:
        return False
    return True


def heard(bench: SimulatedNodePort, number: int) -> list[DeviceEvent]:
    """The next so many events."""
    found: list[DeviceEvent] = []

    def enough() -> bool:
        found.extend(bench.devices.wait(1))
        return len(found) >= number

    eventually(enough)
    return found


@pytest.fixture
def impatient(benches: Benches) -> SimulatedNodePort:
    bench = benches.on(simulate(f"{A100}:2"), SHORT)
    bench.devices.discover()
    return bench


@pytest.mark.parametrize("call", [Call.CREATE_GPU_INSTANCE, Call.CREATE_COMPUTE_INSTANCE])
def test_a_hanging_cut_is_given_up_and_taken_back(impatient: SimulatedNodePort, call: Call) -> None:
    """A cut that hangs ends with its deadline, wedges only its GPU, and when it returns nothing of it is left."""
    bench = impatient
    gate = bench.driver.faults.hold(call, gpu=bench.uuid)
    with pytest.raises(device.DeadlineExceededError):
        bench.create("3g.20gb", 0)
    assert [one.state for one in bench.devices.discover()] == [GpuState.WEDGED, GpuState.READY]
    with pytest.raises(device.DeadlineExceededError):
        bench.devices.instances(bench.uuid)
    gate.open()
    eventually(lambda: answers(bench))
    assert bench.devices.instances(bench.uuid) == ()
    assert bench.info().state is GpuState.READY
    assert bench.create("3g.20gb", 0).whole


def test_a_hanging_destroy_is_given_up(impatient: SimulatedNodePort) -> None:
    """A destroy that hangs ends with its deadline; afterwards destroying again leaves nothing."""
    bench = impatient
    made = bench.create("1g.5gb", 0)
    gate = bench.driver.faults.hold(Call.DESTROY_COMPUTE_INSTANCE)
    with pytest.raises(device.DeadlineExceededError):
        bench.devices.destroy(bench.uuid, made.gi_id, made.placement)
    gate.open()
    eventually(lambda: answers(bench))
    bench.devices.destroy(bench.uuid, made.gi_id, made.placement)
    assert bench.devices.instances(bench.uuid) == ()


@pytest.mark.parametrize("call", [Call.LIST, Call.CAPACITY])
def test_a_hanging_question_is_given_up(impatient: SimulatedNodePort, call: Call) -> None:
    """A question that hangs ends with its deadline as well."""
    gate = impatient.driver.faults.hold(call)
    ask = impatient.devices.instances if call is Call.LIST else impatient.devices.remaining
    with pytest.raises(device.DeadlineExceededError):
        ask(impatient.uuid)
    gate.open()
    eventually(lambda: answers(impatient))


def test_slowness_within_the_deadline_is_waited_for(benches: Benches) -> None:
    """A driver that takes its usual seconds is waited for, call by call."""
    lasted: list[float] = []
    gpu = SimulatedGpu(gpu_models.find(A100), "GPU-0")
    bench = benches.on(SimulatedDriver([gpu], pause=lasted.append))
    bench.driver.faults.latency_s = {Call.CREATE_GPU_INSTANCE: 1.5, Call.DESTROY_GPU_INSTANCE: 1.0}
    made = bench.create("1g.5gb", 0)
    bench.devices.destroy(bench.uuid, made.gi_id, made.placement)
    assert lasted == [1.5, 1.0]


def test_a_change_of_geometry_is_an_event(bench: SimulatedNodePort) -> None:
    """Each change of an instance is told as a hint without detail; a listener hears only what came after he began."""
    bench.devices.discover()
    assert bench.devices.wait(0) == ()
    bench.gpu.create("1g.5gb", 0)
    found = bench.devices.wait(SOON_S)
    assert set(found) == {DeviceEvent(bench.uuid, EventKind.GEOMETRY_CHANGED)}


def test_a_fault_is_an_event(bench: SimulatedNodePort) -> None:
    """An XID tells its number and, where the driver knows it, the instance."""
    bench.devices.discover()
    bench.driver.xid(bench.uuid, 79)
    bench.driver.xid(bench.uuid, 31, gi_id=2, ci_id=0)
    found = heard(bench, 2)
    assert found == [
        DeviceEvent(bench.uuid, EventKind.FAULT, 79),
        DeviceEvent(bench.uuid, EventKind.FAULT, 31, 2, 0),
    ]


@pytest.mark.parametrize("fault", MemoryFault)
def test_a_memory_fault_is_an_event(bench: SimulatedNodePort, fault: MemoryFault) -> None:
    """An uncorrectable error of memory tells its kind and the GPU, never an instance."""
    bench.devices.discover()
    bench.driver.memory_fault(bench.uuid, fault)
    assert heard(bench, 1) == [DeviceEvent(bench.uuid, EventKind.MEMORY_FAULT, memory_fault=fault)]


def test_the_energy_counter_begins_anew_with_a_reset(bench: SimulatedNodePort) -> None:
    """It never falls while the GPU works, whatever is cut and destroyed, and is lower after a reload of the driver."""
    bench.devices.discover()
    bench.driver.xid(bench.uuid, 31)
    before = bench.devices.energy_mj(bench.uuid)
    made = bench.create("1g.5gb", 0)
    bench.devices.destroy(bench.uuid, made.gi_id, made.placement)
    assert (bench.devices.energy_mj(bench.uuid) or 0) >= (before or 0) > 0
    bench.driver.restart()
    bench.devices.discover()
    after = bench.devices.energy_mj(bench.uuid)
    assert after is not None
    assert after < (before or 0)


def test_energy_that_is_not_counted_is_none(bench: SimulatedNodePort) -> None:
    """A GPU that does not count its energy is no error; an unknown one is."""
    bench.devices.discover()
    bench.driver.faults.fail(Call.ENERGY, device.NotSupportedError)
    assert bench.devices.energy_mj(bench.uuid) is None
    with pytest.raises(device.StaleHandleError):
        bench.devices.energy_mj("GPU-none")


def test_events_of_both_gpus(bench: SimulatedNodePort) -> None:
    """One wait hears all GPUs."""
    bench.devices.discover()
    uuids = [gpu.uuid for gpu in bench.driver.by_index()]
    for uuid in uuids:
        bench.driver.xid(uuid, 79)
    assert [one.gpu_uuid for one in heard(bench, 2)] == uuids


def test_lost_events_lose_nothing_else(bench: SimulatedNodePort) -> None:
    """When events are lost the inventory still tells the truth."""
    bench.devices.discover()
    bench.driver.faults.events_lost = True
    made = bench.gpu.create("1g.5gb", 0)
    assert bench.devices.wait(0) == ()
    assert bench.devices.instances(bench.uuid) == (made,)


def test_events_after_a_restart_of_the_driver(bench: SimulatedNodePort) -> None:
    """After a reload of the driver and a new discovery, events are heard again."""
    bench.devices.discover()
    bench.driver.restart()
    bench.devices.discover()
    bench.devices.wait(0)
    bench.driver.xid(bench.uuid, 48)
    assert heard(bench, 1)[-1] == DeviceEvent(bench.uuid, EventKind.FAULT, 48)


def test_closing_ends_a_wait(benches: Benches) -> None:
    """A wait for events ends soon after closing, long before its time."""
    devices = open_bench(benches.kind, simulate(A100)).devices  # not one that is closed after the test
    devices.discover()
    waiting = threading.Thread(target=devices.wait, args=(60,), daemon=True)
    waiting.start()
    devices.close()
    waiting.join(20)
    assert not waiting.is_alive()
