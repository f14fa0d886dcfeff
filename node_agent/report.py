"""Reporting: what the agent says of its node: the NodeReport behind the MigNode status, and its Ready condition.

Pure; called by agent. A slice that could not be destroyed is reported as allocated without an owner: it is not idle,
and not foreign either.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from allocator.claims import contract
from allocator.claims.report import GpuReport, MigMode, NodeReport, Owner, Slice, SliceState
from allocator.mig.profile import GpuPlacement
from node_agent.cluster.pods import PodView
from node_agent.cluster.port import PodEvent
from node_agent.gpu.device import GpuInstance, GpuState
from node_agent.slices import observed, ownership
from node_agent.slices.observed import ObservedGpu
from node_agent.slices.ownership import PodResourcesView
from node_agent.slices.states import Record, RecordState
from node_agent.state import AgentState

_MODES = {
    GpuState.READY: MigMode.ENABLED,
    GpuState.MIG_OFF: MigMode.DISABLED,
    GpuState.NOT_CAPABLE: MigMode.UNSUPPORTED,
    GpuState.VGPU: MigMode.UNSUPPORTED,
}
_WELL = frozenset({GpuState.READY, GpuState.MIG_OFF, GpuState.NOT_CAPABLE, GpuState.VGPU})


class ReadyReason(StrEnum):
    """Reasons of the Ready condition of a MigNode; docs/runbook.md says what to do about each."""

    READY = "Ready"
    OBSERVING = "Observing"
    NO_DRIVER = "NoDriver"
    JOURNAL_UNUSABLE = "JournalUnusable"
    CDI_UNWRITABLE = "CdiUnwritable"
    NO_POD_RESOURCES = "NoPodResources"
    CONFLICTING_MANAGER = "ConflictingManager"


@dataclass(frozen=True)
class StepOutcome:
    """What a step came to. `reason` and `message` are those of the Ready condition; `leaks` name slices in words.

    `urgent`: a container is about to start that waits for what PodResources will say.
    """

    report: NodeReport
    ready: bool
    reason: ReadyReason
    message: str
    events: tuple[PodEvent, ...] = ()
    leaks: tuple[str, ...] = ()
    urgent: bool = False


def status(outcome: StepOutcome, *, version: str, mode: str, since: str) -> dict[str, Any]:
    """The MigNode status of an outcome; `since` is when Ready took its present value."""
    ready = {
        "type": "Ready",
        "status": "True" if outcome.ready else "False",
        "reason": outcome.reason,
        "message": outcome.message[:32_768],
        "lastTransitionTime": since,
    }
    return contract.encode_status(outcome.report, agent_version=version, mode=mode) | {"conditions": [ready]}


def node_report(memory: AgentState) -> NodeReport:
    """The report of what was seen last."""
    gpus = sorted(memory.view.gpus.values(), key=lambda gpu: gpu.info.index)
    return NodeReport(memory.node, tuple(_gpu(gpu, memory) for gpu in gpus))


def _gpu(gpu: ObservedGpu, memory: AgentState) -> GpuReport:
    info = gpu.info
    message = memory.faults.get(gpu.uuid, "") or memory.mode_notes.get(gpu.uuid, "") or gpu.trouble or info.detail
    healthy = gpu.readable and info.state in _WELL and gpu.uuid not in memory.faults
    if not healthy and not message:
        message = f"GPU is {info.state.value}"
    if memory.options.observer:
        slices = [_observed(one, memory.listing, memory.pods or {}) for one in gpu.instances]
    else:
        slices = [_slice(GpuPlacement(gpu.uuid, one.placement), one, memory) for one in gpu.instances]
    return GpuReport(
        uuid=gpu.uuid,
        index=info.index,
        product=info.product,
        mig_mode=_mode(gpu),
        catalogue=gpu.catalogue,
        slices=tuple(sorted(slices, key=lambda one: (one.placement.start, one.placement))) if gpu.catalogue else (),
        healthy=healthy,
        message=message[:1024],
    )


def _mode(gpu: ObservedGpu) -> MigMode:
    mode = gpu.info.mode
    if gpu.info.state in _MODES:
        return _MODES[gpu.info.state]
    if mode is not None:
        return MigMode.ENABLED if mode.current else MigMode.DISABLED
    return MigMode.ENABLED if gpu.instances else MigMode.UNSUPPORTED


def _slice(place: GpuPlacement, there: GpuInstance, memory: AgentState) -> Slice:
    state, owner = _whose(memory.journal.records.get(place), there, memory.stuck, place)
    return _made(there, state, owner)


def _whose(
    record: Record | None, there: GpuInstance, stuck: Mapping[GpuPlacement, object], place: GpuPlacement
) -> tuple[SliceState, Owner | None]:
    if record is None:
        return SliceState.FOREIGN, None
    if record.state in (RecordState.CUTTING, RecordState.RESTORING) or observed.is_it(record, there):
        if record.state in (RecordState.ALLOCATED, RecordState.RESTORING):
            return SliceState.ALLOCATED, record.owner
        return (SliceState.ALLOCATED if place in stuck else SliceState.IDLE), None
    return SliceState.FOREIGN, None


def _observed(there: GpuInstance, listing: PodResourcesView | None, pods: Mapping[str, PodView]) -> Slice:
    """Beside NVIDIA's own plugin, whose device ids are MIG UUIDs. PodResources names pods; one whose UID the API server
    does not tell is left out, and the slice is allocated without an owner.
    """
    for (_, device_id), holder in (listing.holders if listing is not None else {}).items():
        if there.mig_uuid is not None and device_id == there.mig_uuid:
            return _made(there, SliceState.ALLOCATED, ownership.named(holder, pods))
    return _made(there, SliceState.FOREIGN, None)


def _made(there: GpuInstance, state: SliceState, owner: Owner | None) -> Slice:
    ci = there.compute_instances[0].ci_id if there.compute_instances else None
    return Slice(there.placement, state, owner, there.mig_uuid or "", there.gi_id, ci)
