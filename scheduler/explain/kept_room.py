"""Which nodes have room for a pod that is kept for others: by reservations of those that stand before it in the queue.

Used by `explanation` after the nodes were counted. Filter and bind judge by the same reservations.
"""

from collections import Counter
from dataclasses import replace

from allocator.placement import fitting
from allocator.placement.misfit import Misfit, Reason
from allocator.placement.room import remaining
from allocator.queueing.queued_pod import order
from allocator.request import Request
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.known_pod import KnownPod
from scheduler.explain.codes import ExplanationCode
from scheduler.explain.node_counts import NodeCounts


def applied(state: ClusterCache, pod: KnownPod, counts: NodeCounts) -> NodeCounts:
    """The counts for this pod: nodes whose room is reserved for others refuse it."""
    request = pod.request if len(state.queue.reservations) else None
    nodes = _refusing(state, pod, request, counts) if request else []
    if not nodes:
        return counts
    own = replace(counts, codes=Counter(counts.codes), messages=Counter(counts.messages), refused=dict(counts.refused))
    for node in nodes:
        own.codes[ExplanationCode.HAS_ROOM] -= 1
        own.codes[ExplanationCode.RESERVATION] += 1
        own.refuse(node, Misfit(Reason.RESERVATION, str(request)).message)
    return own


def _refusing(state: ClusterCache, pod: KnownPod, request: Request, counts: NodeCounts) -> list[str]:
    inventory, reservations = state.inventory, state.queue.reservations
    place = order(pod.priority, pod.scheduling.created, pod.namespace, pod.name)
    asked = dict(request.counts)
    refusing = []
    for node in sorted(reservations.nodes(pod.uid, place)):
        if node in counts.refused or node not in inventory.nodes:
            continue
        gpus = remaining(inventory.usable(node), reservations.left(inventory, node, pod.uid, place))
        try:
            if not fitting.fits([gpu for _, gpu in gpus], asked):
                refusing.append(node)
        except fitting.TooComplexError:
            continue
    return refusing
