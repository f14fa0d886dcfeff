"""Faults: what a driver event says against a GPU or one of its instances. Pure; called by state.

An XID event names an instance where the driver knows it (NVML: nvmlEventData_t, `gpuInstanceId`). A memory-error event
never does. Those of R560 and later say whether the error was contained, which is what XID 94 and 95 say too: the
driver's own table of error containment pairs them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from node_agent.gpu.device import DeviceEvent, EventKind, MemoryFault
from node_agent.health import xids
from node_agent.health.xids import FaultClass

_MEMORY: Mapping[MemoryFault, tuple[FaultClass, str]] = {
    MemoryFault.DOUBLE_BIT: (FaultClass.APPLICATION, "uncorrectable memory error"),
    MemoryFault.CONTAINED: (FaultClass.APPLICATION, "contained memory error"),
    MemoryFault.UNCONTAINED: (FaultClass.GPU_RESET, "uncontained memory error"),
    MemoryFault.RETIREMENT_FAILED: (FaultClass.GPU_RESET, "memory remapping failure"),
}


@dataclass(frozen=True, slots=True)
class GpuFault:
    """One fault. `code` is a label of few values; without `gi_id` it concerns the whole GPU."""

    gpu: str
    fault_class: FaultClass
    cause: str
    code: str
    xid: int | None = None
    gi_id: int | None = None
    ci_id: int | None = None


def fault(event: DeviceEvent) -> GpuFault | None:
    """What an event says against a GPU; None if it says nothing against it."""
    if event.kind is EventKind.FAULT:
        code = str(event.xid) if event.xid in xids.XIDS else "other"
        cause = xids.describe(event.xid)
        return GpuFault(event.gpu_uuid, xids.fault_class(event.xid), cause, code, event.xid, event.gi_id, event.ci_id)
    if event.kind is EventKind.MEMORY_FAULT and event.memory_fault is not None:
        class_, cause = _MEMORY[event.memory_fault]
        return GpuFault(event.gpu_uuid, class_, cause, event.memory_fault.value)
    return None
