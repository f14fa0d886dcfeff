"""Movability: whether a pod of the cluster may be moved, by `allocator.moves.eligibility`, and where its successor may
run. Asked by snapshots, and by what carries moves out.
"""

from dataclasses import replace
from datetime import UTC, datetime

from allocator.eligibility.constraints import PodConstraints
from allocator.eligibility.node_selector import NAME_FIELD, NodeSelectorTerm
from allocator.moves import eligibility
from allocator.moves.eligibility import MoveFacts
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.known_pod import KnownPod


def why_not(state: ClusterCache, pod: KnownPod, now: datetime | None = None) -> str:
    """Why a pod may not be moved, in words; empty if it may."""
    queued = state.queue.get(pod.uid)  # of bound pods only those of gangs are
    facts = MoveFacts(
        mark=eligibility.MOVABLE if pod.movable else eligibility.NEVER if pod.stays else None,
        allowed=state.namespaces.allows(pod.namespace),
        comes_anew=pod.eviction.comes_anew and bool(pod.service),
        is_mirror=pod.eviction.is_mirror,
        of_daemon_set=pod.eviction.of_daemon_set,
        of_gang=queued is not None and queued.gang is not None,
        terminating=pod.terminating,
        not_before=pod.not_before,
        unknown=("its constraints",) if pod.constraints is None else pod.constraints.unjudged,
    )
    return eligibility.why_not(facts, now or datetime.now(UTC))


def successor_constraints(pod: KnownPod, *, pinned: bool) -> PodConstraints | None:
    """What the pod that comes in a pod's stead will ask of its node: the same, without the pin that our release put
    last into each term of the affinity, if it was `pinned`.
    """
    asked = pod.constraints
    if asked is None or not pinned or not pod.node or not asked.node_affinity:
        return asked
    terms = asked.node_affinity
    if not all(_is_pin(term, pod.node) for term in terms):
        return asked
    left = tuple(replace(term, fields=term.fields[:-1]) for term in terms)
    return replace(asked, node_affinity=left if any(term.fields or term.expressions for term in left) else None)


def _is_pin(term: NodeSelectorTerm, node: str) -> bool:
    last = term.fields[-1] if term.fields else None
    return last is not None and (last.key, last.operator, last.values) == (NAME_FIELD, "In", (node,))
