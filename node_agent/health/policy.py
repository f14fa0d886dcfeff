"""HealthPolicy: what a fault of each class does on this node, as the settings say. Pure; used by state.

A fault of the class `unknown` counts as one of another class. By default that depends on whether the driver could
attribute it: then it is the slice's application that failed, else the whole GPU.
"""

import enum
from dataclasses import dataclass

from node_agent.health.faults import GpuFault
from node_agent.health.xids import FaultClass

MAX_XID = 9999


class Effect(enum.Enum):
    """What a mark does."""

    DESTROY_SLICE = "destroy_slice"  # the slice is destroyed as soon as no container has it
    CLOSE_GPU = "close_gpu"  # the GPU gets no new work
    MARK = "mark"  # it is shown, and the pod is told; nothing else
    IGNORE = "ignore"  # it is logged and counted


class UnknownFaults(enum.Enum):
    """As which class a fault counts whose class is not known."""

    AS_ATTRIBUTED = "as_attributed"
    APPLICATION = "application"
    GPU_RESET = "gpu_reset"
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True)
class HealthPolicy:
    """What the settings say; the defaults are theirs."""

    ignored_xids: frozenset[int] = frozenset()
    application: Effect = Effect.DESTROY_SLICE
    gpu_reset: Effect = Effect.CLOSE_GPU
    unknown: UnknownFaults = UnknownFaults.AS_ATTRIBUTED

    def class_of(self, fault: GpuFault) -> FaultClass:
        """As which class a fault counts here; never UNKNOWN."""
        if fault.xid is not None and fault.xid in self.ignored_xids:
            return FaultClass.IGNORED
        if fault.fault_class is not FaultClass.UNKNOWN:
            return fault.fault_class
        if self.unknown is UnknownFaults.AS_ATTRIBUTED:
            return FaultClass.GPU_RESET if fault.gi_id is None else FaultClass.APPLICATION
        return FaultClass(self.unknown.value)

    def effect(self, fault_class: FaultClass) -> Effect:
        """What a fault of a class does."""
        if fault_class is FaultClass.APPLICATION:
            return self.application
        return self.gpu_reset if fault_class is FaultClass.GPU_RESET else Effect.IGNORE


def xid_numbers(text: str) -> frozenset[int]:
    """XIDs separated by commas. Raises ValueError naming what is not valid, and the fix."""
    return frozenset(_number(part.strip()) for part in text.split(",") if part.strip())


def _number(part: str) -> int:
    if not (part.isascii() and part.isdigit() and len(part) <= len(str(MAX_XID)) and int(part)):
        raise ValueError(f"{part[:40]!r} is not an XID: write numbers separated by commas, such as 13,31")
    return int(part)
