"""FakeLibrary: what stands in pynvml where the loaded libnvidia-ml would. Tests and simulated nodes make it.

It looks its functions up by name as a loaded library does; a symbol that the simulated driver lacks raises
AttributeError, which pynvml turns into FUNCTION_NOT_FOUND.
"""

import threading
from typing import Any

from node_agent import device
from simulator.gpu.driver import SimulatedDriver
from simulator.gpu.faults import Call
from simulator.nvml import event_calls, gpu_calls, instance_calls, mig_device_calls, system_calls
from simulator.nvml.exports import EXPORTS, Export, pointer
from simulator.nvml.handles import Handles

MODULES = (system_calls, gpu_calls, instance_calls, mig_device_calls, event_calls)  # whose functions are exported
_SUCCESS = 0
_UNKNOWN = 999


class FakeLibrary:
    """The functions of libnvidia-ml over one driver. `crashes` collects errors of the simulation itself."""

    def __init__(self, driver: SimulatedDriver) -> None:
        self.driver = driver
        self.crashes: list[BaseException] = []
        self._functions: dict[str, Any] = {}
        self.handles = Handles(driver)
        self._initialised = 0
        self._restarts = driver.restarts
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        if name not in EXPORTS or name in self.driver.missing:
            raise AttributeError(f"undefined symbol: {name}")
        return self._functions.setdefault(name, pointer(EXPORTS[name], self))

    def run(self, entry: Export, arguments: tuple[Any, ...]) -> int:
        """Run an exported function: its return code."""
        try:
            if entry.needs_init:
                self._need_initialised()
            entry.body(self, *arguments)
        except device.DeviceError as exc:
            return exc.code
        except Exception as exc:  # an exception cannot cross into C
            self.crashes.append(exc)
            return _UNKNOWN
        return _SUCCESS

    # Init and shutdown

    def init(self) -> None:
        """nvmlInit: counted."""
        with self.driver.call(Call.INIT), self._lock:
            if self._restarts != self.driver.restarts:
                self._forget()
            self._initialised += 1

    def shutdown(self) -> None:
        """nvmlShutdown: the last one kills all handles."""
        with self._lock:
            self._initialised -= 1
            if not self._initialised:
                self._forget()

    def _forget(self) -> None:
        self._restarts = self.driver.restarts
        self._initialised = 0
        self.handles.clear()

    def _need_initialised(self) -> None:
        if not self._initialised or self._restarts != self.driver.restarts:
            raise device.UninitializedError("nvmlInit was not called")
