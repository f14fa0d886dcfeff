"""Which nodes have room for a pod that is kept for others: nominated pods, those before it in the queue that have a
reservation, and successors of a gang's pods.

Used by `explanation` after the nodes were counted. It asks the extender's `NominatedRoom`, as filter and bind do.
"""

from collections import Counter
from collections.abc import Hashable
from dataclasses import replace

from allocator.placement.misfit import Misfit, Reason
from allocator.queueing.queued_pod import order
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.known_pod import KnownPod
from scheduler.explain.codes import ExplanationCode
from scheduler.explain.node_counts import NodeCounts
from scheduler.extender.nominated_room import NominatedRoom


def applied(state: ClusterCache, room: NominatedRoom, pod: KnownPod, counts: NodeCounts) -> NodeCounts:
    """The counts for this pod: nodes whose room is kept for others refuse it."""
    if not room.keeps_any:
        return counts
    others = state.inventory.nodes - counts.refused.keys()
    nodes = sorted(room.refusing(pod, pod.scheduling.nominated_node, others))
    if not nodes:
        return counts
    own = replace(counts, codes=Counter(counts.codes), messages=Counter(counts.messages), refused=dict(counts.refused))
    own.kept_for = {}
    for node in nodes:
        is_reserved = room.is_reserved(pod, node)
        code = ExplanationCode.RESERVATION if is_reserved else ExplanationCode.ROOM_KEPT
        own.codes[ExplanationCode.HAS_ROOM] -= 1
        own.codes[code] += 1
        own.refuse(node, Misfit(Reason.RESERVATION if is_reserved else Reason.NOMINATED, str(pod.request)).message)
        own.kept_for.update(dict.fromkeys(f"{first.namespace}/{first.name}" for first in room.first_on(pod, node)))
    return own


def alike(state: ClusterCache, room: NominatedRoom, pod: KnownPod) -> Hashable:
    """What is equal for two pods that ask the same if the same room is kept from both."""
    if not room.keeps_any:
        return None
    queue = state.queue
    queued = queue.get(pod.uid) if len(queue.kept) else None
    successor = None if queued is None else (queued.gang, queued.owner)
    before = queue.reservations.before(pod.uid, order(pod.priority, pod.scheduling.created, pod.namespace, pod.name))
    own = pod.scheduling.nominated_node or state.nominated.node_of(pod.uid)
    return pod.priority, own, tuple(before), successor
