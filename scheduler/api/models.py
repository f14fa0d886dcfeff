"""What the routes about the cluster answer, for the OpenAPI document."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class _Answer(BaseModel):
    """A closed object: an answer has these fields and no others."""

    model_config = ConfigDict(extra="forbid")


class SliceModel(_Answer):
    """A slice, or a place promised to one."""

    profile: str = Field(examples=["1g.5gb"])
    start: int = Field(description="first memory slice", examples=[3])
    size: int = Field(description="memory slices", examples=[1])
    state: str = Field(description="reserved, bound, ready, releasing, idle, foreign or unclaimed", examples=["ready"])
    namespace: str
    pod: str
    container: str
    uid: str


class GpuModel(_Answer):
    """One GPU and what is on it."""

    uuid: str
    index: int
    product: str
    model: str = Field(examples=["a100-40gb"])
    memory_slices: int
    mask: int = Field(description="one bit per taken memory slice", examples=[15])
    problem: str = Field(description="why it takes no new slices, or empty")
    slices: list[SliceModel]


class NodeModel(_Answer):
    """One node with a MIG report."""

    name: str
    problem: str
    gpus: list[GpuModel]


class HeldModel(_Answer):
    """Where a bound pod's slice lies."""

    container: str
    gpu: str
    profile: str
    start: int
    size: int


class ExplanationModel(_Answer):
    """Why a pod is where it is, or nowhere."""

    namespace: str
    pod: str
    uid: str
    request: str = Field(examples=["3g.20gb"])
    phase: str = Field(description="bound, pending or invalid", examples=["pending"])
    node: str
    reason: str = Field(description="plain words", examples=["3 nodes: no free 3g.20gb placement on any GPU"])
    nodes: dict[str, str] = Field(description="refused nodes and why, for a pending pod; left out of lists")
    slices: list[HeldModel] = Field(description="its placements, for a bound pod")


class HealthModel(_Answer):
    """It is well."""

    status: Annotated[str, Field(examples=["ok"])]
