"""NVML's functions about events. Registered in exports."""

import ctypes
from typing import TYPE_CHECKING

from simulator.gpu import events
from simulator.gpu.faults import Call
from simulator.nvml import structs
from simulator.nvml.exports import Handle, Number, Ref, Wide, export

if TYPE_CHECKING:
    from simulator.nvml.library import FakeLibrary


@export("nvmlEventSetCreate", parameters=(Ref,))
def create(library: "FakeLibrary", handle: int | None) -> None:
    """nvmlEventSetCreate."""
    structs.put(handle, ctypes.c_void_p, library.handles.of(library.driver.listen()))


@export("nvmlDeviceGetSupportedEventTypes", parameters=(Handle, Ref))
def supported(library: "FakeLibrary", handle: int | None, kinds: int | None) -> None:
    """nvmlDeviceGetSupportedEventTypes."""
    gpu = library.handles.gpu(handle)
    with library.driver.call(Call.EVENTS, gpu):
        structs.put(kinds, ctypes.c_ulonglong, events.SUPPORTED)


@export("nvmlDeviceRegisterEvents", parameters=(Handle, Wide, Handle))
def register(library: "FakeLibrary", handle: int | None, kinds: int, event_set: int | None) -> None:
    """nvmlDeviceRegisterEvents: on GPUs, never on MIG devices."""
    gpu = library.handles.gpu(handle)
    with library.driver.call(Call.EVENTS, gpu):
        library.handles.event_queue(event_set).register(gpu.uuid, kinds & events.SUPPORTED)


@export("nvmlEventSetWait_v2", parameters=(Handle, Ref, Number))
def wait(library: "FakeLibrary", event_set: int | None, data: int | None, timeout_ms: int) -> None:
    """nvmlEventSetWait_v2."""
    queue = library.handles.event_queue(event_set)
    with library.driver.call(Call.EVENTS):
        pass
    event = queue.get(timeout_ms / 1000)
    if event is None:
        raise structs.TimeoutExpiredError("no event")
    filled = structs.EventData.from_address(structs.pointing(data))
    filled.device = library.handles.of(library.driver.find(event.gpu))
    filled.eventType, filled.eventData = event.kind, event.data
    filled.gpuInstanceId, filled.computeInstanceId = event.gi_id, event.ci_id


@export("nvmlEventSetFree", parameters=(Handle,))
def free(library: "FakeLibrary", event_set: int | None) -> None:
    """nvmlEventSetFree."""
    library.driver.unlisten(library.handles.event_queue(event_set))
    library.handles.drop(event_set)
