"""EventQueue: the events of a simulated driver, as one registered listener sees them. Used by driver."""

import threading
from collections import deque
from dataclasses import dataclass

from node_agent.gpu.device import MemoryFault

XID = 0x8  # nvmlEventTypeXidCriticalError
MIG_CONFIG_CHANGE = 0x100  # nvmlEventMigConfigChange
MEMORY_FAULTS = {
    MemoryFault.DOUBLE_BIT: 0x2,  # nvmlEventTypeDoubleBitEccError
    MemoryFault.RETIREMENT_FAILED: 0x800,  # nvmlEventTypeDramRetirementFailure
    MemoryFault.CONTAINED: 0x1000,  # nvmlEventTypeNonFatalPoisonError
    MemoryFault.UNCONTAINED: 0x2000,  # nvmlEventTypeFatalPoisonError
}
SUPPORTED = XID | MIG_CONFIG_CHANGE | sum(MEMORY_FAULTS.values())
NOT_ATTRIBUTED = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class GpuEvent:
    """One event as NVML delivers it: ids are NOT_ATTRIBUTED where the driver cannot tell."""

    gpu: str
    kind: int
    data: int = 0
    gi_id: int = NOT_ATTRIBUTED
    ci_id: int = NOT_ATTRIBUTED


class EventQueue:
    """Events since registration, for the GPUs and kinds registered; nothing earlier is replayed."""

    def __init__(self) -> None:
        self._kinds: dict[str, int] = {}
        self._events: deque[GpuEvent] = deque()
        self._arrived = threading.Condition()
        self._ended = False

    def register(self, gpu: str, kinds: int) -> None:
        """Also listen to these kinds (a bit mask) of a GPU."""
        self._kinds[gpu] = self._kinds.get(gpu, 0) | kinds

    def put(self, event: GpuEvent) -> None:
        """Queue an event if anybody registered for it."""
        if self._kinds.get(event.gpu, 0) & event.kind:
            with self._arrived:
                self._events.append(event)
                self._arrived.notify()

    def get(self, timeout_s: float) -> GpuEvent | None:
        """The oldest event, None if none came in time or the queue has ended."""
        with self._arrived:
            self._arrived.wait_for(lambda: bool(self._events) or self._ended, timeout_s)
            return self._events.popleft() if self._events else None

    def end(self) -> None:
        """No more events come; threads that wait for one stop waiting."""
        with self._arrived:
            self._ended = True
            self._arrived.notify_all()
