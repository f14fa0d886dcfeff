"""Session: what the functions of a loaded library share — the driver, its handles, and how often it was initialised.

The call modules work on it; library makes it and exports them.
"""

import threading

from node_agent.gpu import device
from simulator.gpu.driver import SimulatedDriver
from simulator.gpu.faults import Call
from simulator.nvml.handles import Handles


class Session:
    """One process's use of one driver."""

    def __init__(self, driver: SimulatedDriver) -> None:
        self.driver = driver
        self.handles = Handles(driver)
        self.initialised = 0  # inits without their shutdown
        self._restarts = driver.restarts
        self._lock = threading.Lock()

    def init(self) -> None:
        """nvmlInit: counted."""
        with self.driver.call(Call.INIT), self._lock:
            if self._restarts != self.driver.restarts:
                self._forget()
            self.initialised += 1

    def shutdown(self) -> None:
        """nvmlShutdown: the last one kills all handles."""
        with self._lock:
            self.initialised -= 1
            if not self.initialised:
                self._forget()

    def need_initialised(self) -> None:
        """Raise UninitializedError unless an nvmlInit is in force."""
        if not self.initialised or self._restarts != self.driver.restarts:
            raise device.UninitializedError("nvmlInit was not called")

    def _forget(self) -> None:
        self._restarts = self.driver.restarts
        self.initialised = 0
        self.handles.clear()
