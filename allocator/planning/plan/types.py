"""PlanDocument and PlanAnswer: what a plan is asked for and what comes back, as types.

    fleet:    [{model: a100-40gb, count: 40 | unlimited, price: 2.5, gpus_per_node: 8}]
    demand:   {3g.20gb: 12}
    services: [{name: chat, rate: 900, options: [{profile: 3g.20gb, throughput: 120}]}]
    models:   [{name: llama-3.1-8b, precision: fp8, context: 32k, replicas: 6}]
    pinned:   [{model: a100-40gb, count: 2, slices: [{profile: 3g.20gb, start: 4, idle: false}]}]
    goal:     gpus | cost
    headroom: [1g.5gb]

The reader, the JSON Schema and the OpenAPI document come from here; docs/planning.md explains every field. Used by
`plan` and by the API.
"""

import enum
from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from allocator.planning import document_reader as reader
from allocator.planning.fields import (
    GPUS_PER_NODE,
    MAX_ENTRIES,
    MAX_MODELS,
    AnswerPart,
    Count,
    DocumentPart,
    GpusPerNode,
    Key,
    PositiveCount,
    PositiveNumber,
    Price,
    Profiles,
    Text,
)
from allocator.planning.plan.language_models import KvPrecision, WeightPrecision

MAX_TOKENS = 1 << 30

_Dimension = Annotated[int, Meta(ge=1, le=100_000)]
_TOKENS_FIX = f"write a whole number of 1…{MAX_TOKENS}, or one with k or m behind it, such as 32k"
_Tokens = Annotated[
    Annotated[int, Meta(ge=1, le=MAX_TOKENS)]
    | Annotated[str, Meta(min_length=1, max_length=253, pattern=r"^\s*[1-9][0-9]{0,8}[kKmM]?\s*$")],
    Meta(extra={reader.FIX: _TOKENS_FIX}),
]
_SHARE_FIX = "write a share of the slice's memory, above 0 and at most 1"


class PlanGoal(enum.Enum):
    """What a plan has as little of as possible."""

    GPUS = "gpus"
    COST = "cost"


class FleetModel(DocumentPart, frozen=True):
    """GPUs of one model: how many there may be, what one costs, and how many a node has."""

    model: Text
    count: Count | Literal["unlimited"] = "unlimited"
    price: Price | None = None
    gpus_per_node: GpusPerNode = GPUS_PER_NODE


class ServiceOption(DocumentPart, frozen=True):
    """One way to serve: a profile, on any GPU model or on one, and what an instance adds to the rate."""

    profile: Text
    throughput: PositiveNumber
    model: Text | None = None


class ServiceDemand(DocumentPart, frozen=True):
    """A rate to reach with any mix of options."""

    name: Text
    rate: PositiveNumber
    options: Annotated[
        tuple[ServiceOption, ...],
        Meta(min_length=1, max_length=64, extra={reader.EMPTY_FIX: "write at least one profile"}),
    ]


class LanguageModel(DocumentPart, frozen=True):
    """A language model to serve: a known one by name, or with its four numbers."""

    name: Text
    precision: WeightPrecision
    context: _Tokens
    replicas: PositiveCount
    label: Text | UnsetType = UNSET
    kv_precision: KvPrecision = KvPrecision.BF16
    utilisation: Annotated[float, Meta(gt=0, le=1, extra={reader.FIX: _SHARE_FIX})] | None = None
    parameters_b: PositiveNumber | UnsetType = UNSET
    layers: _Dimension | UnsetType = UNSET
    kv_heads: _Dimension | UnsetType = UNSET
    head_dim: _Dimension | UnsetType = UNSET


class PinnedSlice(DocumentPart, frozen=True):
    """A slice that is cut already; an idle one may serve the demand."""

    profile: Text
    start: Annotated[int, Meta(ge=0, le=64)]
    idle: bool = False


class PinnedGpus(DocumentPart, frozen=True):
    """GPUs that are cut already, all alike."""

    model: Text
    slices: Annotated[tuple[PinnedSlice, ...], Meta(max_length=64)]
    count: Count = 1


class PlanDocument(DocumentPart, frozen=True):
    """What `migsched plan` is asked."""

    fleet: Annotated[
        tuple[FleetModel, ...],
        Meta(min_length=1, max_length=MAX_MODELS, extra={reader.EMPTY_FIX: "name at least one GPU model"}),
    ]
    demand: dict[Key, Count] | UnsetType = UNSET
    services: Annotated[tuple[ServiceDemand, ...], Meta(max_length=MAX_ENTRIES)] | UnsetType = UNSET
    models: Annotated[tuple[LanguageModel, ...], Meta(max_length=MAX_ENTRIES)] | UnsetType = UNSET
    pinned: Annotated[tuple[PinnedGpus, ...], Meta(max_length=MAX_ENTRIES)] = ()
    goal: PlanGoal = PlanGoal.GPUS
    headroom: Profiles | Text = ()


class PlanSlice(AnswerPart, omit_defaults=True, frozen=True):
    """A slice of a plan; `pinned` if it is cut already."""

    profile: str
    start: int
    pinned: bool = False


class PlanLayout(AnswerPart, frozen=True):
    """GPUs that are cut alike, slices in an order of creation."""

    model: str
    count: int
    slices: list[PlanSlice]


class Headroom(AnswerPart, frozen=True):
    """How many more of a profile fit, and how many it could be at most."""

    slices: int
    optimal: bool
    at_most: int


class PlanAnswer(AnswerPart, kw_only=True, frozen=True):
    """How many GPUs, how each is cut, and the proof. `feasible` is null where the time limit came first."""

    feasible: bool | None
    reason: Annotated[str, Meta(description="why there is no plan")] | UnsetType = UNSET
    needed: Annotated[dict[str, int], Meta(description="GPUs that would do, if the stock does not")] | UnsetType = UNSET
    gpus: Annotated[dict[str, int], Meta(description="all GPUs of the plan by model")]
    new_gpus: Annotated[dict[str, int], Meta(description="those that are not pinned")]
    cost: float | None
    goal: PlanGoal
    lower_bound: Annotated[float, Meta(description="nothing can be below it, in the unit of the goal")]
    optimal: bool
    gap: float | None
    layouts: list[PlanLayout]
    services: dict[str, dict[str, int]]
    needs_mib: dict[str, int]
    headroom: dict[str, Headroom]
    stranded_memory_slices: int
    mig_parted: Annotated[str, Meta(description="a configuration file for NVIDIA's MIG manager")]
    notes: Annotated[list[str], Meta(description="what of a cluster is left out")] | UnsetType = UNSET
