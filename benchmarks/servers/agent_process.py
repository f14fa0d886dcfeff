"""The node agent as `benchmarks.agent` measures it: the real one, over a libnvidia-ml whose calls are clocked.

`python -m benchmarks.servers.agent_process GPUS ACCOUNT`, with settings in MIGSCHED_AGENT_… as for `migsched agent`;
ACCOUNT is the directory of the service account, which a pod has mounted elsewhere. Each line on standard input is
answered by one on standard output: `driver` by the calls since the last time, `slow SECONDS` lets the driver take that
long to create a GPU instance.
"""

import asyncio
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec

from kubeclient import service_account
from node_agent import service, settings
from node_agent.gpu.nvml.devices import NvmlDevices
from node_agent.gpu.nvml.driver import Driver
from simulator.gpu import driver
from simulator.gpu.driver import SimulatedDriver
from simulator.gpu.faults import Call
from simulator.nvml.exports import Export
from simulator.nvml.library import FakeLibrary


class DriverUse(msgspec.Struct, frozen=True):
    """What the driver did: (thread, from, to) of each call in seconds of the monotonic clock, and its CPU seconds."""

    calls: list[tuple[str, float, float]]
    cpu_s: float


class ClockedLibrary(FakeLibrary):
    """Notes when each call began and ended, in which thread; the simulated driver's CPU time is not the agent's."""

    def __init__(self, simulated: SimulatedDriver) -> None:
        super().__init__(simulated)
        self._calls: list[tuple[str, float, float]] = []
        self._cpu_s = 0.0

    def _run(self, entry: Export, arguments: tuple[Any, ...]) -> int:
        """See FakeLibrary."""
        began, cpu = time.monotonic(), time.thread_time()
        try:
            return super()._run(entry, arguments)
        finally:
            self._cpu_s += time.thread_time() - cpu
            self._calls.append((threading.current_thread().name, began, time.monotonic()))

    def told(self) -> DriverUse:
        """What happened since the last time."""
        calls, self._calls = self._calls, []
        cpu_s, self._cpu_s = self._cpu_s, 0.0
        return DriverUse(calls, cpu_s)


def _answer(library: ClockedLibrary) -> None:
    for line in sys.stdin:
        what, _, seconds = line.strip().partition(" ")
        if what == "slow":
            library.driver.faults.latency_s[Call.CREATE_GPU_INSTANCE] = float(seconds)
        sys.stdout.write(msgspec.json.encode(library.told()).decode() + "\n")
        sys.stdout.flush()


def main(gpus: str, account: str) -> None:
    """Run the agent until SIGTERM."""
    service_account.DIRECTORY = Path(account)
    options = settings.load()
    library = ClockedLibrary(driver.simulate(gpus, seed=options.node))
    threading.Thread(target=_answer, args=(library,), name="answers", daemon=True).start()
    asyncio.run(service.run(options, lambda: NvmlDevices(Driver(library)), boot="benchmark", simulated=True))


if __name__ == "__main__":
    main(*sys.argv[1:])
