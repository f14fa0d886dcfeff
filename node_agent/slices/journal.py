"""Journal: what the agent must not forget, on disk before it happens on the GPU.

It holds every slice that is ours with its state, the sets of device ids given to containers together, and what is ill
(`health.marks`): the driver reports a fault once. Intents to
change a GPU, and what a container is given, are written whole and synced before the records change and before the
caller goes on. What was only seen (that a cut succeeded, that no container has a slice any more) is written with the
next intent, or by `flush`: after a crash it is seen again. So a crash leaves an intent, never a surprise. A journal
that cannot be read stops the agent: guessing whose a slice is could destroy a user's work. Used by reconciler,
allocation and executor; on disk it is a `journal_file`.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Protocol

import msgspec

from allocator import errors
from allocator.claims.report import Owner
from allocator.mig.profile import GpuPlacement, Placement
from node_agent.health import stored
from node_agent.health.marks import Key, Mark
from node_agent.health.stored import StoredMark
from node_agent.slices import states
from node_agent.slices.states import Record, RecordState, SliceEvent

VERSION = 1
MAX_BYTES = 4 * 2**20  # sixteen full GPUs take less than 100 kB

_Text = Annotated[str, msgspec.Meta(max_length=1024)]
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=253)]
_Slot = Annotated[int, msgspec.Meta(ge=0, le=31)]
_Id = Annotated[int, msgspec.Meta(ge=0, le=4096)]


Transition = Callable[[RecordState, SliceEvent], RecordState | None]


class JournalError(errors.MigschedError):
    """The journal cannot be read or written; nothing on the GPUs was touched."""


class Store(Protocol):
    """Where the journal's bytes are."""

    def read(self) -> bytes | None:
        """All of it; None if there never was one."""

    def write(self, content: bytes) -> None:
        """Replace all of it, durably or not at all."""


class _Owner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    namespace: _Name
    pod: _Name
    uid: _Name
    container: _Text = ""


