"""NodeRules of the cluster as the cache has it: where a pod may run, slices aside. Asked by the cycle.

Nodes are judged once per kind of pod until a node changes.
"""

from collections.abc import Sequence

from allocator.claims.snapshot import NodeView
from allocator.eligibility import verdict
from allocator.eligibility.amounts import NOTHING
from allocator.eligibility.constraints import PodConstraints
from allocator.placement.room import ALL_ROOM, LeftRoom
from allocator.planning.eligible_nodes import EligibleNodes
from allocator.queueing.queued_pod import PodController, QueuedPod
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.extender.nominated_room import NominatedRoom

_MAX_KINDS = 1_024  # of pods, whose nodes are kept


class ClusterNodeRules:
    """`allocator.queueing.holding.NodeRules` over the cache."""

    def __init__(self, state: ClusterCache) -> None:
        self._state = state
        self._nominated_room = NominatedRoom(state)
        self._generation: tuple[int, int] | None = None
        self._judge = EligibleNodes((), {})
        self._names: dict[PodConstraints, Sequence[str]] = {}
        self._avoided: dict[PodController, dict[str, float]] = {}

    def avoid(self, owner: PodController, node: str, until: float) -> None:
        """Pods of this owner were refused on a node: their successors go elsewhere until then, if they can."""
        self._avoided.setdefault(owner, {})[node] = until

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
        avoided = self._avoided.get(pod.owner, {}) if pod.owner is not None else {}
        return [name for name in names if name not in avoided] or names if avoided else names

    def takes(self, pod: QueuedPod, node: str) -> bool:
        """See NodeRules. Where it is not known what all pods of the node ask for, those on their way are counted."""
        used = (self._state.used.of(node) or NOTHING) + self._state.queue.amounts_on(node)
        return verdict.judge(pod.constraints, self._state.nodes.get(node), used).eligible

    def left(self, pod: QueuedPod, node: str) -> LeftRoom:
        """See NodeRules: room that is kept for pods that kube-scheduler has nominated to the node."""
        known = self._state.pods.get(pod.uid)
        return ALL_ROOM if known is None else self._nominated_room.left(known, node)

    def _eligible(self, constraints: PodConstraints) -> Sequence[str]:
        fleet = self._state.inventory.fleet
        generation = (self._state.facts_generation, fleet.members)
        if generation != self._generation or len(self._names) > _MAX_KINDS:
            self._generation = generation
            facts = self._state.nodes
            views = [NodeView(name, (), facts=facts[name]) for name in fleet.rows if name in facts]
            self._judge = EligibleNodes(views, {})  # amounts change with each pod: `takes` looks at them
            self._names.clear()
        names = self._names.get(constraints)
        if names is None:
            eligible = self._judge.of(constraints)
            known = (name for name in fleet.rows if name in self._state.nodes)
            names = self._names[constraints] = [name for name in known if eligible is None or name in eligible]
        return names
