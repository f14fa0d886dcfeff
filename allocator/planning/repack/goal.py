"""RepackGoal: what a repack must reach and what it may spend, checked against the cluster it is about.

Called by `repack.answer` and, for its requests and limits, by the capacity answers; raises InputError naming field,
value and fix.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import msgspec
from msgspec import UNSET

from allocator import errors
from allocator.eligibility import document
from allocator.eligibility.constraints import PodConstraints
from allocator.planning import document_reader as reader
from allocator.planning.repack.problem import RepackLimits
from allocator.planning.repack.requested_pod import RequestedPod
from allocator.planning.repack.types import (
    MAX_REQUESTS,
    MAX_SPEC,
    PodRequest,
    RepackBudgets,
    RepackDocument,
    RepackEmpty,
)
from allocator.request import MAX_SLICES_PER_POD


@dataclass(frozen=True, slots=True)
class RepackGoal:
    """Pods to make room for, GPUs to empty beside those empty now, nodes to empty, or a stranded share; the limits."""

    pods: tuple[RequestedPod, ...]
    empty_gpus: int
    empty_nodes: tuple[str, ...]
    limits: RepackLimits
    prices: Mapping[str, Decimal]
    stranded_share: float | None = None

    @property
    def nothing(self) -> bool:
        """Whether nothing is asked for."""
        return not (self.pods or self.empty_gpus or self.empty_nodes or self.stranded_share is not None)


def build(asked: RepackDocument, nodes: Collection[str], models: Collection[str]) -> RepackGoal:
    """The goal of a document about a cluster with these nodes and GPU models."""
    if asked.stranded_share is not None and (asked.requests or asked.empty != RepackEmpty()):
        fix = "goes alone: make room and empty GPUs by a question of its own"
        raise errors.InputError("stranded_share", asked.stranded_share, fix)
    return RepackGoal(
        pods=requested_pods(asked.requests),
        empty_gpus=asked.empty.gpus,
        empty_nodes=tuple(
            reader.one_of(name, f"empty.nodes[{number}]", nodes) for number, name in enumerate(asked.empty.nodes)
        ),
        limits=limits(asked.budgets, asked.priority),
        prices={
            reader.one_of(model, "prices", models): reader.number(price, f"prices.{model}")
            for model, price in asked.prices.items()
        },
        stranded_share=asked.stranded_share,
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
        constraints = _constraints(request, f"requests[{number}].spec")
        pods += [RequestedPod(copy, profiles, constraints) for copy in names]
    if len(pods) > MAX_REQUESTS:
        raise errors.InputError("requests", f"{len(pods)} pods", f"ask for at most {MAX_REQUESTS} pods at once")
    return tuple(pods)


def _constraints(request: PodRequest, where: str) -> PodConstraints | None:
    """What a request's spec asks of a node beside slices; None without one."""
    if request.spec is UNSET:
        return None
    try:
        size = len(msgspec.json.encode(request.spec))
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
        raise errors.InputError(where, "", f"cannot be read: {error}") from error
    if size > MAX_SPEC:
        fix = f"is too large; leave out what does not say where a pod may run: at most {MAX_SPEC // 1024} KiB"
        raise errors.InputError(where, f"{size} bytes", fix)
    return document.pod_of(request.spec)


def limits(budgets: RepackBudgets, priority: int) -> RepackLimits:
    """What a repack may spend, and on whose behalf."""
    return RepackLimits(
        moves=budgets.moves,
        gpc=budgets.gpc,
        pods_per_service=budgets.pods_per_service,
        priority=priority,
        memory_mib=budgets.memory_mib,
        pods_per_namespace=budgets.pods_per_namespace,
        spent=budgets.spent,
        one_at_a_time=budgets.one_at_a_time,
    )
