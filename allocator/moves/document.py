"""RepackSpec and RepackStatus: what a Repack object says, as types with their bounds. deploy/crd/repacks.yaml has the
same bounds for the API server.
"""

import enum
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from allocator import errors
from allocator.moves.budgets import MoveBudgets, TimeWindow
from allocator.moves.life import RepackPhase
from allocator.moves.step import MoveStep

MAX_REQUESTS = 64
MAX_NODES = 64
MAX_SPEC_BYTES = 64 * 1024
MAX_STATUS_BYTES = 512 * 1024
MAX_PLACES = 64
MAX_NOTES = 10
_Text = Annotated[str, Meta(min_length=1, max_length=253)]


class RepackMode(enum.StrEnum):
    """How far a Repack goes by itself."""

    DRY_RUN = "DryRun"  # it is planned
    APPROVE = "Approve"  # it is planned, and carried out once somebody approves
    AUTO = "Auto"  # it is planned and carried out


class _Part(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A part of the spec: an unknown key is an error, not a guess."""


class WantedRequest(_Part, frozen=True, rename="camel"):
    """Pods that shall fit: `count` copies with these slices on one node each; `spec` is what they ask of a node."""

    profiles: Annotated[dict[_Text, Annotated[int, Meta(ge=0, le=64)]], Meta(max_length=16)]
    name: Annotated[str, Meta(max_length=253)] = ""
    count: Annotated[int, Meta(ge=1, le=MAX_REQUESTS)] = 1
    spec: dict[str, Any] | None = None


class WantedPod(_Part, frozen=True, rename="camel"):
    """The waiting pod that the room is for. It gets it, if it still waits."""

    namespace: _Text
    name: _Text
    uid: _Text


class WantedEmpty(_Part, frozen=True, rename="camel"):
    """GPUs that shall be empty beside those empty now, and nodes whose GPUs all shall be."""

    gpus: Annotated[int, Meta(ge=0, le=4_096)] = 0
    nodes: Annotated[tuple[_Text, ...], Meta(max_length=MAX_NODES)] = ()


class Wanted(_Part, frozen=True, rename="camel"):
    """What shall be so in the end. `stranded_share` is the part of the free memory slices that may be stranded."""

    requests: Annotated[tuple[WantedRequest, ...], Meta(max_length=MAX_REQUESTS)] = ()
    pod: WantedPod | None = None
    empty: WantedEmpty = WantedEmpty()
    stranded_share: Annotated[float, Meta(ge=0, le=1)] | None = None

    @property
    def nothing(self) -> bool:
        """Whether nothing is wanted."""
        return not (self.has_room_or_empty or self.stranded_share is not None)

    @property
    def has_room_or_empty(self) -> bool:
        """Whether room for pods, or something empty, is wanted."""
        return bool(self.requests or self.empty.gpus or self.empty.nodes)


class RepackSpec(_Part, frozen=True, rename="camel"):
    """A wish, what may be spent on it, and how far it goes by itself.

    `priority` is the highest priority of pods that are moved. `patience_seconds` is how long a replacement may take.
    """

    wanted: Wanted
    budgets: MoveBudgets = MoveBudgets()
    mode: RepackMode = RepackMode.DRY_RUN
    approved: bool = False
    paused: bool = False
    window: TimeWindow | None = None
    not_before: datetime | None = None
    priority: Annotated[int, Meta(ge=-(2**31), le=2**31)] = 0
    patience_seconds: Annotated[int, Meta(ge=1, le=86_400)] = 300

    @property
    def may_move(self) -> bool:
        """Whether its plan may be carried out."""
        return self.mode is RepackMode.AUTO or (self.mode is RepackMode.APPROVE and self.approved)

    def may_disturb(self, now: datetime) -> bool:
        """Whether pods may be evicted at a moment (UTC)."""
        due = self.not_before is None or now >= self.not_before
        return due and not self.paused and (self.window is None or self.window.is_open(now))


class WantedPlace(msgspec.Struct, frozen=True, rename="camel"):
    """A slice of the room that is made: GPU, profile and start, and the node of the GPU."""

    request: str
    node: str
    container: str
    gpu: str
    profile: str
    start: int


class PlanProof(msgspec.Struct, frozen=True, rename="camel"):
    """What the plan costs (restarts and compute slices moved) and what is known of its worth: no plan costs less than
    `lower_bound`; `optimal` if this one costs no more.
    """

    moves: int
    cost: int
    lower_bound: float
    optimal: bool
    memory_mib: int
    stranded_before: int = 0
    stranded_after: int = 0


class RepackStatus(msgspec.Struct, frozen=True, rename="camel"):
    """Where a Repack is. `plans` counts them; `places` are the room that is made; `needed` is whether moves remain.

    `summary` is for people: confirmed moves of all.
    """

    phase: RepackPhase = RepackPhase.PENDING
    message: str = ""
    plans: int = 0
    since: datetime | None = None
    proof: PlanProof | None = None
    places: tuple[WantedPlace, ...] = ()
    emptied: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    steps: tuple[MoveStep, ...] = ()
    summary: str = ""


def read_spec(text: bytes | msgspec.Raw) -> RepackSpec:
    """A Repack's spec. Raises InputError naming the field."""
    raw = bytes(text)
    if len(raw) > MAX_SPEC_BYTES:
        raise errors.InputError("spec", f"{len(raw)} bytes", f"is too large: at most {MAX_SPEC_BYTES}")
    try:
        spec = msgspec.json.decode(raw, type=RepackSpec)
    except (msgspec.MsgspecError, UnicodeError, ValueError, RecursionError) as error:
        raise errors.InputError("spec", raw[:60].decode(errors="replace"), str(error)) from error
    if spec.wanted.nothing:
        fix = "nothing is wanted; write requests, empty or strandedShare"
        raise errors.InputError("spec.wanted", "", fix)
    if spec.wanted.stranded_share is not None and spec.wanted.has_room_or_empty:
        fix = "goes alone; make another Repack for requests or empty"
        raise errors.InputError("spec.wanted.strandedShare", spec.wanted.stranded_share, fix)
    if spec.not_before is not None and spec.not_before.tzinfo is None:
        raise errors.InputError("spec.notBefore", spec.not_before.isoformat(), "needs a time zone, such as Z")
    if spec.wanted.pod is not None and sum(request.count for request in spec.wanted.requests) != 1:
        raise errors.InputError("spec.wanted.pod", spec.wanted.pod.name, "goes with one request of one copy")
    return spec


def read_status(text: bytes | msgspec.Raw) -> RepackStatus:
    """A Repack's status; a new one where it has none. Raises InputError where it cannot be read."""
    raw = bytes(text)
    if raw in (b"", b"null", b"{}"):
        return RepackStatus()
    if len(raw) > 2 * MAX_STATUS_BYTES:
        raise errors.InputError("status", f"{len(raw)} bytes", "is too large")
    try:
        return msgspec.json.decode(raw, type=RepackStatus)
    except (msgspec.MsgspecError, UnicodeError, ValueError, RecursionError) as error:
        raise errors.InputError("status", raw[:60].decode(errors="replace"), str(error)) from error


def summary(steps: tuple[MoveStep, ...]) -> str:
    """How far the moves are, for people."""
    done = sum(step.state == "confirmed" for step in steps)
    return f"{done}/{sum(step.state != 'abandoned' for step in steps)}" if steps else ""
