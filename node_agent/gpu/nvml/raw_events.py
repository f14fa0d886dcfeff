"""RawEvent: an event as NVML delivers it, with plain values. Made by driver, read by watching."""

from dataclasses import dataclass
from typing import Any

from node_agent.gpu import device

_XID = 0x8  # nvmlEventTypeXidCriticalError
_MIG_CONFIG_CHANGE = 0x100  # nvmlEventMigConfigChange
_MEMORY_FAULTS = {
    0x2: device.MemoryFault.DOUBLE_BIT,  # nvmlEventTypeDoubleBitEccError
    0x800: device.MemoryFault.RETIREMENT_FAILED,  # nvmlEventTypeDramRetirementFailure, since R560 as the next two
    0x1000: device.MemoryFault.CONTAINED,  # nvmlEventTypeNonFatalPoisonError
    0x2000: device.MemoryFault.UNCONTAINED,  # nvmlEventTypeFatalPoisonError
}
KINDS = _XID | _MIG_CONFIG_CHANGE | sum(_MEMORY_FAULTS)  # what to listen to
_NOT_ATTRIBUTED = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class RawEvent:
    """An event; `handle` is the GPU's, as an address."""

    handle: int
    is_xid: bool
    data: int
    gi_id: int | None
    ci_id: int | None
    memory_fault: device.MemoryFault | None = None


def read(event: Any, handle: int) -> RawEvent:
    """An nvmlEventData_t."""
    return RawEvent(
        handle,
        bool(event.eventType & _XID),
        int(event.eventData),
        attributed(event.gpuInstanceId),
        attributed(event.computeInstanceId),
        _MEMORY_FAULTS.get(event.eventType),
    )


def attributed(number: int) -> int | None:
    """The id of an instance; None where the driver cannot tell."""
    return None if number == _NOT_ATTRIBUTED else number
