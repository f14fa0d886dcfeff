"""StoredMark: a mark as the journal has it on disk, within bounds. Used by journal."""

from typing import Annotated

import msgspec

from node_agent.health.faults import GpuFault
from node_agent.health.marks import MAX_CAUSES, Mark
from node_agent.health.policy import Effect
from node_agent.health.xids import FaultClass

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=253)]
_Id = Annotated[int, msgspec.Meta(ge=0, le=4096)]
_Count = Annotated[int, msgspec.Meta(ge=0)]


class _Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    cause: _Name
    code: _Name
    kind: FaultClass
    xid: _Count | None = None
    gi: _Id | None = None
    ci: _Id | None = None


class StoredMark(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A mark on disk."""

    gpu: _Name
    kind: FaultClass
    effect: Effect
    since: _Name
    causes: Annotated[tuple[_Fault, ...], msgspec.Meta(min_length=1, max_length=MAX_CAUSES)]
    gi: _Id | None = None
    energy: _Count | None = None
    standing: Annotated[tuple[_Id, ...], msgspec.Meta(max_length=64)] = ()
    lost: bool = False


def stored(mark: Mark) -> StoredMark:
    """A mark to be written."""
    return StoredMark(
        mark.gpu,
        mark.fault_class,
        mark.effect,
        mark.since,
        tuple(_Fault(f.cause, f.code, f.fault_class, f.xid, f.gi_id, f.ci_id) for f in mark.causes),
        mark.gi_id,
        mark.energy_mj,
        tuple(sorted(mark.standing)),
        mark.lost,
    )


def restored(wire: StoredMark) -> Mark:
    """A mark that was read."""
    return Mark(
        wire.gpu,
        wire.gi,
        wire.kind,
        wire.effect,
        wire.since,
        tuple(GpuFault(wire.gpu, f.kind, f.cause, f.code, f.xid, f.gi, f.ci) for f in wire.causes),
        wire.energy,
        frozenset(wire.standing),
        wire.lost,
    )
