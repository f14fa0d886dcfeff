"""Scenario: a story as data: steps of one plain sentence, each with the actions behind it. Read by `shelf`.

Workloads are named by the story. Profiles are those of an A100-40GB and are translated to the demo's GPUs. Numbers of
pods are for the whole cluster, or per GPU of it, so that a story can be told on any.
"""

from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from simulator.scenarios.workload_state import WorkloadState

_Name = Annotated[str, Meta(pattern="^[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?$")]
_Sentence = Annotated[str, Meta(min_length=1, max_length=300)]
_Count = Annotated[int, Meta(ge=0, le=1_000)]


class _Action(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="do"):
    """One thing that is done to the cluster."""


class Run(_Action, frozen=True, tag="run"):
    """Pods of a new workload that ask for one slice each: `pods` of them, `per_gpu` on the average, or as many as
    `fill` all GPUs. A `gang` starts together or not at all.
    """

    workload: _Name
    profile: str
    pods: _Count = 0
    per_gpu: _Count = 0
    fill: bool = False
    priority: int = 0
    gang: bool = False


class Scale(_Action, frozen=True, tag="scale"):
    """A workload has so many pods from now on, or so many `fewer`; the last by name go."""

    workload: _Name
    pods: _Count = 0
    fewer: _Count = 0


class Thin(_Action, frozen=True, tag="thin"):
    """Of a workload's pods only so many stay on each GPU, those at its beginning."""

    workload: _Name
    keep_per_gpu: _Count


class ProposeMoves(_Action, frozen=True, tag="propose"):
    """A Repack for the waiting pod of a workload, as the page's Fix makes it; none where there is one already."""

    workload: _Name
    moves: Annotated[int, Meta(ge=1, le=20)] = 4


class ApproveMoves(_Action, frozen=True, tag="approve"):
    """The Repack for a workload's pod may be carried out."""

    workload: _Name


class BreakGpu(_Action, frozen=True, tag="fault"):
    """The driver of the GPU on which a workload's first pod runs reports an XID."""

    workload: _Name
    xid: Annotated[int, Meta(ge=1, le=999)]


class LeaveIllGpus(_Action, frozen=True, tag="leave-ill-gpus"):
    """The pods on GPUs that had a fault are deleted; their controllers make them anew."""


class ResetIllGpus(_Action, frozen=True, tag="reset-ill-gpus"):
    """The GPUs that had a fault are reset, as by nvidia-smi --gpu-reset."""


class DrainNode(_Action, frozen=True, tag="drain"):
    """The node on which a workload's first pod runs is cordoned and emptied, as by `migsched drain`."""

    workload: _Name


class ReopenNodes(_Action, frozen=True, tag="reopen"):
    """Cordoned nodes take pods again."""


Action: TypeAlias = (
    Run | Scale | Thin | ProposeMoves | ApproveMoves | BreakGpu | LeaveIllGpus | ResetIllGpus | DrainNode | ReopenNodes
)


class ScenarioStep(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A sentence, what is done, and what then becomes of workloads: the step is over when it has."""

    text: _Sentence
    actions: tuple[Action, ...] = ()
    until: dict[_Name, WorkloadState] = {}


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A story. `name` is that of its file; `order` its place in the menu. It needs so many GPUs and nodes at least."""

    title: _Sentence
    text: _Sentence
    order: int
    steps: Annotated[tuple[ScenarioStep, ...], Meta(min_length=1, max_length=20)]
    name: str = ""
    least_gpus: int = 1
    least_nodes: int = 1

    @property
    def profiles(self) -> frozenset[str]:
        """The profiles that it asks for."""
        return frozenset(action.profile for action in self._actions() if isinstance(action, Run))

    @property
    def needs_drivers(self) -> bool:
        """Whether it makes GPUs ill, which only those of real agents can be."""
        return any(isinstance(action, BreakGpu) for action in self._actions())

    def _actions(self) -> tuple[Action, ...]:
        return tuple(action for step in self.steps for action in step.actions)
