"""What the agent says of its node: the NodeReport behind the MigNode status, and its Ready condition.

Pure; called by reconciler, and by reporter for the status. A slice that could not be destroyed is reported as allocated
without an owner: it is not idle, and not foreign either.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from allocator.claims import contract
from allocator.claims.report import GpuReport, Illness, MigMode, NodeReport, Owner, Slice, SliceState
from allocator.mig.profile import GpuPlacement
from kubeclient.events import PodEvent
from node_agent.gpu.device import GpuInstance, GpuState
from node_agent.health.marks import Mark
from node_agent.slices import observed, ownership, states
from node_agent.slices.observation import Observation
from node_agent.slices.observed import ObservedGpu
from node_agent.slices.states import RecordState

_MODES = {
    GpuState.READY: MigMode.ENABLED,
    GpuState.MIG_OFF: MigMode.DISABLED,
    GpuState.NOT_CAPABLE: MigMode.UNSUPPORTED,
    GpuState.NOT_COMPUTE: MigMode.UNSUPPORTED,
    GpuState.VGPU: MigMode.UNSUPPORTED,
}
_WELL = frozenset({*_MODES, GpuState.EXCLUDED})


class ReadyReason(StrEnum):
    """Reasons of the Ready condition of a MigNode; docs/runbook.md says what to do about each."""

    READY = "Ready"
    OBSERVING = "Observing"
    NO_DRIVER = "NoDriver"
    JOURNAL_UNUSABLE = "JournalUnusable"
    CDI_UNWRITABLE = "CdiUnwritable"
    DRIVER_FILES_UNKNOWN = "DriverFilesUnknown"
    RUNTIME_UNFIT = "RuntimeUnfit"
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


def status(
    outcome: StepOutcome, *, version: str, mode: str, since: str, others: Sequence[Mapping[str, str]] = ()
) -> dict[str, Any]:
    """The MigNode status of an outcome; `since` is when Ready took its present value, `others` are more conditions."""
    ready = {
        "type": "Ready",
        "status": "True" if outcome.ready else "False",
        "reason": outcome.reason,
        "message": outcome.message[:32_768],
        "lastTransitionTime": since,
    }
    return contract.encode_status(outcome.report, agent_version=version, mode=mode) | {"conditions": [ready, *others]}


def node_report(node: str, observation: Observation, *, observer: bool) -> NodeReport:
    """The report of an observation. `observer`: slices are cut and handed out by others."""
    gpus = sorted(observation.view.gpus.values(), key=lambda gpu: gpu.info.index)
    return NodeReport(node, tuple(_gpu(gpu, observation, observer) for gpu in gpus))


def _gpu(gpu: ObservedGpu, observation: Observation, observer: bool) -> GpuReport:
    info, closed = gpu.info, observation.closed(gpu.uuid)
    out = observation.out_of_service.get(gpu.uuid, "")
    ill = closed.message if closed else ""
    message = ill or out or observation.mode_notes.get(gpu.uuid, "") or gpu.trouble or info.detail
    healthy = not gpu.unread and info.state in _WELL and closed is None and not out
    if not healthy and not message:
        message = f"GPU is {info.state.value}"
    report_slice = _observed if observer else _slice
    slices = [
        report_slice(GpuPlacement(gpu.uuid, instance.placement), instance, observation) for instance in gpu.instances
    ]
    return GpuReport(
        uuid=gpu.uuid,
        index=info.index,
        product=info.product,
        mig_mode=_mode(gpu),
        catalogue=gpu.catalogue,
        slices=tuple(sorted(slices, key=lambda slice_: (slice_.placement.start, slice_.placement)))
        if gpu.catalogue
        else (),
        healthy=healthy,
        message=message[:1024],
        illness=_illness(observation.gpu_mark(gpu.uuid)),
    )


def _illness(mark: Mark | None) -> Illness | None:
    return None if mark is None else Illness(mark.since, mark.message[:1024])


def _mode(gpu: ObservedGpu) -> MigMode:
    mode = gpu.info.mode
    if gpu.info.state in _MODES:
        return _MODES[gpu.info.state]
    if mode is not None:
        return MigMode.ENABLED if mode.current else MigMode.DISABLED
    return MigMode.ENABLED if gpu.instances else MigMode.UNSUPPORTED


def _slice(place: GpuPlacement, instance: GpuInstance, observation: Observation) -> Slice:
    record = observation.records.get(place)
    state, owner = SliceState.FOREIGN, None
    if record is not None and (
        record.state in (RecordState.CUTTING, RecordState.RESTORING) or observed.is_it(record, instance)
    ):
        is_held = record.state in states.HELD
        state = SliceState.ALLOCATED if is_held or place in observation.stuck else SliceState.IDLE
        owner = record.owner if is_held else None
    return _reported(place, instance, observation, state, owner)


def _observed(place: GpuPlacement, instance: GpuInstance, observation: Observation) -> Slice:
    """Beside NVIDIA's own plugin, whose device ids are MIG UUIDs. PodResources names pods; one whose UID the API server
    does not tell is left out, and the slice is allocated without an owner.
    """
    for (_, device_id), holder in observation.holders.items():
        if instance.mig_uuid is not None and device_id == instance.mig_uuid:
            owner = ownership.named(holder, observation.pods or {})
            return _reported(place, instance, observation, SliceState.ALLOCATED, owner)
    return _reported(place, instance, observation, SliceState.FOREIGN, None)


def _reported(
    place: GpuPlacement, instance: GpuInstance, observation: Observation, state: SliceState, owner: Owner | None
) -> Slice:
    ci = instance.compute_instances[0].ci_id if instance.compute_instances else None
    illness = _illness(observation.slice_mark(place))
    return Slice(instance.placement, state, owner, instance.mig_uuid or "", instance.gi_id, ci, illness)
