"""Lookup: which pod is meant, and what is said of a pod that the cache does not keep: it is no MIG pod, or it is over.

Called by the API, which reads such a pod from the API server.
"""

from typing import Any

from allocator.mig.profile import WHOLE_GPU
from kubeclient.objects import Pod
from scheduler.cache import known_pod, pods, scheduling_facts
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.known_pod import KnownPod
from scheduler.cache.queue_feed import NOT_ADMITTED
from scheduler.explain import explanation
from scheduler.explain.codes import ExplanationCode
from scheduler.explain.standing import named
from scheduler.kube_scheduler_config import SCHEDULER_NAME

_MESSAGE = 600  # characters of a kubelet's words
_LARGEST = "7g.40gb"  # as an example, where no GPU is known


def find(state: ClusterCache, name: str) -> list[KnownPod]:
    """MIG pods that are not over, by UID, `namespace/name` or name, which several may have."""
    if name in state.pods:
        return [state.pods[name]]
    return [pod for pod in state.pods.values() if name in (pod.name, f"{pod.namespace}/{pod.name}")]


def ambiguous(matches: list[KnownPod]) -> str:
    """What is said where several pods have the name."""
    titles = sorted(f"{pod.namespace}/{pod.name}" for pod in matches)
    return f"{len(titles)} pods have this name: {named(titles)}; write namespace/name"


def of_other(state: ClusterCache, pod: Pod) -> dict[str, Any]:
    """The explanation of a pod that the API server has and the cache does not."""
    known = known_pod.read(pod)
    answer, _ = explanation.begin(state, known)
    if pod.is_over:
        code, reason = _over(pod)
        return answer | {"phase": "over", "code": code, "reason": reason, "node": pod.spec.node_name}
    if pods.is_ours(pod):  # created a moment ago
        return explanation.explain(state, known)
    code, reason = _not_ours(state, pod)
    phase = "bound" if pod.spec.node_name else "pending"
    return answer | {"phase": phase, "code": code, "reason": reason, "kube_scheduler": "", "request": ""}


def _over(pod: Pod) -> tuple[ExplanationCode, str]:
    status = pod.status
    said = scheduling_facts.shown(status.message or status.reason, _MESSAGE)
    if status.reason == NOT_ADMITTED and pods.is_ours(pod):
        where = f"node {pod.spec.node_name} refused it"
        hint = "; delete it, its owner makes a new one"
        return ExplanationCode.REFUSED_BY_AGENT, f"{where}, as its agent gave it no slices: {said}{hint}"
    return ExplanationCode.OVER, f"it is over: {status.phase.lower()}{f', {said}' if said else ''}"


def _not_ours(state: ClusterCache, pod: Pod) -> tuple[ExplanationCode, str]:
    containers = (*pod.spec.containers, *(pod.spec.init_containers or ()))
    scheduler = ""
    if not (state.queueing or pod.spec.scheduler_name == SCHEDULER_NAME):
        named_scheduler = scheduling_facts.shown(pod.spec.scheduler_name, scheduling_facts.MAX_NAME)
        scheduler = f", and schedulerName: {SCHEDULER_NAME} instead of {named_scheduler}"
    if any(WHOLE_GPU in (c.resources.limits or c.resources.requests or {}) for c in containers if c.resources):
        what = f"it asks for {WHOLE_GPU}, a whole GPU, which migsched does not hand out"
        return ExplanationCode.WHOLE_GPU, f"{what}; write nvidia.com/mig-{_largest(state)} for all of one{scheduler}"
    what = "it asks for no MIG slice"
    write = "write nvidia.com/mig-<profile>, such as nvidia.com/mig-1g.5gb, under a container's resources.limits"
    return ExplanationCode.NO_SLICES, f"{what}; {write}{scheduler}"


def _largest(state: ClusterCache) -> str:
    """The profile that is all of a GPU of the cluster."""
    profiles = [profile for geometry in state.inventory.fleet.geometries for profile in geometry.catalogue.profiles]
    plain = [profile for profile in profiles if profile.plain]
    largest = max(plain, key=lambda profile: (profile.compute_slices, profile.memory_slices), default=None)
    return largest.resource.removeprefix("nvidia.com/mig-") if largest is not None else _LARGEST
