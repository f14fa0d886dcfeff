"""Overview: the document that the web page shows, as types. web/src/overview.d.ts is generated from them.

Times are RFC 3339 in UTC, shares are parts of 1, sizes MiB or memory slices of a GPU. What is not known is null, and
never 0: a list that is null was not looked at, an empty one was and holds nothing.
"""

import enum
from collections.abc import Mapping

import msgspec

MOST_WAITING = 500  # pods that are shown; `waiting_total` counts all
MOST_LOG = 500
MOST_HEALTH = 500
MOST_USAGE = 200  # namespaces with the most


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """Base of the parts: every field is always there, so that a page need not guess."""


class OverviewMode(enum.StrEnum):
    """Who places pods: migsched's queue, or kube-scheduler that asks the extender."""

    QUEUE = "queue"
    EXTENDER = "extender"


class OverviewMay(_Part, frozen=True):
    """What the page may offer this caller: planning forms, making and approving Repacks, a demo's scenarios."""

    plan: bool = False
    move: bool = False
    demo: bool = False


class OverviewProfile(_Part, frozen=True):
    """How many more slices of a profile could start now, each profile asked for alone.

    `with_moves` is that number if all that may be moved were placed again, null where it was not looked at; `limit`
    says why it was not, or what is not proven of it.
    """

    name: str
    resource: str
    memory_slices: int
    memory_mib: int | None
    could_start: int
    with_moves: int | None = None
    limit: str | None = None


class OverviewRemedy(_Part, frozen=True):
    """The cheapest remedy for a pod that waits. `kind` is that of GET /api/v1/remedy; `moves` are pods to restart."""

    kind: str
    text: str
    moves: list[str] = []


class OverviewWaiting(_Part, frozen=True):
    """A pod that waits for a node. `position` counts the pods before it in the queue, null where it has no turn there.

    `remedy` is null where `remedy_known` is false: not looked for yet; where it is true: nothing was found.
    """

    pod: str
    uid: str
    requests: Mapping[str, int]
    priority: int
    since: str | None
    position: int | None
    code: str
    message: str
    gang: str | None = None
    remedy: OverviewRemedy | None = None
    remedy_known: bool = False


class OverviewSliceState(enum.StrEnum):
    """What a place on a GPU is."""

    IDLE = "idle"  # cut and free
    ALLOCATED = "allocated"  # a pod's, cut
    FOREIGN = "foreign"  # another program's
    PROMISED = "promised"  # a pod's, not cut yet
    KEPT = "kept"  # held for a pod that is to come
    ILL = "ill"  # to be destroyed, or in use and broken


class OverviewSlice(_Part, frozen=True):
    """A slice, or a promise of one: `start` and `size` are in memory slices.

    `since` is when the service saw it first, null where it was there before. `unused_since` is when nothing was
    seen to run on it for the first time, null where something is or nobody can tell. `movable` is null for what is no
    pod's. `owner` is what makes the pod anew, such as `Deployment/chat`; empty where nothing does, null where that is
    not known.
    """

    profile: str
    start: int
    size: int
    state: OverviewSliceState
    namespace: str | None = None
    pod: str | None = None
    container: str | None = None
    since: str | None = None
    unused_since: str | None = None
    movable: bool | None = None
    owner: str | None = None


class OverviewGpuState(enum.StrEnum):
    """Whether a GPU takes new slices."""

    OK = "ok"
    ILL = "ill"
    OUT_OF_SERVICE = "out_of_service"
    UNKNOWN = "unknown"


class OverviewGpu(_Part, frozen=True):
    """A GPU. `memory_slices` is null where its catalogue is not known, `stranded` are free slots that no profile in
    demand can use; null where none is in demand.
    """

    uuid: str
    index: int
    model: str
    memory_slices: int | None
    mig: bool
    state: OverviewGpuState
    message: str
    stranded: list[int] | None
    slices: list[OverviewSlice]


class OverviewNode(_Part, frozen=True):
    """A node with GPUs. `ready` is whether it takes new pods, null where that is not known; `message` says why not."""

    name: str
    ready: bool | None
    message: str
    gpus: list[OverviewGpu]


