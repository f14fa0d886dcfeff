"""The pods that wait for a node, the oldest first, grouped by reason; bounded in number and time. Called by the API."""

import time
from collections.abc import Callable, Iterable
from typing import Any

from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.known_pod import KnownPod
from scheduler.cooperative import paced
from scheduler.explain.explanation import SharedCounts

WITHIN_S = 5.0  # of making explanations; pods that ask the same take no more time than one
_FIELDS = (
    "namespace",
    "pod",
    "uid",
    "request",
    "code",
    "reason",
    "since",
    "queue_position",
    "priority",
    "service",
    "scheduler",
    "gates",
)


async def pending(
    state: ClusterCache,
    *,
    namespace: str = "",
    service: str = "",
    limit: int,
    within_s: float = WITHIN_S,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """The pending pods of a namespace and a service, such as `Deployment/chat`; of all where these are empty.

    At most `limit` are explained, and none after `within_s`; `left_out` is the number of the others, all younger, and
    `cut_by` says what cut them. `placed` counts the pods that have a node.
    """
    selected = [pod async for pod in paced(tuple(state.pods.values())) if _is_meant(pod, namespace, service)]
    waiting = sorted(_without_node(state, selected), key=lambda pod: (pod.scheduling.created, pod.namespace, pod.name))
    ends, cut_by = clock() + within_s, "limit" if len(waiting) > limit else ""
    shared, shown = SharedCounts(state), []
    async for pod in paced(waiting[:limit]):
        if clock() >= ends:
            cut_by = "time"
            break
        explanation = await shared.explain(pod)
        shown.append({name: explanation[name] for name in _FIELDS})
    return {
        "pending": len(waiting),
        "placed": len(selected) - len(waiting),
        "left_out": len(waiting) - len(shown),
        "cut_by": cut_by,
        "groups": _grouped(shown),
        "pods": shown,
    }


def _is_meant(pod: KnownPod, namespace: str, service: str) -> bool:
    return namespace in ("", pod.namespace) and service.casefold() in ("", pod.service.casefold())


def _without_node(state: ClusterCache, pods: Iterable[KnownPod]) -> list[KnownPod]:
    return [pod for pod in pods if not pod.node and state.inventory.ledger.get(pod.uid) is None]


def _grouped(shown: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The explained pods by code and reason, the group with the oldest pod first."""
    groups: dict[tuple[str, str], dict[str, Any]] = {}
    for pod in shown:
        group = {"code": pod["code"], "reason": pod["reason"], "pods": 0, "oldest": pod["since"]}
        groups.setdefault((pod["code"], pod["reason"]), group)["pods"] += 1
    return list(groups.values())
