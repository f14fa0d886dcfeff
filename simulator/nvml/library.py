"""FakeLibrary: what stands in pynvml where the loaded libnvidia-ml would. Tests and simulated nodes make it.

It looks its functions up by name as a loaded library does; a symbol that the simulated driver lacks raises
AttributeError, which pynvml turns into FUNCTION_NOT_FOUND.
"""

from typing import Any

from node_agent.gpu import device
from simulator.gpu.driver import SimulatedDriver
from simulator.nvml import event_calls, gpu_calls, instance_calls, mig_device_calls, system_calls
from simulator.nvml.exports import EXPORTS, Export, pointer
from simulator.nvml.session import Session

MODULES = (system_calls, gpu_calls, instance_calls, mig_device_calls, event_calls)  # whose functions are exported
_SUCCESS = 0
_UNKNOWN = 999


class FakeLibrary:
    """The functions of libnvidia-ml over one driver. `crashes` collects errors of the simulation itself."""

    def __init__(self, driver: SimulatedDriver) -> None:
        self.driver = driver
        self.crashes: list[BaseException] = []
        self.session = Session(driver)
        self._functions: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        if name not in EXPORTS or name in self.driver.missing:
            raise AttributeError(f"undefined symbol: {name}")
        return self._functions.setdefault(name, pointer(EXPORTS[name], self._run))

    def _run(self, entry: Export, arguments: tuple[Any, ...]) -> int:
        """Run an exported function: its return code."""
        try:
            if entry.needs_init:
                self.session.need_initialised()
            entry.body(self.session, *arguments)
        except device.DeviceError as error:
            return error.code
        except Exception as error:  # an exception cannot cross into C
            self.crashes.append(error)
            return _UNKNOWN
        return _SUCCESS
