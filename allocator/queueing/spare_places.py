"""Spare places: for a pod of which it cannot be told for certain whether its node takes it, places on further nodes.

All of them are named in the pod's affinity, so its scheduler takes the first that does; the others are given back when
the pod is bound. Each is a claim of its own, so no place is held twice. The claim has a name of its own in place of the
pod's UID, which no UID looks like. Asked by the queueing cycle, and by whoever gives places back.
"""

import math
from collections.abc import Iterable

from allocator.claims.inventory import Inventory
from allocator.claims.ledger import ClaimState
from allocator.placement.misfit import Misfit
from allocator.placement.shortlist import shortlist
from allocator.queueing.holding import NodeRules
from allocator.queueing.queued_pod import QueuedPod

_MARK = " on "  # a UID has no spaces
MAX_SLOTS = 7  # of a pod with spare places: all of its promises have to be read in one annotation
MAX_AFFINITY = 4_096  # bytes of its affinity, which grows by the nodes, and has to be read again
_LOOKED_AT = 4  # nodes, for each place that is wanted


def claim_of(uid: str, node: str) -> str:
    """The name of a pod's claim on a node where it has a spare place."""
    return f"{uid}{_MARK}{node}"


def pod_of(claim: str) -> str:
    """The UID of the pod that a claim is for, spare or not."""
    return claim.partition(_MARK)[0]


def is_spare(claim: str) -> bool:
    """Whether a claim's name is that of a spare place."""
    return _MARK in claim


def may_have(pod: QueuedPod) -> bool:
    """Whether a pod's affinity can name several nodes: it is placed alone, and has no terms of its own."""
    is_small = len(pod.request.slots) <= MAX_SLOTS and len(pod.affinity) <= MAX_AFFINITY
    return pod.gang is None and pod.constraints.node_affinity is None and is_small


def hold(inventory: Inventory, pod: QueuedPod, rules: NodeRules, node: str, most: int) -> tuple[str, ...]:
    """Claim places for a pod on up to so many further nodes, the policy's best first; which nodes.

    None where it is certain that the pod's own node takes it. A node of which that is certain is the last one: behind
    it none is needed.
    """
    if not most or not may_have(pod) or rules.is_certain(pod, node):
        return ()
    names = [name for name in rules.eligible(pod) if name != node]
    best = shortlist(inventory.fleet, pod.request, names, _LOOKED_AT * most, slack=math.inf)
    held: list[str] = []
    for name in best.nodes:
        if rules.takes(pod, name) and _claimed(inventory, pod, name, rules):
            held.append(name)
            if len(held) == most or rules.is_certain(pod, name):
                break
    return tuple(held)


def give_back(inventory: Inventory, uid: str, nodes: Iterable[str]) -> None:
    """Give a pod's spare places back, as far as they are still claimed."""
    for node in nodes:
        claim = inventory.ledger.get(claim_of(uid, node))
        if claim is not None and claim.state is ClaimState.RESERVED:
            inventory.refuse(claim.uid)


def _claimed(inventory: Inventory, pod: QueuedPod, node: str, rules: NodeRules) -> bool:
    name, left = claim_of(pod.uid, node), rules.left(pod, node)
    return not isinstance(inventory.reserve(name, pod.namespace, pod.name, pod.request, node, left), Misfit)
