"""Slices as the agent remembers them: where, in which state of their life, whose.

Everything that changes a slice's state is an event in `TRANSITIONS`; `journal` applies and writes it down before the
GPU is touched. The table in docs/node-agent.md is generated from here (`python -m node_agent.slices.states`).
"""

import enum
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from allocator import errors
from allocator.claims.report import Owner
from allocator.mig.profile import GpuPlacement


class SliceError(errors.MigschedError):
    """A slice was asked to make a step that its life does not have."""


class RecordState(enum.Enum):
    """Where a slice is in its life. CUTTING, RESTORING and DESTROYING are intents: the GPU may be before or after."""

    CUTTING = "cutting"
    IDLE = "idle"
    ALLOCATED = "allocated"
    RESTORING = "restoring"
    DESTROYING = "destroying"


class SliceEvent(enum.Enum):
    """What can happen to a slice."""

    MADE = "made"  # it stands, whole
    FAILED = "failed"  # it was not made, and nothing of it is left
    TAKE = "take"  # the kubelet gave it to a container
    FREE = "free"  # no container has it any more
    RESTORE = "restore"  # it vanished or broke while a container has it: cut it again
    RETIRE = "retire"  # its room is wanted
    REFUSED = "refused"  # the driver would not destroy it
    GONE = "gone"  # nothing is left of it


TRANSITIONS: Mapping[tuple[RecordState, SliceEvent], RecordState | None] = {
    (RecordState.CUTTING, SliceEvent.MADE): RecordState.IDLE,
    (RecordState.CUTTING, SliceEvent.FAILED): None,
    (RecordState.IDLE, SliceEvent.TAKE): RecordState.ALLOCATED,
    (RecordState.IDLE, SliceEvent.RETIRE): RecordState.DESTROYING,
    (RecordState.IDLE, SliceEvent.GONE): None,  # a reboot, or another program destroyed it
    (
        RecordState.ALLOCATED,
        SliceEvent.TAKE,
    ): RecordState.ALLOCATED,  # handed on by an init container, or given to the next pod
    (RecordState.ALLOCATED, SliceEvent.FREE): RecordState.IDLE,
    (RecordState.ALLOCATED, SliceEvent.RESTORE): RecordState.RESTORING,
    (RecordState.RESTORING, SliceEvent.MADE): RecordState.ALLOCATED,
    (RecordState.RESTORING, SliceEvent.FAILED): RecordState.ALLOCATED,
    (
        RecordState.RESTORING,
        SliceEvent.FREE,
    ): RecordState.CUTTING,  # its pod is over while it is not known what stands on the GPU
    (RecordState.DESTROYING, SliceEvent.GONE): None,
    (RecordState.DESTROYING, SliceEvent.REFUSED): RecordState.IDLE,
}

HELD = frozenset({RecordState.ALLOCATED, RecordState.RESTORING})  # some container has it
INTENTS = frozenset({SliceEvent.RESTORE, SliceEvent.RETIRE})  # events that must be on disk before the GPU is touched


@dataclass(frozen=True, slots=True)
class Record:
    """One slice that the agent made, makes or destroys. The ids are None while they are not known.

    `owner` is None while allocated until PodResources has named the container. `beside` are the whole GPUs (UUIDs) that
    this container has too.
    """

    place: GpuPlacement
    state: RecordState
    gi_id: int | None = None
    ci_id: int | None = None
    mig_uuid: str = ""
    owner: Owner | None = None
    beside: tuple[str, ...] = ()


def after(state: RecordState, event: SliceEvent) -> RecordState | None:
    """The state after an event, None where the slice's life ends. Raises SliceError for what the table lacks."""
    if (state, event) not in TRANSITIONS:
        raise SliceError(f"a slice that is {state.value} cannot take the event {event.value}")
    return TRANSITIONS[state, event]


def table() -> str:
    """The transition table in Markdown."""
    lines = ["| state | event | then |", "|---|---|---|", "| – | create | cutting |", "| – | adopt | allocated |"]
    for (state, event), then in TRANSITIONS.items():
        lines.append(f"| {state.value} | {event.value} | {then.value if then else '–'} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(table() + "\n")
