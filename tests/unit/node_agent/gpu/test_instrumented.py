"""The device port as the agent uses it: without the state's lock during a call, timed, errors counted."""

from collections.abc import Callable

import pytest

from node_agent.gpu import device
from node_agent.gpu.gpu_locks import Lock
from node_agent.gpu.instrumented import InstrumentedDevices
from node_agent.metrics import Metrics
from simulator.gpu.devices import SimulatedDevices
from simulator.gpu.driver import simulate
from simulator.gpu.faults import Call

MODEL = "a100-40gb:1"


class WatchedDevices(SimulatedDevices):
    """Devices that note in which calls another thread could have had the lock."""

    def __init__(self, lock: Lock) -> None:
        super().__init__(simulate(MODEL))
        self.free: dict[str, bool] = {}
        self._lock = lock

    def instances(self, gpu: str) -> tuple[device.GpuInstance, ...]:
        """Note it, and answer."""
        self.free["instances"] = not self._lock.held
        return super().instances(gpu)

    def device_nodes(self, gpu: str, gi_id: int) -> tuple[device.DeviceNode, ...]:
        """Note it, and answer."""
        self.free["device_nodes"] = not self._lock.held
        return super().device_nodes(gpu, gi_id)


def test_the_lock_is_released_during_a_call_but_for_device_nodes() -> None:
    """Another thread gets the state's lock while the driver works; device nodes are read with the lock."""
    lock = Lock()
    inner = WatchedDevices(lock)
    devices = InstrumentedDevices(inner, lock, Metrics())
    gpu = inner.driver.by_index()[0]
    made = gpu.create("1g.5gb", 0)
    with lock:
        devices.instances(gpu.uuid)
        devices.device_nodes(gpu.uuid, made.gi_id)
    assert inner.free == {"instances": True, "device_nodes": False}


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("discover", lambda devices, _: devices.discover()),
        ("instances", lambda devices, gpu: devices.instances(gpu)),
        ("remaining", lambda devices, gpu: devices.remaining(gpu)),
        ("mode", lambda devices, gpu: devices.mode(gpu)),
    ],
)
def test_calls_are_timed_by_the_name_of_the_ports_method(
    name: str, call: Callable[[InstrumentedDevices, str], object]
) -> None:
    """Each call counts once under its own name."""
    driver, metrics = simulate(MODEL), Metrics()
    call(InstrumentedDevices(SimulatedDevices(driver), Lock(), metrics), driver.by_index()[0].uuid)
    count = "migsched_agent_driver_call_seconds_count"
    assert metrics.registry.get_sample_value(count, {"call": name}) == 1


def test_errors_are_counted_by_call_and_kind() -> None:
    """An error of the driver passes through, and is counted."""
    driver, metrics = simulate(MODEL), Metrics()
    driver.faults.fail(Call.LIST, device.GpuLostError)
    devices = InstrumentedDevices(SimulatedDevices(driver), Lock(), metrics)
    with pytest.raises(device.GpuLostError):
        devices.instances(driver.by_index()[0].uuid)
    labels = {"call": "instances", "error": "GpuLostError"}
    assert metrics.registry.get_sample_value("migsched_agent_driver_errors_total", labels) == 1
