"""What the planner's routes answer, for the OpenAPI document; docs/planning.md explains every field.

The answers themselves come from the allocator, as the commands print them. Tests hold the two together.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _Answer(BaseModel):
    """A closed object: an answer has these fields and no others."""

    model_config = ConfigDict(extra="forbid")


class CutModel(_Answer):
    """A slice of a plan; `pinned` if it is there already."""

    profile: str
    start: int
    pinned: bool = False


class LayoutModel(_Answer):
    """GPUs that are cut alike, slices in an order of creation."""

    model: str
    count: int
    slices: list[CutModel]


class HeadroomModel(_Answer):
    """How many more of a profile fit, and how many it could be at most."""

    slices: int
    optimal: bool
    at_most: int


class PlanModel(_Answer):
    """How many GPUs, how each is cut, and the proof. `feasible` is null where the time limit came first."""

    feasible: bool | None
    reason: str = Field("", description="why there is no plan")
    needed: dict[str, int] = Field(default_factory=dict, description="GPUs that would do, if the stock does not")
    gpus: dict[str, int] = Field(description="all GPUs of the plan by model")
    new_gpus: dict[str, int] = Field(description="those that are not pinned")
    cost: float | None
    goal: Literal["gpus", "cost"]
    lower_bound: float = Field(description="nothing can be below it, in the unit of the goal")
    optimal: bool
    gap: float | None
    layouts: list[LayoutModel]
    services: dict[str, dict[str, int]]
    needs_mib: dict[str, int]
    headroom: dict[str, HeadroomModel]
    stranded_memory_slices: int
    mig_parted: str = Field(description="a configuration file for NVIDIA's MIG manager")


class PlaceModel(_Answer):
    """Where a slice lies, or shall."""

    gpu: str
    profile: str
    start: int


class PlacedModel(_Answer):
    """Where a pod goes that was asked about."""

    request: str
    node: str
    slices: list[PlaceModel]


class RoomModel(_Answer):
    """How many more of a profile fit."""

    now: int
    after_repack: int
    proven: bool
    with_added: int | None = None
    with_added_after_repack: int | None = None


class SwapModel(_Answer):
    """So many slices asked for in another profile."""

    from_: str = Field(alias="from")
    to: str
    count: int


class ChangeModel(_Answer):
    """A change that makes the requests fit."""

    kind: Literal["moves", "profile", "gpus"]
    optimal: bool
    moves: int | None = None
    gpc: int | None = None
    pods: list[str] | None = None
    slices: int | None = None
    swaps: list[SwapModel] | None = None
    model: str | None = None
    gpus: int | None = None
    nodes: int | None = None


class TogetherModel(_Answer):
    """Whether the requests fit together; `fit` is null where that was not decided in time."""

    fit: bool | None
    placements: list[PlacedModel]
    change: ChangeModel | None
    changes: list[ChangeModel]


class CapacityModel(_Answer):
    """What fits now, after a repack, with more nodes, and together."""

    gpus: dict[str, int]
    free_memory_slices: int
    profiles: dict[str, RoomModel]
    requests: TogetherModel | None = None
    notes: list[str] = Field(default_factory=list)


class ShiftModel(_Answer):
    """A slice of a restarted pod: where it was and where it goes."""

    container: str
    from_: PlaceModel = Field(alias="from")
    to: PlaceModel


class MoveModel(_Answer):
    """One restart."""

    step: int
    pod: str
    uid: str
    service: str
    from_node: str
    to_node: str
    slices: list[ShiftModel]
    gpc: int
    cost: int


class CostModel(_Answer):
    """What the restarts cost."""

    total: int
    moves: int
    gpc: int
    pods: int


class FiguresModel(_Answer):
    """What a state of the fleet is worth."""

    gpus_in_use: int
    gpus_empty: int
    cost: float
    fragmentation: float
    free_memory_slices: int
    stranded_memory_slices: int


class RepackModel(_Answer):
    """The cheapest ordered restarts. `possible` is null where none was found and none is proven impossible."""

    possible: bool | None
    reason: str
    moves: list[MoveModel]
    placements: list[PlacedModel]
    emptied: list[str]
    cost: CostModel
    lower_bound: float
    optimal: bool
    gap: float | None
    before: FiguresModel
    after: FiguresModel | None
    notes: list[str] = Field(default_factory=list)


class IntervalModel(_Answer):
    """A mean over the runs, and half the width of its 95 % interval."""

    mean: float | None
    ci95: float | None


class OfferedModel(_Answer):
    """Jobs of one profile."""

    offered: int
    accepted: int


class WorkloadModel(_Answer):
    """What was replayed."""

    mix: str | dict[str, float]
    load: float


class SimulationModel(_Answer):
    """How a policy did."""

    policy: str
    moves: int
    model: str
    gpus: int
    discipline: Literal["reject", "queue"]
    workload: WorkloadModel
    seeds: list[int]
    metrics: dict[str, IntervalModel]
    per_profile: dict[str, OfferedModel]
    stranded_over_time: list[tuple[float, float]] = Field(description="seconds, share of memory slices")
