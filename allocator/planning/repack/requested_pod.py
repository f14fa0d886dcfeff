"""RequestedPod: a pod to make room for, and how the packing sees it. Used by `repack` and the capacity answers."""

from collections.abc import Iterable
from dataclasses import dataclass

from allocator.eligibility.amounts import NOTHING
from allocator.eligibility.constraints import PodConstraints
from allocator.planning.packing.relocation import MovableJob
from allocator.planning.repack.problem import RepackProblem


@dataclass(frozen=True, slots=True)
class RequestedPod:
    """A pod to make room for: a name for people, its slices, all on one node, and what else it asks of that node; None
    where the question does not say.
    """

    name: str
    profiles: tuple[str, ...]
    constraints: PodConstraints | None = None


def jobs(fleet: RepackProblem, pods: Iterable[RequestedPod]) -> tuple[MovableJob, ...]:
    """Pods that room is made for, as the packing sees them."""
    made: dict[tuple[tuple[str, ...], PodConstraints | None], MovableJob] = {}
    every = []
    for pod in pods:
        key = pod.profiles, pod.constraints
        if key not in made:
            asked = NOTHING if pod.constraints is None else pod.constraints.requests
            nodes = fleet.numbers(pod.constraints)
            made[key] = MovableJob(pod.profiles, nodes=nodes, one_container=True, asked=asked)
        every.append(made[key])
    return tuple(every)
