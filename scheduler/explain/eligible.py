"""Eligible: which nodes may run a pod at all, its slices aside; by Kubernetes' own rules where the cache has the facts.

`judge_of` is the only place where explanations are wired to these rules.
"""

from collections.abc import Callable, Hashable

from allocator.eligibility import verdict
from allocator.eligibility.verdict import Verdict
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.cluster_neighbours import ClusterNeighbours
from scheduler.cache.known_pod import KnownPod

# What is not judged of a pod that only a call has shown yet.
NOT_LOOKED_AT = (
    "cordons, taints and readiness of nodes",
    "nodeSelector and node affinity",
    "CPU, memory and other resources",
    "volumes",
    "inter-pod affinity, topology spread and host ports",
)


Judge = Callable[[str], Verdict]  # from a node's name


def judge_of(state: ClusterCache, pod: KnownPod) -> Judge | None:
    """What tells of each node whether it may run the pod; None where nothing is known that could tell."""
    constraints = pod.constraints
    if constraints is None:
        return None
    volumes = state.queue.volumes.get(pod.uid)
    if volumes is not None:
        constraints = constraints.with_volumes(volumes)
    others = None
    if pod.placed_as is not None and state.used.complete:
        neighbours = ClusterNeighbours(state)
        others = neighbours.of(constraints, pod.placed_as, will_be_pinned=pod.uid in state.queue)
    return lambda node: verdict.judge(constraints, state.nodes.get(node), state.used.of(node), others)


def alike(pod: KnownPod) -> Hashable:
    """Pods with equal keys may run on the same nodes."""
    return pod.constraints, pod.placed_as if pod.constraints and pod.constraints.beside_others else None
