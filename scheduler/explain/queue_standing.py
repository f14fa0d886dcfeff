"""Where a pod stands in the queue, in words. Used by `standing`."""

from allocator.queueing.life import QueueState
from allocator.queueing.queued_pod import QueuedPod
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.explain.codes import ExplanationCode


def of(state: ClusterCache, pod: QueuedPod) -> tuple[ExplanationCode, str]:
    """The code and the sentence for a pod in the queue that has no place."""
    if not state.queueing:
        return ExplanationCode.GATED, (
            "held by the gate of migsched's queue, which is off; set queue: true for the scheduler service, or remove "
            "the gate and name a scheduler that asks migsched"
        )
    if pod.state is QueueState.UNBINDABLE:
        return ExplanationCode.UNBINDABLE, (
            f"it was released to kube-scheduler, which refuses it: {pod.refusal or 'its place is taken'}; "
            "delete it so that it is placed anew"
        )
    if pod.problem:
        return ExplanationCode.INVALID, pod.problem
    if pod.gang is not None and state.queue.missing(pod.gang):
        missing = state.queue.missing(pod.gang)
        return ExplanationCode.GANG_INCOMPLETE, (
            f"its gang {pod.gang.name} of {pod.gang.size} is placed as a whole, and {missing} of its pods are missing"
        )
    before = state.queue.position(pod.uid)
    whole = f"; its gang {pod.gang.name} of {pod.gang.size} is placed as a whole" if pod.gang is not None else ""
    pods = "1 pod" if before == 1 else f"{before} pods"
    return ExplanationCode.QUEUED, f"in migsched's queue, {pods} before it{whole}"
