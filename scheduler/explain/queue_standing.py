"""Where a pod stands in the queue, in words. Used by `standing`."""

from allocator.queueing.life import QueueState
from allocator.queueing.queued_pod import QueuedPod
from scheduler.cache import queued_pods
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.explain.codes import ExplanationCode

_NAMED = 3  # nodes in one sentence


def of(state: ClusterCache, pod: QueuedPod) -> tuple[ExplanationCode, str]:
    """The code and the sentence for a pod in the queue that has no place."""
    if not state.queueing:
        return ExplanationCode.GATED, (
            "held by the gate of migsched's queue, which is off; set queue: true for the scheduler service, or remove "
            "the gate and name a scheduler that asks migsched"
        )
    if pod.state is QueueState.UNBINDABLE:
        said = f"it was released to kube-scheduler, which refuses it: {pod.refusal or 'its place is taken'}"
        is_pinned = bool(queued_pods.named_nodes(pod.constraints))
        hope = "delete it so that it is placed anew" if is_pinned else "it is bound as soon as kube-scheduler takes it"
        return ExplanationCode.UNBINDABLE, f"{said}; {hope}"
    if pod.problem:
        return ExplanationCode.INVALID, pod.problem
    gangs = state.queue.gangs
    note = "" if pod.gang is None else gangs.notes.get(pod.gang, "")
    if pod.gang is not None and gangs.size(pod.gang) is None:
        return ExplanationCode.GANG_INCOMPLETE, (
            f"how many pods of its gang {pod.gang.name} start together is not known: "
            f"{note or f'its {pod.gang.source.value} is not read yet'}"
        )
    size = 0 if pod.gang is None else gangs.size(pod.gang)
    if pod.gang is not None and state.queue.missing(pod.gang):
        missing = state.queue.missing(pod.gang)
        return ExplanationCode.GANG_INCOMPLETE, (
            f"its gang {pod.gang.name} of {size} is placed as a whole, and {missing} of its pods are missing"
        )
    whole = f", where its gang {pod.gang.name} of {size} is placed as a whole" if pod.gang is not None else ""
    whole += f": {note}" if note else ""
    standing = f"{_kept_for(state, pod.uid)}in migsched's queue{whole}"
    remark = state.queue.remark_of(pod.uid)
    if remark is not None:
        return ExplanationCode(remark.code), f"{remark.sentence}; {standing}"
    return ExplanationCode.QUEUED, standing


def _kept_for(state: ClusterCache, uid: str) -> str:
    """Where room is reserved for a pod, in words; nothing if none is."""
    made = next((made for _, made in state.queue.reservations if uid in made.pods), None)
    if made is None:
        return ""
    nodes = sorted({place.node for place in made.places if place.uid == uid})
    leaving = "a pod there has ended" if len(made.holders) == 1 else f"{len(made.holders)} pods there have ended"
    return f"room is kept for it on {', '.join(nodes[:_NAMED])} until {leaving}; "


def position(state: ClusterCache, uid: str) -> int | None:
    """How many pods come before one in the queue that waits for its turn there; None for any other pod."""
    pod = state.queue.get(uid)
    waits = pod is not None and pod.state is QueueState.QUEUED and state.queueing
    return state.queue.position(uid) if waits else None


def before(pods: int) -> str:
    """A position in words."""
    return "1 pod before it" if pods == 1 else f"{pods or 'no'} pods before it"
