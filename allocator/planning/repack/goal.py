"""RepackGoal: what a repack must reach and what it may spend, checked against the cluster it is about.

Called by `repack.answer` and, for its requests and limits, by the capacity answers; raises InputError naming field,
value and fix.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from allocator import errors
from allocator.planning import document_reader as reader
from allocator.planning.repack.problem import RepackLimits
from allocator.planning.repack.types import MAX_REQUESTS, PodRequest, RepackBudgets, RepackDocument
from allocator.request import MAX_SLICES_PER_POD


@dataclass(frozen=True, slots=True)
class RequestedPod:
    """A pod to make room for: a name for people, and its slices, all on one node."""

    name: str
    profiles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RepackGoal:
    """Pods to make room for, GPUs to empty beside those empty now, nodes to empty, and the limits."""

    pods: tuple[RequestedPod, ...]
    empty_gpus: int
    empty_nodes: tuple[str, ...]
    limits: RepackLimits
    prices: Mapping[str, Decimal]

    @property
    def nothing(self) -> bool:
        """Whether nothing is asked for."""
        return not (self.pods or self.empty_gpus or self.empty_nodes)


def build(document: RepackDocument, nodes: Collection[str], models: Collection[str]) -> RepackGoal:
    """The goal of a document about a cluster with these nodes and GPU models."""
    return RepackGoal(
        pods=requested_pods(document.requests),
        empty_gpus=document.empty.gpus,
        empty_nodes=tuple(
            reader.one_of(name, f"empty.nodes[{number}]", nodes) for number, name in enumerate(document.empty.nodes)
        ),
        limits=limits(document.budgets, document.priority),
        prices={
            reader.one_of(model, "prices", models): reader.number(price, f"prices.{model}")
            for model, price in document.prices.items()
        },
    )


def requested_pods(requests: Sequence[PodRequest]) -> tuple[RequestedPod, ...]:
    """Pods to make room for, one entry per pod."""
    pods: list[RequestedPod] = []
    for number, request in enumerate(requests):
        counts = reader.profiles(request.profiles, f"requests[{number}].profiles")
        profiles = tuple(profile for profile, count in counts.items() for _ in range(count))
        if not 1 <= len(profiles) <= MAX_SLICES_PER_POD:
            fix = f"ask for 1…{MAX_SLICES_PER_POD} slices in one pod"
            raise errors.InputError(f"requests[{number}].profiles", dict(request.profiles), fix)
        name = request.name or f"request-{number + 1}"
        names = [name] if request.count == 1 else [f"{name}-{copy + 1}" for copy in range(request.count)]
        pods += [RequestedPod(name, profiles) for name in names]
    if len(pods) > MAX_REQUESTS:
        raise errors.InputError("requests", f"{len(pods)} pods", f"ask for at most {MAX_REQUESTS} pods at once")
    return tuple(pods)


def limits(budgets: RepackBudgets, priority: int) -> RepackLimits:
    """What a repack may spend, and on whose behalf."""
    return RepackLimits(budgets.moves, budgets.gpc, budgets.pods_per_service, priority)
