"""InstrumentedDevices: the device port, each call timed, each error counted. `service` puts it around the real one."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from allocator.mig.profile import Placement
from node_agent.gpu import device
from node_agent.metrics import Metrics


class InstrumentedDevices:
    """MigDevices over others."""

    def __init__(self, inner: device.MigDevices, metrics: Metrics) -> None:
        self._inner = inner
        self._metrics = metrics

    def discover(self) -> tuple[device.GpuInfo, ...]:
        """See MigDevices."""
        with self._timed("discover"):
            return self._inner.discover()

    def instances(self, gpu: str) -> tuple[device.GpuInstance, ...]:
        """See MigDevices."""
        with self._timed("instances"):
            return self._inner.instances(gpu)

    def remaining(self, gpu: str) -> Mapping[str, int]:
        """See MigDevices."""
        with self._timed("capacity"):
            return self._inner.remaining(gpu)

    def create(self, gpu: str, placement: Placement) -> device.GpuInstance:
        """See MigDevices."""
        with self._timed("create"):
            return self._inner.create(gpu, placement)

    def destroy(self, gpu: str, gi_id: int, placement: Placement) -> bool:
        """See MigDevices."""
        with self._timed("destroy"):
            return self._inner.destroy(gpu, gi_id, placement)

    def processes(self, gpu: str, gi_id: int) -> tuple[device.GpuProcess, ...]:
        """See MigDevices."""
        with self._timed("processes"):
            return self._inner.processes(gpu, gi_id)

    def device_nodes(self, gpu: str, gi_id: int) -> tuple[device.DeviceNode, ...]:
        """See MigDevices."""
        with self._timed("device_nodes"):
            return self._inner.device_nodes(gpu, gi_id)

    def mode(self, gpu: str) -> device.ModeState:
        """See MigDevices."""
        with self._timed("mode"):
            return self._inner.mode(gpu)

    def set_mode(self, gpu: str, enabled: bool) -> device.ModeChange:
        """See MigDevices."""
        with self._timed("set_mode"):
            return self._inner.set_mode(gpu, enabled)

    def wait(self, timeout_s: float) -> tuple[device.DeviceEvent, ...]:
        """See MigDevices. Not timed: it waits on purpose."""
        return self._inner.wait(timeout_s)

    def close(self) -> None:
        """See MigDevices."""
        self._inner.close()

    @contextmanager
    def _timed(self, call: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        except device.DeviceError as error:
            self._metrics.driver_errors.labels(call, type(error).__name__).inc()
            raise
        finally:
            self._metrics.driver_seconds.labels(call).observe(time.perf_counter() - began)
