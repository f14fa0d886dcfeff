"""GpuFaults: what is made to go wrong in a simulated driver, call by call. Used by driver and devices.

A fault is named by the driver call it strikes and, optionally, by the GPU. Calls can fail before or after their
effect, take time, or not return until a gate is opened.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from node_agent.gpu import device


class Call(StrEnum):
    """The driver calls that faults can strike, by the name of the NVML function (without version suffix)."""

    INIT = "nvmlInit"
    HANDLE = "nvmlDeviceGetHandleByIndex"
    DESCRIBE = "nvmlDeviceGetName"
    GET_MODE = "nvmlDeviceGetMigMode"
    SET_MODE = "nvmlDeviceSetMigMode"
    PROFILE = "nvmlDeviceGetGpuInstanceProfileInfo"
    PLACEMENTS = "nvmlDeviceGetGpuInstancePossiblePlacements"
    CAPACITY = "nvmlDeviceGetGpuInstanceRemainingCapacity"
    LIST = "nvmlDeviceGetGpuInstances"
    CREATE_GPU_INSTANCE = "nvmlDeviceCreateGpuInstance"
    DESTROY_GPU_INSTANCE = "nvmlGpuInstanceDestroy"
    CREATE_COMPUTE_INSTANCE = "nvmlGpuInstanceCreateComputeInstance"
    DESTROY_COMPUTE_INSTANCE = "nvmlComputeInstanceDestroy"
    MIG_DEVICE = "nvmlDeviceGetMigDeviceHandleByIndex"
    UUID = "nvmlDeviceGetUUID"
    PROCESSES = "nvmlDeviceGetComputeRunningProcesses"
    ENERGY = "nvmlDeviceGetTotalEnergyConsumption"
    EVENTS = "nvmlEventSetWait"


@dataclass(slots=True)
class _Failure:
    error: type[device.DeviceError]
    after: bool
    left: int


@dataclass(slots=True)
class Gate:
    """A call that does not return until `open` is called. `reached` is set once something waits."""

    reached: threading.Event = field(default_factory=threading.Event)
    opened: threading.Event = field(default_factory=threading.Event)

    def open(self) -> None:
        """Let the waiting call, and all later ones, pass."""
        self.opened.set()


class GpuFaults:
    """The faults of one driver. `pause` takes the seconds a call is to last; tests pass one that only records."""

    def __init__(self, pause: Callable[[float], None]) -> None:
        self.latency_s: dict[Call, float] = {}
        self.events_lost = False
        self._pause = pause
        self._failures: dict[tuple[Call, str | None], list[_Failure]] = {}
        self._gates: dict[tuple[Call, str | None], Gate] = {}
        self._lock = threading.Lock()

    def fail(
        self,
        call: Call,
        error: type[device.DeviceError],
        *,
        gpu: str | None = None,
        after: bool = False,
        times: int = 1,
    ) -> None:
        """Make the next `times` of a call fail, `after` its effect or instead of it."""
        with self._lock:
            self._failures.setdefault((call, gpu), []).append(_Failure(error, after, times))

    def hold(self, call: Call, *, gpu: str | None = None) -> Gate:
        """Make a call hang until the returned gate is opened."""
        with self._lock:
            return self._gates.setdefault((call, gpu), Gate())

    def clear(self) -> None:
        """No faults any more; what hangs goes on."""
        with self._lock:
            self._failures.clear()
            self.latency_s.clear()
            self.events_lost = False
            for gate in self._gates.values():
                gate.open()
            self._gates.clear()

    def gate(self, call: Call, gpu: str | None) -> Gate | None:
        """The closed gate in front of a call, if there is one."""
        with self._lock:
            for key in ((call, gpu), (call, None)):
                gate = self._gates.get(key)
                if gate is not None and not gate.opened.is_set():
                    return gate
        return None

    def before(self, call: Call, gpu: str | None) -> None:
        """What happens instead of the call's effect: waits, takes time, raises."""
        gate = self.gate(call, gpu)
        if gate is not None:
            gate.reached.set()
            gate.opened.wait()
        if call in self.latency_s:
            self._pause(self.latency_s[call])
        self._strike(call, gpu, after=False)

    def after(self, call: Call, gpu: str | None) -> None:
        """What happens after the call's effect: raises, the effect stays."""
        self._strike(call, gpu, after=True)

    def _strike(self, call: Call, gpu: str | None, *, after: bool) -> None:
        with self._lock:
            for key in ((call, gpu), (call, None)):
                for failure in self._failures.get(key, []):
                    if failure.after == after and failure.left:
                        failure.left -= 1
                        raise failure.error(f"injected fault in {call}")
