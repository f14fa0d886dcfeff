"""Holding: a place for a queued pod, or for several pods at once, claimed on the node where it costs least.

A node does that may run the pod by Kubernetes' own rules, has room for its slices together, and room beside what others
use of CPU, memory and the like. Of these the policy's best is taken. Called by the queueing cycle, by `gang_holding`
and by simulations.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from allocator.claims.inventory import Inventory
from allocator.mig.catalogue import Catalogue
from allocator.placement.misfit import Misfit
from allocator.placement.room import LeftRoom
from allocator.placement.shortlist import shortlist
from allocator.queueing.queued_pod import QueuedPod

_LOOKED_AT = 8  # of the best nodes, at first; more where all of these refuse


class NodeRules(Protocol):
    """On which nodes a pod may run, its slices aside."""

    def eligible(self, pod: QueuedPod) -> Sequence[str]:
        """The nodes that may run it by what they are."""

    def takes(self, pod: QueuedPod, node: str) -> bool:
        """Whether an eligible node has room for it beside the pods that are there or on their way, slices aside."""

    def is_certain(self, pod: QueuedPod, node: str) -> bool:
        """Whether nothing that a node's taking the pod depends on was left unjudged."""

    def held(self, pod: QueuedPod, node: str) -> None:
        """A place is held there; the others of its unit have to reckon with it."""

    def given_up(self, pod: QueuedPod) -> None:
        """It is not held any more, since the unit as a whole found none."""

    def left(self, pod: QueuedPod, node: str) -> LeftRoom:
        """What of the node's slices is kept for others, and so not for this pod."""


@dataclass(frozen=True, slots=True)
class HeldPlaces:
    """Where the pods of a unit have their places: the nodes, in the pods' order."""

    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NoPlace:
    """The pod of a unit that found no place. Nothing is held then."""

    pod: QueuedPod


def hold(inventory: Inventory, unit: Sequence[QueuedPod], rules: NodeRules) -> HeldPlaces | NoPlace:
    """Claim a place for each pod of a unit, all or none.

    They are placed one after the other, the largest requests first. That is greedy: they may fit in another order
    where they do not in this one.
    """
    nodes: dict[str, str] = {}
    placed: list[QueuedPod] = []
    for pod in largest_first(inventory, unit):
        node = hold_one(inventory, pod, rules)
        if node is None:
            for other in placed:
                inventory.refuse(other.uid)
                rules.given_up(other)
            return NoPlace(pod)
        nodes[pod.uid] = node
        placed.append(pod)
        rules.held(pod, node)
    return HeldPlaces(tuple(nodes[pod.uid] for pod in unit))


def largest_first(inventory: Inventory, unit: Sequence[QueuedPod]) -> Sequence[QueuedPod]:
    """The order in which pods are placed that are placed at once."""
    return sorted(unit, key=lambda pod: -_memory_slices(inventory, pod))


def _memory_slices(inventory: Inventory, pod: QueuedPod) -> int:
    """How much of a GPU a pod's slices take, on the model where they take most."""
    return max((_on(kind.catalogue, pod) for kind in inventory.fleet.geometries), default=0)


def _on(catalogue: Catalogue, pod: QueuedPod) -> int:
    offered = {profile.name: profile.memory_slices for profile in catalogue.profiles}
    return sum(number * offered.get(name, 0) for name, number in pod.request.counts)


def hold_one(inventory: Inventory, pod: QueuedPod, rules: NodeRules, first: str = "") -> str | None:
    """Claim the best place for a pod: its node, or None if it finds none. The node `first` is best, if it does."""
    if first and rules.takes(pod, first) and _claimed(inventory, pod, first, rules):
        return first
    names = rules.eligible(pod)
    looked_at, slack, refused = _LOOKED_AT, 0.0, set[str]()
    while True:
        best = shortlist(inventory.fleet, pod.request, names, looked_at, slack=slack)
        for node in best.nodes:
            if node in refused:
                continue
            if rules.takes(pod, node) and _claimed(inventory, pod, node, rules):
                return node
            refused.add(node)
        if slack and len(best.nodes) < looked_at:
            return None
        looked_at, slack = 4 * looked_at, math.inf


def _claimed(inventory: Inventory, pod: QueuedPod, node: str, rules: NodeRules) -> bool:
    claim = inventory.reserve(pod.uid, pod.namespace, pod.name, pod.request, node, rules.left(pod, node))
    return not isinstance(claim, Misfit)
