"""RepackDocument and RepackAnswer: what a repack is asked for and what comes back, as types.

    requests: [{name: train, profiles: {3g.20gb: 1}, count: 2}]
    empty:    {gpus: 1, nodes: [gpu-7]}
    stranded_share: 0.1
    budgets:  {moves: 10, gpc: 40, memory_mib: 40000, pods_per_service: 1, pods_per_namespace: 2}
    priority: 0
    prices:   {a100-40gb: 2.5}

The reader, the JSON Schema and the OpenAPI document come from here; docs/planning.md explains every field. Used by
`repack`, by `capacity`, whose documents have requests and budgets too, and by the API.
"""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from allocator.planning.fields import MAX_ENTRIES, AnswerPart, Count, DocumentPart, Key, Price, Text
from allocator.request import MAX_SLICES_PER_POD

MAX_MOVES = 200
MAX_MEMORY_MIB = 10**9
MAX_REQUESTS = 1_000
MAX_SPEC = 64 * 1024  # bytes of a request's spec, as JSON

Priority = Annotated[int, Meta(ge=-(2**31), le=2**31)]


class PodRequest(DocumentPart, frozen=True):
    """Pods to make room for: `count` copies, each with these slices on one node.

    `spec` is their spec as Kubernetes writes it: what it says about nodes counts, its slices do not.
    """

    profiles: dict[Key, Annotated[int, Meta(ge=0, le=MAX_SLICES_PER_POD)]]
    name: Text | UnsetType = UNSET
    count: Annotated[int, Meta(ge=0, le=MAX_REQUESTS)] = 1
    spec: dict[str, Any] | UnsetType = UNSET


PodRequests = Annotated[tuple[PodRequest, ...], Meta(max_length=MAX_REQUESTS)]


class RepackBudgets(DocumentPart, frozen=True):
    """What a repack may spend: restarts, compute slices and GPU memory moved, restarts per owner and per namespace.

    Null is no limit. `spent` are restarts that count already, by `NAMESPACE/OWNER` such as `web/Deployment/chat`. With
    `one_at_a_time` each restart is over before the next one begins, so that a PodDisruptionBudget which allows one
    allows any number.
    """

    moves: Annotated[int, Meta(ge=0, le=MAX_MOVES)] = 10
    gpc: Count | None = None
    memory_mib: Annotated[int, Meta(ge=0, le=MAX_MEMORY_MIB)] | None = None
    pods_per_service: Count | None = None
    pods_per_namespace: Count | None = None
    spent: Annotated[dict[Key, Count], Meta(max_length=MAX_MOVES)] = msgspec.field(default_factory=dict)
    one_at_a_time: bool = False


class RepackEmpty(DocumentPart, frozen=True):
    """What shall be empty: so many more GPUs than now, and all GPUs of some nodes."""

    gpus: Count = 0
    nodes: Annotated[tuple[Text, ...], Meta(max_length=MAX_ENTRIES)] = ()


class RepackDocument(DocumentPart, frozen=True):
    """What `migsched repack` is asked."""

    requests: PodRequests = ()
    empty: RepackEmpty = RepackEmpty()
    stranded_share: Annotated[float, Meta(ge=0, le=1)] | None = None
    budgets: RepackBudgets = RepackBudgets()
    priority: Priority = 0
    prices: dict[Key, Price] = msgspec.field(default_factory=dict)


class SlicePlace(AnswerPart, frozen=True):
    """Where a slice lies, or shall."""

    gpu: str
    profile: str
    start: int


class PodPlacement(AnswerPart, frozen=True):
    """Where a pod goes that was asked about."""

    request: str
    node: str
    slices: list[SlicePlace]


class MovedSlice(AnswerPart, frozen=True):
    """A slice of a restarted pod: where it was and where it goes."""

    container: str
    from_: SlicePlace = msgspec.field(name="from")
    to: SlicePlace


class PodMove(AnswerPart, frozen=True):
    """One restart."""

    step: int
    pod: str
    uid: str
    service: str
    from_node: str
    to_node: str
    slices: list[MovedSlice]
    gpc: int
    cost: int


class RepackCost(AnswerPart, frozen=True):
    """What the restarts cost."""

    total: int
    moves: int
    gpc: int
    pods: int


class FleetFigures(AnswerPart, frozen=True):
    """What a state of the fleet is worth."""

    gpus_in_use: int
    gpus_empty: int
    cost: float
    fragmentation: float
    free_memory_slices: int
    stranded_memory_slices: int


class RepackAnswer(AnswerPart, frozen=True):
    """The cheapest ordered restarts. `possible` is null where none was found and none is proven impossible; the moves
    are then those that lessen the stranded share, where that is asked for.
    """

    possible: bool | None
    reason: str
    moves: list[PodMove]
    placements: list[PodPlacement]
    emptied: list[str]
    cost: RepackCost
    lower_bound: float
    optimal: bool
    gap: float | None
    before: FleetFigures
    after: FleetFigures | None
    notes: list[str] | UnsetType = UNSET
