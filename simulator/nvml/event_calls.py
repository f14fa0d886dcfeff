"""NVML's functions about events. Registered in exports."""

import ctypes

from simulator.gpu import events
from simulator.gpu.faults import Call
from simulator.nvml import structs
from simulator.nvml.exports import Handle, Number, Ref, Wide, export
from simulator.nvml.session import Session


@export("nvmlEventSetCreate", parameters=(Ref,))
def create(session: Session, handle: int | None) -> None:
    """nvmlEventSetCreate."""
    structs.put(handle, ctypes.c_void_p, session.handles.of(session.driver.listen()))


@export("nvmlDeviceGetSupportedEventTypes", parameters=(Handle, Ref))
def supported(session: Session, handle: int | None, kinds: int | None) -> None:
    """nvmlDeviceGetSupportedEventTypes."""
    gpu = session.handles.gpu(handle)
    with session.driver.call(Call.EVENTS, gpu):
        structs.put(kinds, ctypes.c_ulonglong, events.SUPPORTED)


@export("nvmlDeviceRegisterEvents", parameters=(Handle, Wide, Handle))
def register(session: Session, handle: int | None, kinds: int, event_set: int | None) -> None:
    """nvmlDeviceRegisterEvents: on GPUs, never on MIG devices."""
    gpu = session.handles.gpu(handle)
    with session.driver.call(Call.EVENTS, gpu):
        session.handles.event_queue(event_set).register(gpu.uuid, kinds & events.SUPPORTED)


@export("nvmlEventSetWait_v2", parameters=(Handle, Ref, Number))
def wait(session: Session, event_set: int | None, data: int | None, timeout_ms: int) -> None:
    """nvmlEventSetWait_v2."""
    queue = session.handles.event_queue(event_set)
    with session.driver.call(Call.EVENTS):
        pass
    event = queue.get(timeout_ms / 1000)
    if event is None:
        raise structs.TimeoutExpiredError("no event")
    filled = structs.EventData.from_address(structs.pointing(data))
    filled.device = session.handles.of(session.driver.find(event.gpu))
    filled.eventType, filled.eventData = event.kind, event.data
    filled.gpuInstanceId, filled.computeInstanceId = event.gi_id, event.ci_id


@export("nvmlEventSetFree", parameters=(Handle,))
def free(session: Session, event_set: int | None) -> None:
    """nvmlEventSetFree."""
    session.driver.unlisten(session.handles.event_queue(event_set))
    session.handles.drop(event_set)
