"""Explanations of a snapshot file's pods, as the API would give them of the cluster. Used by `migsched explain`."""

import asyncio
from typing import Any

import msgspec

from allocator.claims.snapshot_file import Saved
from allocator.planning import remedy
from allocator.planning.remedy.types import RemedyDocument
from cli import api_client
from scheduler import explain
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.known_pod import KnownPod
from scheduler.explain import eligible, lookup, pending, saved_cluster


def of_pod(saved: Saved, name: str, remedy_s: float | None, lacking_room: tuple[str, ...]) -> dict[str, Any]:
    """One pod's explanation, with a remedy where room is lacking. Raises NotThereError if no pod has the name, or
    several have.
    """
    state = saved_cluster.cluster_of(saved)
    matches = lookup.find(state, name) or lookup.find(state, f"default/{name}")
    if len(matches) != 1:
        why = lookup.ambiguous(matches) if matches else f"{name}: the snapshot has no pod with slices of that name"
        raise api_client.NotThereError(why)
    answer: dict[str, Any] = msgspec.to_builtins(explain.explain(state, matches[0]))
    if remedy_s is not None and answer["phase"] == "pending" and answer["code"] in lacking_room:
        document = msgspec.to_builtins(_remedy_document(state, matches[0]))
        answer["remedy"] = msgspec.to_builtins(remedy.answer(document, saved, remedy_s))
    return answer


def of_all(saved: Saved, namespace: str, service: str, limit: int) -> dict[str, Any]:
    """The pods that wait, as `pending_list.ask` gives them."""
    state = saved_cluster.cluster_of(saved)
    answer = asyncio.run(pending.pending(state, namespace=namespace, service=service, limit=limit))
    plain: dict[str, Any] = msgspec.to_builtins(answer)
    return plain


def _remedy_document(state: ClusterCache, pod: KnownPod) -> RemedyDocument:
    judge = eligible.judge_of(state, pod)
    nodes = sorted(state.inventory.nodes)
    return RemedyDocument(
        pod=f"{pod.namespace}/{pod.name}",
        profiles=dict(pod.request.counts) if pod.request else {},
        priority=pod.priority,
        left_out=tuple(name for name in nodes if judge is not None and not judge(name).eligible),
    )
