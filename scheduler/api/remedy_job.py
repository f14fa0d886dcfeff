"""RemedyJob: what the planner is asked for a remedy for one pod. Called by `explanations`."""

import msgspec
from fastapi import HTTPException

from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.known_pod import KnownPod
from scheduler.explain import remedy_question
from scheduler.planner.port import PlannerJob


async def of(state: ClusterCache, pod: KnownPod, moves: int, time_limit_s: float) -> PlannerJob:
    """The job for a pod that waits. Raises HTTPException (400) for one that does not wait for room."""
    why = remedy_question.why_none(state, pod)
    if why or not pod.request:
        raise HTTPException(400, f"pod: '{pod.namespace}/{pod.name}': it does not wait for room: {why}")
    document = await remedy_question.document(state, pod, pod.request, moves)
    return PlannerJob(msgspec.json.encode(document), time_limit_s=time_limit_s)