class OverviewTotals(_Part, frozen=True):
    """Of all usable GPUs, in memory slices. `stranded` is null while no profile is in demand, shares where of nothing.

    `utilisation` is used of all, `stranded_share` stranded of free.
    """

    gpus: int
    memory_slices: int
    used: int
    free: int
    stranded: int | None
    stranded_share: float | None
    utilisation: float | None


class OverviewStep(_Part, frozen=True):
    """One move of a Repack. `from` and `to` are `node GPU-uuid profile@start`, several slices by commas."""

    pod: str
    from_: str = msgspec.field(name="from")
    to: str
    state: str
    since: str | None
    reason: str = ""


class OverviewMove(_Part, frozen=True):
    """A Repack. `wanted` says in words what for, `price` and `proof` what its plan costs; null before it is planned."""

    name: str
    mode: str
    phase: str
    message: str
    approved: bool
    wanted: str
    pod: str | None
    steps: list[OverviewStep]
    price: str | None
    proof: str | None
    created: str | None = None


class OverviewUsage(_Part, frozen=True):
    """What a namespace has held since the service counts: slices × hours, and their memory in MiB × hours.

    `mib_hours` is null where the memory of one of its profiles is not known.
    """

    namespace: str
    slice_hours: float
    mib_hours: float | None
    since: str


class OverviewHealth(_Part, frozen=True):
    """Something that is wrong: of a node, or of one of its GPUs. `what` is a word, `message` a sentence."""

    node: str
    gpu: str | None
    what: str
    message: str
    since: str | None


class OverviewEventKind(enum.StrEnum):
    """What the log tells of."""

    CUT = "cut"
    FREED = "freed"
    PLACED = "placed"
    ENDED = "ended"
    MOVE = "move"
    FAILURE = "failure"
    RECOVERED = "recovered"


class OverviewEvent(_Part, frozen=True):
    """One line of the log; the youngest is the last."""

    time: str
    kind: OverviewEventKind
    text: str
    node: str | None = None
    pod: str | None = None


HistoryPoint = tuple[str, float | None, float | None, int]  # time, stranded share, utilisation, waiting pods


class Overview(_Part, frozen=True):
    """The whole document. `revision` grows with every change; it begins anew with the service."""

    revision: int
    time: str
    version: str
    mode: OverviewMode
    may: OverviewMay
    profiles: list[OverviewProfile]
    waiting: list[OverviewWaiting]
    waiting_total: int
    totals: OverviewTotals
    history: list[HistoryPoint]
    moves: list[OverviewMove] | None
    usage: list[OverviewUsage]
    health: list[OverviewHealth]
    log: list[OverviewEvent]
    nodes: list[OverviewNode]


class OverviewSections(_Part, frozen=True, omit_defaults=True):
    """The sections that changed, each whole."""

    mode: OverviewMode | msgspec.UnsetType = msgspec.UNSET
    profiles: list[OverviewProfile] | msgspec.UnsetType = msgspec.UNSET
    waiting: list[OverviewWaiting] | msgspec.UnsetType = msgspec.UNSET
    waiting_total: int | msgspec.UnsetType = msgspec.UNSET
    totals: OverviewTotals | msgspec.UnsetType = msgspec.UNSET
    history: list[HistoryPoint] | msgspec.UnsetType = msgspec.UNSET
    moves: list[OverviewMove] | msgspec.UnsetType | None = msgspec.UNSET
    usage: list[OverviewUsage] | msgspec.UnsetType = msgspec.UNSET
    health: list[OverviewHealth] | msgspec.UnsetType = msgspec.UNSET
    log: list[OverviewEvent] | msgspec.UnsetType = msgspec.UNSET


class OverviewChanges(_Part, frozen=True):
    """What is other than at the revision before: sections and nodes whole, and the names of nodes that are gone."""

    revision: int
    time: str
    sections: OverviewSections
    nodes: list[OverviewNode]
    gone: list[str]


class RecordingInfo(_Part, frozen=True):
    """A recording: from when to when it is, and the time of every frame."""

    from_: str = msgspec.field(name="from")
    to: str
    frames: int
    times: list[str]


class PageRecording(_Part, frozen=True):
    """A recording inside a page: the document at its begin, and what changed since."""

    first: Overview
    changes: list[OverviewChanges]
