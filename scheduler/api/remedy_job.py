"""RemedyJob: what the planner is asked for a remedy for one pod. Called by `explanations`."""

import msgspec
from fastapi import HTTPException

from allocator.planning.remedy.types import EndingPod, RemedyDocument
from allocator.request import Request
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.known_pod import KnownPod
from scheduler.cooperative import paced
from scheduler.explain import eligible, standing
from scheduler.explain.codes import ExplanationCode
from scheduler.planner.port import PlannerJob

MAX_ENDING = 10_000  # pods that end, the first
_FOR_ROOM = frozenset({ExplanationCode.NOMINATED, ExplanationCode.QUEUED})  # what a pod may wait for beside


async def of(state: ClusterCache, pod: KnownPod, moves: int, time_limit_s: float) -> PlannerJob:
    """The job for a pod that waits. Raises HTTPException (400) for one that does not wait for room."""
    stands = standing.of(state, pod)
    if not pod.request or (stands is not None and stands.code not in _FOR_ROOM):
        why = stands.reason if stands is not None else "it asks for no slices"
        raise HTTPException(400, f"pod: '{pod.namespace}/{pod.name}': it does not wait for room: {why}")
    document = await _document(state, pod, pod.request, moves)
    return PlannerJob(msgspec.json.encode(document), time_limit_s=time_limit_s)


async def _document(state: ClusterCache, pod: KnownPod, request: Request, moves: int) -> RemedyDocument:
    judge, left_out, ending = eligible.judge_of(state, pod), [], []
    if judge is not None:
        left_out = [name async for name in paced(sorted(state.inventory.nodes)) if not judge(name).eligible]
    async for other in paced(tuple(state.pods.values())):
        if other.node and other.scheduling.ends:
            facts, title = other.scheduling, f"{other.namespace}/{other.name}"
            ending.append(EndingPod(uid=other.uid, pod=title, ends=facts.ends, terminating=facts.terminating))
    ending.sort(key=lambda ends: (ends.ends, ends.pod))
    return RemedyDocument(
        pod=f"{pod.namespace}/{pod.name}",
        profiles=dict(request.counts),
        priority=pod.priority,
        moves=moves,
        left_out=tuple(left_out),
        ending=tuple(ending[:MAX_ENDING]),
    )
