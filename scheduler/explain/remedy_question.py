"""RemedyQuestion: what the planner has to know of one waiting pod to find a remedy. Asked by the API and the page.

The nodes that may not run it are left out, and the pods that are known to end are named.
"""

from allocator.planning.remedy.types import EndingPod, RemedyDocument
from allocator.request import Request
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.known_pod import KnownPod
from scheduler.cooperative import paced
from scheduler.explain import eligible, standing
from scheduler.explain.codes import ExplanationCode

MAX_ENDING = 10_000  # pods that end, the first
_FOR_ROOM = frozenset({ExplanationCode.NOMINATED, ExplanationCode.QUEUED})  # what a pod may wait for beside


def why_none(state: ClusterCache, pod: KnownPod) -> str:
    """Why a pod does not wait for room, in words; empty if it does."""
    stands = standing.of(state, pod)
    if not pod.request or (stands is not None and stands.code not in _FOR_ROOM):
        return stands.reason if stands is not None else "it asks for no slices"
    return ""


async def document(state: ClusterCache, pod: KnownPod, request: Request, moves: int) -> RemedyDocument:
    """The planner's document for a pod that asks this, in small steps."""
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