class _Slice(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    gpu: _Name
    profile: _Name
    start: _Slot
    size: Annotated[int, msgspec.Meta(ge=1, le=32)]
    state: RecordState
    gi: _Id | None = None
    ci: _Id | None = None
    mig: _Text = ""
    owner: _Owner | None = None
    beside: Annotated[tuple[_Name, ...], msgspec.Meta(max_length=64)] = ()  # absent: agents of before read it


class _Version(msgspec.Struct, frozen=True):
    version: int


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    version: int
    boot: _Text
    slices: tuple[_Slice, ...] = ()
    grants: tuple[tuple[_Name, ...], ...] = ()
    marks: Annotated[tuple[StoredMark, ...], msgspec.Meta(max_length=4096)] = ()  # absent: agents of before read it


class Journal:
    """The slices that are ours, by place, and the sets granted to containers. Load it before use.

    `boot` names the running of the driver: no instance outlives it, so under another one only what containers have
    is kept, to be cut again, and nothing is ill any more. Methods that write (`create`, `hand_out`, `flush`,
    `keep_marks`, and `apply` and `retire` of an intent) raise JournalError, having changed nothing, if they cannot.
    """

    def __init__(self, store: Store, boot: str, transition: Transition = states.after) -> None:
        self._store = store
        self._boot = boot
        self._transition = transition
        self.records: dict[GpuPlacement, Record] = {}
        self.grants: frozenset[tuple[str, ...]] = frozenset()
        self.marks: Mapping[Key, Mark] = {}
        self._unwritten = False
        self._written_marks: frozenset[Key] = frozenset()

    def load(self) -> None:
        """Read what was written. Raises JournalError for what is not a journal of our version."""
        content = self._store.read()
        if content is None:
            return
        document = _decode(content)
        records = [_record(slice_) for slice_ in document.slices]
        if len({r.place for r in records}) != len(records):
            raise JournalError(_unusable("it names a place twice"))
        if document.boot != self._boot:
            records = [
                dataclasses.replace(r, state=RecordState.ALLOCATED, gi_id=None, ci_id=None, mig_uuid="")
                for r in records
                if r.state in states.HELD
            ]
        else:
            self.marks = {mark.key: mark for mark in map(stored.restored, document.marks)}
            self._written_marks = frozenset(self.marks)
        self.records = {r.place: r for r in records}
        self.grants = frozenset(document.grants)

    def create(self, place: GpuPlacement) -> None:
        """The intent to cut a slice where there is none of ours. Raises SliceError if there is one."""
        if place in self.records:
            raise states.SliceError(f"there is a slice of ours at {place} already")
        self._write({**self.records, place: Record(place, RecordState.CUTTING)}, self.grants)

    def adopt(self, record: Record) -> None:
        """Take over a slice that a container has and the journal lacks. Raises SliceError if it has it."""
        if record.place in self.records:
            raise states.SliceError(f"there is a slice of ours at {record.place} already")
        self._note({**self.records, record.place: record}, self.grants)

    def apply(self, place: GpuPlacement, event: SliceEvent, **changes: Any) -> Record | None:
        """Let an event happen to a slice, with changes of its record; the record after it, None where it ended.

        Raises SliceError for an event that the slice's state does not have.
        """
        records = dict(self.records)
        changed = self._applied(records, place, event, changes)
        if event in states.INTENTS:
            self._write(records, self.grants)
        else:
            self._note(records, self.grants)
        return changed

    def retire(self, places: Iterable[GpuPlacement]) -> None:
        """The intent to destroy idle slices, in one write. Raises SliceError, and changes nothing, if one is not."""
        records = dict(self.records)
        for place in places:
            self._applied(records, place, SliceEvent.RETIRE, {})
        if records != self.records:
            self._write(records, self.grants)

    def own(self, place: GpuPlacement, owner: Owner) -> None:
        """Note which container has an allocated slice."""
        record = self.records[place]
        if record.owner != owner:
            self._note({**self.records, place: dataclasses.replace(record, owner=owner, beside=())}, self.grants)

    def lie_beside(self, place: GpuPlacement, gpus: tuple[str, ...]) -> None:
        """Note which whole GPUs (UUIDs) the container of an allocated slice has."""
        record = self.records[place]
        if record.beside != gpus:
            self._note({**self.records, place: dataclasses.replace(record, beside=gpus)}, self.grants)

    def hand_out(self, places: Iterable[GpuPlacement], ids: tuple[str, ...]) -> None:
        """A container gets slices together, in one write. Whose they are is not known until PodResources names it.

        Raises SliceError, and changes nothing, for one that cannot be taken.
        """
        records = dict(self.records)
        for place in places:
            record = records[place]
            state = self._transition(record.state, SliceEvent.TAKE)
            if state is not None:
                records[place] = dataclasses.replace(record, state=state, owner=None, beside=())
        self._write(records, self.grants | {ids})

    def grant(self, ids: tuple[str, ...]) -> None:
        """Note that a container got these ids together."""
        if ids not in self.grants:
            self._note(self.records, self.grants | {ids})

    def revoke(self, revoked: Iterable[str]) -> None:
        """Forget every grant in which one of these ids is."""
        gone = set(revoked)
        remaining = frozenset(ids for ids in self.grants if not gone & set(ids))
        if remaining != self.grants:
            self._note(self.records, remaining)

    def mark(self, marks: Mapping[Key, Mark]) -> None:
        """Note what is ill now."""
        if marks is not self.marks:
            self.marks, self._unwritten = marks, True

    def keep_marks(self) -> None:
        """Write if something fell ill since the last write: no driver tells it again."""
        if not self._written_marks.issuperset(self.marks):
            self.flush()

    def flush(self) -> None:
        """Write what was noted since the last write."""
        if self._unwritten:
            self._write(self.records, self.grants)

    def _applied(
        self, records: dict[GpuPlacement, Record], place: GpuPlacement, event: SliceEvent, changes: dict[str, Any]
    ) -> Record | None:
        """Let an event happen to one of the records; the record after it."""
        record = records.get(place)
        if record is None:
            raise states.SliceError(f"there is no slice of ours at {place}")
        state = self._transition(record.state, event)
        if state is None:
            del records[place]
            return None
        records[place] = dataclasses.replace(record, state=state, **changes)
        return records[place]

    def _note(self, records: dict[GpuPlacement, Record], grants: frozenset[tuple[str, ...]]) -> None:
        self.records, self.grants, self._unwritten = records, grants, True

    def _write(self, records: dict[GpuPlacement, Record], grants: frozenset[tuple[str, ...]]) -> None:
        slices, marks = tuple(_wire(r) for r in records.values()), tuple(map(stored.stored, self.marks.values()))
        document = _Document(VERSION, self._boot, slices, tuple(sorted(grants)), marks)
        self._store.write(msgspec.json.encode(document))
        self._written_marks = frozenset(self.marks)
        self.records, self.grants, self._unwritten = records, grants, False


def _decode(content: bytes) -> _Document:
    if len(content) > MAX_BYTES:
        raise JournalError(_unusable(f"it is larger than {MAX_BYTES} bytes"))
    try:
        version = msgspec.json.decode(content, type=_Version).version
        if version != VERSION:
            raise JournalError(_unusable(f"it has version {version}, this agent reads {VERSION}"))
        return msgspec.json.decode(content, type=_Document)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise JournalError(_unusable(str(error))) from error


def _unusable(why: str) -> str:
    return (
        f"the journal cannot be used: {why}. Nothing was destroyed. Move its files away to start without it: slices "
        "that the kubelet lists are taken over, all others then count as foreign and stay"
    )


def _record(wire: _Slice) -> Record:
    owner = wire.owner
    return Record(
        GpuPlacement(wire.gpu, Placement(wire.profile, wire.start, wire.size)),
        wire.state,
        wire.gi,
        wire.ci,
        wire.mig,
        None if owner is None else Owner(owner.namespace, owner.pod, owner.uid, owner.container),
        wire.beside,
    )


def _wire(record: Record) -> _Slice:
    owner, placement = record.owner, record.place.placement
    return _Slice(
        gpu=record.place.gpu,
        profile=placement.profile,
        start=placement.start,
        size=placement.size,
        state=record.state,
        gi=record.gi_id,
        ci=record.ci_id,
        mig=record.mig_uuid,
        owner=None if owner is None else _Owner(owner.namespace, owner.pod, owner.uid, owner.container),
        beside=record.beside,
    )
