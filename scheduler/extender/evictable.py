"""The pods of one node, as preemption sees them: those on their way out, and those that may be evicted."""

from collections.abc import Sequence

from allocator.planning.preemption import Candidate
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.known_pod import KnownPod


def leaving(state: ClusterCache, node: str) -> frozenset[str]:
    """The UIDs of those whose slices of the node are expected to be free soon, with nobody's doing."""
    return frozenset(
        claim.uid
        for claim in state.inventory.ledger.on_node(node)
        if state.departures.includes(claim, ends_at(state.pods.get(claim.uid)))
    )


def ends_at(pod: KnownPod | None) -> float | None:
    """When the grace period of a pod that is being deleted ends, in seconds since 1970; None of any other."""
    return pod.eviction.ends_at if pod is not None else None


def below(state: ClusterCache, node: str, priority: int) -> Sequence[KnownPod]:
    """The pods with slices of the node that a pod of this priority may have evicted.

    Not those that are being deleted, for whom an eviction does nothing more, and no mirrors of static pods: the kubelet
    goes on with the pod and makes its mirror anew.
    """
    on_node = (state.pods.get(claim.uid) for claim in state.inventory.ledger.on_node(node))
    return [
        pod
        for pod in on_node
        if pod is not None and pod.priority < priority and pod.eviction.ends_at is None and not pod.eviction.is_mirror
    ]


def candidate(pod: KnownPod) -> Candidate:
    """What decides about its turn."""
    return Candidate(pod.uid, pod.priority, pod.eviction.started, pod.eviction.of_daemon_set)
