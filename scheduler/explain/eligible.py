"""Eligible: which nodes may run a pod at all, its slices aside; by Kubernetes' own rules where the cache has the facts.

`judge_of` is the only place where explanations are wired to these rules.
"""

from collections.abc import Callable, Hashable

from allocator.eligibility import verdict
from allocator.eligibility.verdict import Verdict
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.known_pod import KnownPod

# What is not judged of a pod that only a call has shown yet.
NOT_LOOKED_AT = (
    "cordons, taints and readiness of nodes",
    "nodeSelector and node affinity",
    "CPU, memory and other resources",
    "volumes",
    "inter-pod affinity and topology spread",
)


Judge = Callable[[str], Verdict]  # from a node's name


def judge_of(state: ClusterCache, pod: KnownPod) -> Judge | None:
    """What tells of each node whether it may run the pod; None where nothing is known that could tell."""
    constraints = pod.constraints
    if constraints is None:
        return None
    return lambda node: verdict.judge(constraints, state.nodes.get(node), state.used.of(node))


def alike(pod: KnownPod) -> Hashable:
    """Pods with equal keys may run on the same nodes."""
    return pod.constraints
