"""VictimSearch: whose eviction makes room for a pod, on one node and over many, PodDisruptionBudgets counted as
kube-scheduler counts them. Asked by the extender's preempt verb, which completes kube-scheduler's victims, and by the
queue, which evicts itself: both choose by this one.

What is not known of budgets does not count as leave to evict: no pod is added whose budgets could not be read.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from allocator.planning import preemption
from allocator.planning.preemption import Candidate, NodeChoice
from allocator.request import Request
from scheduler.cache.budgets import Allowance
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.disruption_budget import PodDisruptionBudget
from scheduler.cache.known_pod import KnownPod
from scheduler.cooperative import paced
from scheduler.extender import evictable
from scheduler.extender.current_budgets import unreadable
from scheduler.extender.nominated_room import NominatedRoom

Candidates = Mapping[
    str, tuple[Sequence[str], int]
]  # by node, the victims (UIDs) and how many of them violate a budget


@dataclass(frozen=True, slots=True)
class Search:
    """Who wants room, and what narrows the search: `takes` says whether a node has what else the pod asks for once
    these pods are gone, `may_evict` whether a pod of lower priority may be among the victims. `accepts` whether such
    a choice of victims will do. `is_refused` where it is known that no node has room for the pod as they are; `most`
    choices are enough.
    """

    pod: KnownPod
    request: Request
    takes: Callable[[str, AbstractSet[str]], bool] | None = None
    may_evict: Callable[[KnownPod], bool] | None = None
    accepts: Callable[[NodeChoice], bool] | None = None
    is_refused: bool = False
    most: int | None = None


@dataclass(frozen=True, slots=True)
class ComingRoom:
    """Room on a node that comes by itself: once the pods `ending` (UIDs) are gone, or, without any, once an agent has
    given back slices. It `is_there` where nobody has to go.
    """

    node: str
    ending: tuple[str, ...] = ()
    is_there: bool = False


@dataclass(frozen=True, slots=True)
class Choices:
    """Nodes to preempt on, in no order; how many nodes were not looked at, and how many choices did not do."""

    nodes: Sequence[NodeChoice]
    unseen: int = 0
    rejected: int = 0


class VictimSearch:
    """Chooses victims by what the state knows."""

    def __init__(self, state: ClusterCache) -> None:
        self._state = state
        self._nominated_room = NominatedRoom(state)

    async def coming(self, search: Search, candidates: Candidates) -> ComingRoom | None:
        """Where room is there or on its way; None where pods have to be evicted for it.

        Of nodes where pods are being deleted, that one where they end first; such a node before others.
        """
        soonest: tuple[float, ComingRoom] | None = None
        given_back: ComingRoom | None = None
        async for node, (named, _) in paced(candidates.items()):
            if not named and not search.is_refused and self._has_room(search, node):
                return ComingRoom(node, is_there=True)
            leaving = evictable.leaving(self._state, node)
            if not leaving or any(uid not in self._state.pods for uid in named):
                continue
            needed = self._needed(search, node, leaving)
            if needed:
                ends_at = max(evictable.ends_at(self._state.pods[victim.uid]) or 0.0 for victim in needed)
                room = ComingRoom(node, tuple(victim.uid for victim in needed))
                soonest = min(soonest or (ends_at, room), (ends_at, room), key=lambda timed: timed[0])
            elif needed is not None and not named:
                given_back = given_back or ComingRoom(node)
        return soonest[1] if soonest is not None else given_back

    async def choices(
        self, search: Search, candidates: Candidates, budgets: Sequence[PodDisruptionBudget] | None, work_s: float
    ) -> Choices:
        """By node, the victims whose eviction makes room, those named among them; nodes where nothing helps are
        dropped.

        A node can take milliseconds, so other calls go in between; nodes that come last by what is known of them
        beforehand are not looked at once that takes longer than `work_s`, and as long again while none helps.
        """
        clock = asyncio.get_running_loop().time
        chosen: list[NodeChoice] = []
        rejected = 0
        least_cost = {node: self._least_cost(search, node, *named) async for node, named in paced(candidates.items())}
        nodes = sorted(candidates, key=lambda node: least_cost[node])
        until = clock() + work_s
        for number, node in enumerate(nodes):
            is_late = number and clock() > until + (0 if chosen else work_s)
            if is_late or len(chosen) == search.most:
                return Choices(chosen, len(nodes) - number, rejected)
            choice = self.on_node(search, node, *candidates[node], budgets)
            if choice is not None and (search.accepts is None or search.accepts(choice)):
                chosen.append(choice)
            elif choice is not None:
                rejected += 1
            await asyncio.sleep(0)
        return Choices(chosen, rejected=rejected)

    def on_node(
        self,
        search: Search,
        node: str,
        named: Sequence[str],
        violations: int,
        budgets: Sequence[PodDisruptionBudget] | None,
    ) -> NodeChoice | None:
        """The pods to evict on a node, those named and others; None if no eviction helps.

        As in kube-scheduler, a budget's disruptions are counted down over all candidates, the most important first, and
        those for whom none is left are the first that may stay.
        """
        staying = {uid for uid in named if uid in self._state.pods and self._state.pods[uid].eviction.is_mirror}
        named = [uid for uid in named if uid not in staying]
        unknown = unreadable(budgets or ())
        lower = [
            other
            for other in evictable.below(self._state, node, search.pod.priority)
            if budgets is not None
            and other.uid not in named
            and other.namespace not in unknown
            and (search.may_evict is None or search.may_evict(other))
        ]
        allowance = Allowance(budgets or ())
        for uid in named:
            if uid in self._state.pods:
                allowance.violated_by(self._state.pods[uid])
        order = [victim.uid for victim in preemption.most_important_first(map(evictable.candidate, lower))]
        violating = [uid for uid in order if allowance.violated_by(self._state.pods[uid])]
        reprieve = violating + [uid for uid in order if uid not in violating]
        leaving = evictable.leaving(self._state, node)
        gone, nominated = self._nominated_room.settle(search.pod, node, leaving)
        added = self._victims(search, node, gone | set(named), reprieve, nominated)
        if added is None or not (named or added):
            return None
        others = [evictable.candidate(self._state.pods[uid]) for uid in added]
        victims = preemption.most_important_first([*self._as_named(named), *others])
        return NodeChoice(node, victims, violations + len(added & set(violating)))

    def _has_room(self, search: Search, node: str) -> bool:
        has_room = self._nominated_room.has_room(search.pod, search.request, node)
        return has_room and (search.takes is None or search.takes(node, frozenset()))

    def _needed(self, search: Search, node: str, leaving: frozenset[str]) -> Sequence[Candidate] | None:
        """Which pods of a node that are being deleted have to go so that a pod fits; None if it does not even then."""
        gone, nominated = self._nominated_room.settle(search.pod, node, leaving)
        deleted = [evictable.candidate(self._state.pods[uid]) for uid in leaving if uid in self._state.pods]
        order = preemption.most_important_first(deleted)
        others = gone - {candidate.uid for candidate in deleted}
        reprieve = [candidate.uid for candidate in order]
        needed = self._victims(search, node, others, reprieve, nominated)
        return None if needed is None else [candidate for candidate in order if candidate.uid in needed]

    def _victims(
        self,
        search: Search,
        node: str,
        gone: AbstractSet[str],
        reprieve: Sequence[str],
        nominated: Sequence[Request],
    ) -> AbstractSet[str] | None:
        takes = search.takes
        on_node = None if takes is None else lambda without: takes(node, without)
        return preemption.victims(self._state.inventory, search.request, node, gone, reprieve, nominated, on_node)

    def _as_named(self, named: Sequence[str]) -> Sequence[Candidate]:
        """The victims that kube-scheduler named, which it sorts by priority. One that asks for no slices is not known
        here, and is taken to have the priority of the next that is, or none.
        """
        candidates: list[Candidate] = []
        priority = 0
        for uid in reversed(named):
            known = self._state.pods.get(uid)
            candidates.append(Candidate(uid, priority) if known is None else evictable.candidate(known))
            priority = candidates[-1].priority
        return candidates

    def _least_cost(self, search: Search, node: str, named: Sequence[str], violations: int) -> tuple[int, int, int]:
        """No more than what preemption on a node can cost: its violations, highest priority and number of victims."""
        if named:
            return violations, max(victim.priority for victim in self._as_named(named)), len(named)
        lower = (other.priority for other in evictable.below(self._state, node, search.pod.priority))
        return violations, min(lower, default=search.pod.priority), 1
