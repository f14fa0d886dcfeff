"""What each XID asks for."""

import pytest

from node_agent.gpu.device import DeviceEvent, EventKind, MemoryFault
from node_agent.health import faults, xids
from node_agent.health.xids import FaultClass


@pytest.mark.parametrize(
    ("number", "fault_class"),
    [
        (13, FaultClass.APPLICATION),
        (31, FaultClass.APPLICATION),
        (94, FaultClass.APPLICATION),
        (135, FaultClass.APPLICATION),
        (48, FaultClass.GPU_RESET),
        (64, FaultClass.GPU_RESET),
        (79, FaultClass.GPU_RESET),
        (95, FaultClass.GPU_RESET),
        (109, FaultClass.GPU_RESET),
        (119, FaultClass.GPU_RESET),
        (43, FaultClass.IGNORED),
        (45, FaultClass.IGNORED),
        (63, FaultClass.IGNORED),
        (154, FaultClass.IGNORED),
        (74, FaultClass.UNKNOWN),
        (144, FaultClass.UNKNOWN),
        (165, FaultClass.UNKNOWN),
        (0, FaultClass.UNKNOWN),
        (999, FaultClass.UNKNOWN),
        (None, FaultClass.UNKNOWN),
    ],
)
def test_classes_follow_the_catalogues_action(number: int | None, fault_class: FaultClass) -> None:
    """A row of the catalogue for each kind of action; what it lacks is not known."""
    assert xids.fault_class(number) is fault_class


def test_every_number_is_listed_once() -> None:
    """No number is in two rows, and each row's action stands for a class."""
    assert len(xids.XIDS) == sum(1 for _ in xids.catalogue())
    assert {xid.action for xid in xids.XIDS.values()} <= set(xids.CLASSES)


def test_labels_are_few() -> None:
    """A number that nobody published makes no label of its own: an event is not to grow the metrics."""
    codes = {
        fault.code
        for number in (*range(2_000), 2**63)
        if (fault := faults.fault(DeviceEvent("GPU-0", EventKind.FAULT, number))) is not None
    }
    assert codes == {str(number) for number in xids.XIDS} | {"other"}


def test_a_fault_keeps_what_it_is_attributed_to() -> None:
    """Instances are named as the event names them; a change of geometry is no fault."""
    fault = faults.fault(DeviceEvent("GPU-0", EventKind.FAULT, 94, 7, 0))
    assert fault is not None
    assert (fault.gpu, fault.xid, fault.gi_id, fault.ci_id) == ("GPU-0", 94, 7, 0)
    assert fault.cause == "XID 94 (contained memory error)"
    assert faults.fault(DeviceEvent("GPU-0", EventKind.GEOMETRY_CHANGED)) is None


@pytest.mark.parametrize("kind", MemoryFault)
def test_every_memory_fault_has_a_class(kind: MemoryFault) -> None:
    """Uncontained errors and failed repairs ask for a reset, contained ones for the application."""
    fault = faults.fault(DeviceEvent("GPU-0", EventKind.MEMORY_FAULT, memory_fault=kind))
    assert fault is not None
    needs_reset = kind in (MemoryFault.UNCONTAINED, MemoryFault.RETIREMENT_FAILED)
    assert fault.fault_class is (FaultClass.GPU_RESET if needs_reset else FaultClass.APPLICATION)
