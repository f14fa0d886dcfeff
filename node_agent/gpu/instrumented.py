"""InstrumentedDevices: the device port as the agent uses it: its lock is released during each call, which is timed.

A driver call may take a second, so other threads get the state's lock meanwhile; what belongs to the GPU stays as it is
by that GPU's lock (`gpu_locks`). Made by state around the real devices, or the simulated ones.
"""

import time
from collections.abc import Callable, Mapping
from typing import ParamSpec, TypeVar

from allocator.mig.profile import Placement
from node_agent.gpu import device
from node_agent.gpu.gpu_locks import Lock
from node_agent.metrics import Metrics

P = ParamSpec("P")
T = TypeVar("T")


class InstrumentedDevices:
    """MigDevices over others."""

    def __init__(self, inner: device.MigDevices, lock: Lock, metrics: Metrics) -> None:
        self._inner = inner
        self._lock = lock
        self._metrics = metrics

    def discover(self) -> tuple[device.GpuInfo, ...]:
        """See MigDevices."""
        return self._call(self._inner.discover)

    def instances(self, gpu: str) -> tuple[device.GpuInstance, ...]:
        """See MigDevices."""
        return self._call(self._inner.instances, gpu)

    def remaining(self, gpu: str) -> Mapping[str, int]:
        """See MigDevices."""
        return self._call(self._inner.remaining, gpu)

    def create(self, gpu: str, placement: Placement) -> device.GpuInstance:
        """See MigDevices."""
        return self._call(self._inner.create, gpu, placement)

    def destroy(self, gpu: str, gi_id: int, placement: Placement) -> bool:
        """See MigDevices."""
        return self._call(self._inner.destroy, gpu, gi_id, placement)

    def processes(self, gpu: str, gi_id: int) -> tuple[device.GpuProcess, ...]:
        """See MigDevices."""
        return self._call(self._inner.processes, gpu, gi_id)

    def device_nodes(self, gpu: str, gi_id: int) -> tuple[device.DeviceNode, ...]:
        """See MigDevices. With the lock: it reads files, and the caller may hold no GPU's lock."""
        return self._timed(self._inner.device_nodes, gpu, gi_id)

    def mode(self, gpu: str) -> device.ModeState:
        """See MigDevices."""
        return self._call(self._inner.mode, gpu)

    def set_mode(self, gpu: str, enabled: bool) -> device.ModeChange:
        """See MigDevices."""
        return self._call(self._inner.set_mode, gpu, enabled)

    def energy_mj(self, gpu: str) -> int | None:
        """See MigDevices."""
        return self._call(self._inner.energy_mj, gpu)

    def wait(self, timeout_s: float) -> tuple[device.DeviceEvent, ...]:
        """See MigDevices. Not timed: it waits on purpose."""
        with self._lock.released():
            return self._inner.wait(timeout_s)

    def close(self) -> None:
        """See MigDevices."""
        self._inner.close()

    def _call(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Without the lock, timed."""
        with self._lock.released():
            return self._timed(call, *args, **kwargs)

    def _timed(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Its time and its error are counted under the name of the port's method."""
        began = time.perf_counter()
        try:
            return call(*args, **kwargs)
        except device.DeviceError as error:
            self._metrics.driver_errors.labels(call.__name__, type(error).__name__).inc()
            raise
        finally:
            self._metrics.driver_seconds.labels(call.__name__).observe(time.perf_counter() - began)
