"""Injection: what containers get for the ids they were given: UUIDs to see and device nodes. Used by agent and
allocation.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from allocator.mig.profile import GpuPlacement
from node_agent.containers import visibility
from node_agent.containers.cdi import Edits
from node_agent.gpu import device
from node_agent.gpu.device import DeviceNode
from node_agent.slices import device_ids, observed
from node_agent.slices.states import RecordState
from node_agent.state import AgentState

_COMMON = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools")


def wanted(state: AgentState) -> dict[str, Edits | None]:
    """The specifications there should be, by name: one for every grant. None where it cannot be said anew just now,
    because the slices do not stand, the GPU does not answer, or it is not known with which others a container sees
    them: what is written stays.
    """
    places = state.places()
    shares = visibility.Shares(state.journal.records, state.pods or {})
    found: dict[str, Edits | None] = {}
    for ids in state.journal.grants:
        granted = [places[one] for one in ids if one in places]
        found[device_ids.set_name(ids)] = None
        if len(granted) != len(ids) or not all(stands(state, one) for one in granted):
            continue
        seen = shares.seen_with(granted)
        if seen is not None and all(stands(state, one) for one in seen):
            try:
                found[device_ids.set_name(ids)] = for_slices(state, seen)
            except device.DeviceError:
                continue
    return found


def stands(state: AgentState, place: GpuPlacement) -> bool:
    """Whether a container's slice is there, whole, and the recorded one."""
    record = state.journal.records.get(place)
    there = state.view.instance(place)
    return (
        record is not None
        and record.state is RecordState.ALLOCATED
        and there is not None
        and there.whole
        and observed.is_it(record, there)
    )


def for_slices(state: AgentState, places: Sequence[GpuPlacement]) -> Edits:
    """What a container with these slices gets. Raises DeviceError if the driver does not tell the device nodes."""
    uuids: list[str] = []
    nodes: list[DeviceNode] = []
    for place in places:
        record = state.journal.records[place]
        uuids.append(record.mig_uuid)
        if state.options.real_nodes and record.gi_id is not None:
            nodes += _of_gpu(state, place.gpu)
            nodes += state.devices.device_nodes(place.gpu, record.gi_id)
    return Edits(tuple(uuids), tuple(dict.fromkeys(nodes)))


def for_gpus(state: AgentState, uuids: Iterable[str]) -> Edits:
    """What a container with whole GPUs gets."""
    names = tuple(uuids)
    nodes = [node for uuid in names for node in _of_gpu(state, uuid)] if state.options.real_nodes else []
    return Edits(names, tuple(dict.fromkeys(nodes)))


def _of_gpu(state: AgentState, gpu: str) -> list[DeviceNode]:
    """The nodes that every user of a GPU needs, as far as this host has them."""
    minor = state.view.gpus[gpu].info.minor
    own = () if minor is None else (f"/dev/nvidia{minor}",)
    return [DeviceNode(path, minor or 0) for path in (*_COMMON, *own) if Path(path).exists()]
