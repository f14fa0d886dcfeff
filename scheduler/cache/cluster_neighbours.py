"""The other pods of the cluster as one pod sees them, as the cache has them. Asked by the queue and by explanations."""

from allocator.eligibility.constraints import PodConstraints
from allocator.eligibility.neighbours import Neighbours
from allocator.eligibility.placed_pods import PlacedPod
from allocator.eligibility.topology import Topology
from scheduler.cache.cluster_cache import ClusterCache


class ClusterNeighbours:
    """Makes `Neighbours`; what of them depends on nodes alone is kept until a node changes."""

    def __init__(self, state: ClusterCache) -> None:
        self._state = state
        self._topology = Topology({})
        self._generation = -1
        self._last: tuple[object, Neighbours] | None = None

    def of(self, constraints: PodConstraints, itself: PlacedPod, *, will_be_pinned: bool = False) -> Neighbours:
        """The others, as a pod with these constraints sees them now."""
        state = self._state
        if self._generation != state.facts_generation:
            self._generation = state.facts_generation
            self._topology = Topology(state.nodes)
            self._last = None
        asked = constraints, itself, will_be_pinned, state.used.placed.generation
        if self._last is None or self._last[0] != asked:
            others = Neighbours(constraints, itself, state.used.placed, self._topology, will_be_pinned=will_be_pinned)
            self._last = asked, others
        return self._last[1]
