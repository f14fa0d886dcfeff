"""NodeRules of the cluster as the cache has it: where a pod may run, slices aside. Asked by the cycle.

Nodes are judged once per kind of pod until a node changes.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

from allocator.claims.snapshot import NodeView
from allocator.eligibility import verdict
from allocator.eligibility.amounts import NOTHING, Amounts
from allocator.eligibility.constraints import PodConstraints
from allocator.eligibility.neighbours import Neighbours
from allocator.placement.room import ALL_ROOM, LeftRoom
from allocator.planning.eligible_nodes import EligibleNodes
from allocator.queueing.queued_pod import PodController, QueuedPod
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.cluster_neighbours import ClusterNeighbours
from scheduler.extender.nominated_room import NominatedRoom

_MAX_KINDS = 1_024  # of pods, whose nodes are kept


class ClusterNodeRules:
    """`allocator.queueing.holding.NodeRules` over the cache."""

    def __init__(self, state: ClusterCache) -> None:
        self._state = state
        self._nominated_room = NominatedRoom(state)
        self._generation: tuple[int, int] | None = None
        self._known: Sequence[str] = ()  # nodes with GPUs, by name
        self._judge = EligibleNodes((), {})
        self._names: dict[PodConstraints, Sequence[str]] = {}
        self._neighbours = ClusterNeighbours(state)
        self._being_held: dict[str, dict[str, Amounts]] = {}  # by node, what pods ask for whose unit is being placed
        self._avoided: dict[PodController, dict[str, float]] = {}

    def avoid(self, owner: PodController, node: str, until: float) -> None:
        """Pods of this owner were refused on a node: their successors go elsewhere until then, if they can."""
        known = self._avoided.setdefault(owner, {})
        known[node] = max(until, known.get(node, until))

    def forget_avoided(self, now: float) -> None:
        """What was learnt of nodes holds for a time only."""
        for owner, nodes in tuple(self._avoided.items()):
            left = {node: until for node, until in nodes.items() if until > now}
            if left:
                self._avoided[owner] = left
            else:
                del self._avoided[owner]

    def eligible(self, pod: QueuedPod) -> Sequence[str]:
        """See NodeRules. Nodes that refused a pod of the same owner lately are left out while there are others."""
        names = self._eligible(pod.constraints)
        others = self._others(pod)
        if others.matter:
            names = others.left_of(names)
        avoided = self._avoided.get(pod.owner, {}) if pod.owner is not None else {}
        return [name for name in names if name not in avoided] or names if avoided else names

    def takes(self, pod: QueuedPod, node: str) -> bool:
        """See NodeRules. Where it is not known what all pods of the node ask for, those on their way are counted."""
        return self.takes_without(pod, node, frozenset())

    def takes_without(self, pod: QueuedPod, node: str, gone: AbstractSet[str]) -> bool:
        """The same once these pods (UIDs) are gone, beside those for whom room is made there."""
        used = (self._state.used.of(node) or NOTHING) + self._state.queue.amounts_on(node)
        used += self._amounts_of_nominated(pod, node)
        used += sum((amounts for uid, amounts in self._being_held.get(node, {}).items() if uid != pod.uid), NOTHING)
        used -= sum((self._state.used.of_pod(uid, node) for uid in gone), NOTHING)
        return verdict.judge(pod.constraints, self._state.nodes.get(node), used, self._others(pod)).eligible

    def is_certain(self, pod: QueuedPod, node: str) -> bool:
        """See NodeRules. What a node has left counts as known where it is not known of all pods there: what is not
        kept of them concerns every pod, and no other node is more certain.
        """
        used = self._state.used.of(node) or NOTHING
        return not verdict.judge(pod.constraints, self._state.nodes.get(node), used, self._others(pod)).unjudged

    def held(self, pod: QueuedPod, node: str) -> None:
        """See NodeRules."""
        self._being_held.setdefault(node, {})[pod.uid] = pod.constraints.requests
        self._state.used.placed.hold(pod.uid, pod.placed_as, node)

    def given_up(self, pod: QueuedPod) -> None:
        """See NodeRules."""
        self._state.used.placed.release(pod.uid)

    def settled(self) -> None:
        """The places that were held are in the queue by now, or given up."""
        self._being_held.clear()

    def kind(self, pod: QueuedPod) -> object:
        """Pods of one kind, asking for the same slices, may run on the same nodes."""
        is_kept_away = self._state.used.placed.keeps_away_from(pod.namespace)
        return pod.constraints, pod.owner, pod.placed_as if is_kept_away else None

    def generation(self, pod: QueuedPod) -> int:
        """Changes when other pods may have come to let a pod run where they did not."""
        return self._state.used.placed.changes_for(pod.constraints)

    def _others(self, pod: QueuedPod) -> Neighbours:
        return self._neighbours.of(pod.constraints, pod.placed_as, will_be_pinned=True)

    def left(self, pod: QueuedPod, node: str) -> LeftRoom:
        """See NodeRules: room kept for pods that kube-scheduler has nominated to the node, and for pods of gangs."""
        known = self._state.pods.get(pod.uid)
        if known is None:
            return self._state.queue.kept.left(self._state.inventory, pod, node, ALL_ROOM)
        return self._nominated_room.left(known, node)

    def _amounts_of_nominated(self, pod: QueuedPod, node: str) -> Amounts:
        """What those ask for that our queue makes room for on a node and that come before this pod."""
        nominated, amounts = self._state.nominated, NOTHING
        for uid in nominated.of(node) if nominated.by_node else ():
            other = self._state.queue.get(uid)
            if other is not None and uid != pod.uid and other.priority >= pod.priority and not other.node:
                amounts += other.constraints.requests
        return amounts

    def _eligible(self, constraints: PodConstraints) -> Sequence[str]:
        fleet = self._state.inventory.fleet
        generation = (self._state.facts_generation, fleet.members)
        if generation != self._generation or len(self._names) > _MAX_KINDS:
            self._generation = generation
            facts = self._state.nodes
            self._known = [name for name in sorted(fleet.rows) if name in facts]  # which of equal nodes is first
            views = [NodeView(name, (), facts=facts[name]) for name in self._known]
            self._judge = EligibleNodes(views, {})  # amounts change with each pod: `takes` looks at them
            self._names.clear()
        names = self._names.get(constraints)
        if names is None:
            names = self._names[constraints] = self._judged(replace(constraints, requests=NOTHING))
        return names

    def _judged(self, asked: PodConstraints) -> Sequence[str]:
        """What pods ask for of CPU and the like differs more than the rest, and is no question here."""
        names = self._names.get(asked)
        if names is None:
            eligible = self._judge.of(asked)
            names = [name for name in self._known if eligible is None or name in eligible]
            self._names[asked] = names
        return names
