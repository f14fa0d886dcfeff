"""CapacityDocument and CapacityAnswer: what is asked about capacity and what comes back, as types.

    fleet:    [{model: a100-40gb, nodes: 2, gpus_per_node: 8}]
    profiles: [4g.20gb, 7g.40gb]
    add:      {model: a100-40gb, nodes: 1, gpus_per_node: 4}
    requests: [{name: train, profiles: {4g.20gb: 1}}]
    budgets:  {moves: 10, gpc: 40, pods_per_service: 1}
    priority: 0
    replicas: true
    move:     default/chat-1

The reader, the JSON Schema and the OpenAPI document come from here; docs/planning.md explains every field. Used by
`capacity` and by the API.
"""

import enum
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from allocator.planning import document_reader as reader
from allocator.planning.fields import GPUS_PER_NODE, MAX_MODELS, AnswerPart, DocumentPart, GpusPerNode, Text
from allocator.planning.repack.types import PodPlacement, PodRequests, Priority, RepackBudgets


class FleetNodes(DocumentPart, frozen=True):
    """Nodes that are alike, all empty."""

    model: Text
    nodes: Annotated[int, Meta(ge=0, le=100_000)]
    gpus_per_node: GpusPerNode = GPUS_PER_NODE


class CapacityDocument(DocumentPart, frozen=True):
    """What `migsched capacity` is asked. An empty document asks for everything.

    `move` is a pod that holds slices, as `namespace/name` or UID: what if it were restarted elsewhere?
    """

    fleet: (
        Annotated[
            tuple[FleetNodes, ...],
            Meta(min_length=1, max_length=MAX_MODELS, extra={reader.EMPTY_FIX: "name at least one GPU model"}),
        ]
        | UnsetType
    ) = UNSET
    profiles: Annotated[tuple[Text, ...], Meta(max_length=MAX_MODELS)] | Text | None = None
    add: FleetNodes | None = None
    requests: PodRequests = ()
    budgets: RepackBudgets = RepackBudgets()
    priority: Priority = 0
    replicas: bool = False
    move: Text | None = None


class ProfileRoom(AnswerPart, frozen=True):
    """How many more of a profile fit."""

    now: int
    after_repack: int
    proven: bool
    with_added: int | UnsetType = UNSET
    with_added_after_repack: int | UnsetType = UNSET
    with_added_proven: bool | UnsetType = UNSET


class ProfileSwap(AnswerPart, frozen=True):
    """So many slices asked for in another profile."""

    from_: str = msgspec.field(name="from")
    to: str
    count: int


class MovesChange(AnswerPart, tag="moves", tag_field="kind", frozen=True):
    """Restarts that make the requests fit."""

    moves: int
    gpc: int
    pods: list[str]
    optimal: bool


class ProfileChange(AnswerPart, tag="profile", tag_field="kind", frozen=True):
    """Other profiles that make the requests fit."""

    slices: int
    swaps: list[ProfileSwap]
    optimal: bool


class GpusChange(AnswerPart, tag="gpus", tag_field="kind", frozen=True):
    """GPUs that make the requests fit: so many are enough, fewer than `at_least` are proven too few."""

    model: str
    gpus: int
    at_least: int
    nodes: int
    optimal: bool


Change = MovesChange | ProfileChange | GpusChange


class ChangeVerdict(enum.Enum):
    """Why there is no change of a kind: there is none, none was found in time, or none was looked for."""

    NONE = "none"
    UNDECIDED = "undecided"
    NOT_LOOKED_AT = "not_looked_at"


class NoChange(AnswerPart, frozen=True):
    """A kind of change of which there is none in `changes`, and why."""

    kind: Literal["moves", "profile", "gpus"]
    verdict: ChangeVerdict
    reason: str


class ReplicaRoom(AnswerPart, frozen=True):
    """How many pods like one fit now, if nothing else is placed, and on which nodes. `ineligible`: nodes that take no
    such pod, whatever their GPUs hold, by the kube-scheduler plugin that says so.
    """

    request: str
    profiles: dict[str, int]
    asked: int
    now: int
    proven: bool
    nodes: dict[str, int]
    ineligible: dict[str, int] | UnsetType = UNSET


class RequestsFit(AnswerPart, frozen=True):
    """Whether the requests fit together. `fit` is null where that is open; then `reason` says what was tried."""

    fit: bool | None
    reason: str
    placements: list[PodPlacement]
    change: Change | None
    changes: list[Change]
    no_changes: list[NoChange]


class StartingPods(AnswerPart, frozen=True):
    """Waiting pods that are alike, of which one could start if the pod moved: `place` is where, `moved` where the moved
    pod is then.
    """

    pods: list[str]
    profiles: dict[str, int]
    place: PodPlacement
    moved: PodPlacement


class MovedPod(AnswerPart, frozen=True):
    """What if one pod were restarted elsewhere. `kept` says why it may not be, empty if it may.

    `room` is where else it could go as things stand. `starts` are waiting pods that could start then, each alone. Of
    the other waiting pods it is counted how many fit `already`, fit `not` even then (proven), are `undecided`, were
    `not_looked_at`, and wait for something else than room (`held`).
    """

    pod: str
    uid: str
    node: str
    kept: str
    room: ReplicaRoom
    starts: list[StartingPods]
    already: int
    not_: int = msgspec.field(name="not")
    undecided: int
    not_looked_at: int
    held: int


class ClosedNodes(AnswerPart, frozen=True):
    """GPUs on nodes that take no pods; nothing else in the answer counts them. `reasons`: nodes by why."""

    nodes: int
    gpus: int
    free_memory_slices: int
    reasons: dict[str, int]


class RoomComing(AnswerPart, frozen=True):
    """What pods hold that have been deleted and are not gone yet; not free, but about to be."""

    pods: int
    memory_slices: int


class CapacityAnswer(AnswerPart, frozen=True):
    """What fits now, after a repack, with more nodes, and together."""

    gpus: dict[str, int]
    free_memory_slices: int
    profiles: dict[str, ProfileRoom]
    requests: RequestsFit | UnsetType = UNSET
    replicas: list[ReplicaRoom] | UnsetType = UNSET
    move: MovedPod | UnsetType = UNSET
    closed: ClosedNodes | UnsetType = UNSET
    coming: RoomComing | UnsetType = UNSET
    notes: list[str] | UnsetType = UNSET
