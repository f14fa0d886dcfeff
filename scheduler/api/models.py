"""What the routes about the cluster answer, for the OpenAPI document."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from scheduler.explain.codes import ExplanationCode


class _Answer(BaseModel):
    """A closed object: an answer has these fields and no others."""

    model_config = ConfigDict(extra="forbid")


class SliceModel(_Answer):
    """A slice, or a place promised to one."""

    profile: str = Field(examples=["1g.5gb"])
    start: int = Field(description="first memory slice", examples=[3])
    size: int = Field(description="memory slices", examples=[1])
    state: str = Field(
        description="reserved, bound, ready, releasing, idle, ill, foreign or unclaimed", examples=["ready"]
    )
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
    closed: str = Field(description="why it takes no new pods, or empty")
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
    phase: str = Field(description="bound, pending, invalid or over", examples=["pending"])
    node: str
    reason: str = Field(
        description="plain words", examples=["3 nodes: no free 3g.20gb placement on any GPU (1 full, 2 fragmented)"]
    )
    nodes: dict[str, str] = Field(description="refused nodes and why, for a pending pod; left out of lists")
    slices: list[HeldModel] = Field(description="its placements, for a bound pod")
    code: ExplanationCode = Field(description="the reason as a word that is never renamed", examples=["fragmented"])
    profiles: dict[str, int] = Field(description="slices asked for, by profile", examples=[{"3g.20gb": 1}])
    priority: int
    service: str = Field(description="what owns it, or empty", examples=["Deployment/chat"])
    scheduler: str = Field(description="its schedulerName, while it has no node", examples=["migsched"])
    since: str = Field(description="when it was created, while it has no node", examples=["2026-01-31T12:00:00Z"])
    gates: list[str] = Field(description="its scheduling gates, the first few", examples=[["kueue.x-k8s.io/admission"]])
    gates_left_out: int = Field(description="how many more gates it has")
    queue_position: int | None = Field(description="pods before it in migsched's queue; null if it has no turn there")
    nominated_node: str = Field(description="where kube-scheduler nominated it, or empty")
    kube_scheduler: str = Field(description="what kube-scheduler said last of it, shortened")
    ends: str = Field(description="when its deletion or its deadline ends it, or empty")
    nodes_looked_at: int = Field(description="how many nodes `counts` counts", examples=[3])
    counts: dict[ExplanationCode, int] = Field(description="nodes by code", examples=[{"fragmented": 2, "full": 1}])
    ineligible: dict[str, int] = Field(description="nodes that may not run it, by the rule that says so")
    not_looked_at: list[str] = Field(description="what nobody looked at, on which the answer depends")
    notes: list[str] = Field(description="slices of one container on one GPU; an annotation that is not understood")


class PendingPodModel(_Answer):
    """A pod that waits."""

    namespace: str
    pod: str
    uid: str
    request: str
    code: ExplanationCode
    reason: str
    since: str
    queue_position: int | None = Field(description="pods before it in migsched's queue; null if it has no turn there")
    priority: int
    service: str
    scheduler: str
    gates: list[str]


class PendingGroupModel(_Answer):
    """Pods that wait for the same reason."""

    code: ExplanationCode
    reason: str
    pods: int
    oldest: str = Field(description="when the oldest was created")


class PendingModel(_Answer):
    """The pods that wait for a node."""

    pending: int = Field(description="how many wait")
    placed: int = Field(description="how many of those asked about have a node")
    left_out: int = Field(description="how many of those that wait are not explained; all are younger")
    cut_by: str = Field(description="limit, time or empty: what left them out")
    groups: list[PendingGroupModel]
    pods: list[PendingPodModel] = Field(description="the oldest first")


class HealthModel(_Answer):
    """It is well."""

    status: Annotated[str, Field(examples=["ok"])]
