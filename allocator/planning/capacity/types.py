"""CapacityDocument and CapacityAnswer: what is asked about capacity and what comes back, as types.

    fleet:    [{model: a100-40gb, nodes: 2, gpus_per_node: 8}]
    profiles: [4g.20gb, 7g.40gb]
    add:      {model: a100-40gb, nodes: 1, gpus_per_node: 4}
    requests: [{name: train, profiles: {4g.20gb: 1}}]
    budgets:  {moves: 10, gpc: 40, pods_per_service: 1}
    priority: 0

The reader, the JSON Schema and the OpenAPI document come from here; docs/planning.md explains every field. Used by
`capacity` and by the API.
"""

from typing import Annotated

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
    """What `migsched capacity` is asked. An empty document asks for everything."""

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


class ProfileRoom(AnswerPart, frozen=True):
    """How many more of a profile fit."""

    now: int
    after_repack: int
    proven: bool
    with_added: int | UnsetType = UNSET
    with_added_after_repack: int | UnsetType = UNSET


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
    """GPUs that make the requests fit."""

    model: str
    gpus: int
    nodes: int
    optimal: bool


Change = MovesChange | ProfileChange | GpusChange


class RequestsFit(AnswerPart, frozen=True):
    """Whether the requests fit together; `fit` is null where that was not decided in time."""

    fit: bool | None
    placements: list[PodPlacement]
    change: Change | None
    changes: list[Change]


class CapacityAnswer(AnswerPart, frozen=True):
    """What fits now, after a repack, with more nodes, and together."""

    gpus: dict[str, int]
    free_memory_slices: int
    profiles: dict[str, ProfileRoom]
    requests: RequestsFit | UnsetType = UNSET
    notes: list[str] | UnsetType = UNSET
