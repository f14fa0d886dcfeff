"""GangVictims: whose eviction makes room for all pods of a gang at once, budgets counted over all of them. Asked by
preemption.

The pods get their nodes one after the other, the largest first, each where it costs least beside those before it, by
the rule for one pod. Then those are let stay that nobody has to go for. So an answer is right: with those victims gone
all of the gang fits, and none of them is there for nothing. That there is none is not proven: another choice of nodes
might do, or one of fewer victims.
"""

import asyncio
import enum
import math
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import partial

from allocator.placement.shortlist import shortlist
from allocator.planning import preemption
from allocator.planning.preemption import NodeChoice
from allocator.queueing import holding
from allocator.queueing.queued_pod import QueuedPod
from allocator.request import Request
from scheduler.cache.budgets import Allowance
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.disruption_budget import PodDisruptionBudget
from scheduler.cache.known_pod import KnownPod
from scheduler.cooperative import paced
from scheduler.extender import evictable
from scheduler.extender.current_budgets import unreadable
from scheduler.extender.nominated_room import NominatedRoom
from scheduler.queueing.node_rules import ClusterNodeRules

MAX_PODS = 64  # of a gang; for larger ones nobody is evicted
WORK_S = 1.0  # of looking for one gang
CHOICES = 4  # nodes that are compared for each pod
FREE = 8  # nodes that are asked whether a pod needs no victims there


class GangVictimsEnd(enum.Enum):
    """How a search ended."""

    FOUND = "found"
    NONE = "none"  # by this way of looking
    PROTECTED = "protected"  # there would be some, and budgets or missing controllers forbid it
    LATE = "late"  # the time was over


@dataclass(frozen=True, slots=True)
class GangRoom:
    """By pod of the gang, its node; by node, the pods (UIDs) that have to go from there, and those that are going."""

    nodes: Mapping[str, str]
    victims: Mapping[str, tuple[str, ...]]
    leaving: Mapping[str, tuple[str, ...]]


@dataclass(slots=True)
class _Plan:
    """What is planned so far."""

    budgets: Sequence[PodDisruptionBudget]
    may_evict: Callable[[KnownPod], bool]
    until: float
    pods: dict[str, list[QueuedPod]] = field(default_factory=dict)  # by node
    victims: dict[str, set[str]] = field(default_factory=dict)
    leaving: dict[str, frozenset[str]] = field(default_factory=dict)
    is_protected: bool = False

    def requests(self, node: str) -> Sequence[Request]:
        return [pod.request for pod in self.pods.get(node, ())]


class GangVictims:
    """Searches by what the state knows. Nothing is held after it."""

    def __init__(self, state: ClusterCache, rules: ClusterNodeRules) -> None:
        self._state = state
        self._rules = rules
        self._nominated_room = NominatedRoom(state)

    async def find(
        self,
        gang: Sequence[QueuedPod],
        budgets: Sequence[PodDisruptionBudget],
        may_evict: Callable[[KnownPod], bool],
        *,
        work_s: float = WORK_S,
    ) -> tuple[GangRoom | None, GangVictimsEnd]:
        """Nodes and victims for all pods of a gang that found no places together; else how the search ended."""
        clock = asyncio.get_running_loop().time
        plan = _Plan(budgets, may_evict, clock() + work_s)
        placed: list[QueuedPod] = []
        try:
            for pod in holding.largest_first(self._state.inventory, gang):
                node = await self._place(plan, pod) if pod.uid in self._state.pods else ""
                if not node:
                    is_late = clock() > plan.until
                    end = GangVictimsEnd.PROTECTED if plan.is_protected else GangVictimsEnd.NONE
                    return None, GangVictimsEnd.LATE if is_late else end
                placed.append(pod)
                self._rules.held(pod, node)
            room = self._settled(plan)
            return room, GangVictimsEnd.FOUND if room is not None else GangVictimsEnd.NONE
        finally:
            for pod in placed:
                self._rules.given_up(pod)
            self._rules.settled()

    async def _place(self, plan: _Plan, pod: QueuedPod) -> str:
        """Plan one pod: its node, nothing if none helps."""
        clock = asyncio.get_running_loop().time
        known, names = self._state.pods[pod.uid], self._rules.eligible(pod)
        async for node in paced(names):
            if node not in plan.leaving:
                plan.leaving[node] = evictable.leaving(self._state, node)
        roomy = shortlist(self._state.inventory.fleet, pod.request, names, FREE, slack=math.inf).nodes
        free = dict.fromkeys([*plan.pods, *roomy, *(name for name in names if plan.leaving.get(name))])
        for node in (node for node in free if node in set(names)):
            if self._victims(plan, pod, known, node, ()) is not None:
                return self._planned(plan, pod, node, ())
            await asyncio.sleep(0)
        least = {node: self._least_priority(node, known.priority) async for node in paced(names)}
        choices: list[NodeChoice] = []
        for node in sorted((name for name in names if least[name] < known.priority), key=lambda name: least[name]):
            if clock() > plan.until or len(choices) == CHOICES:
                break
            choice = self._on_node(plan, pod, known, node)
            if choice is not None:
                choices.append(choice)
            await asyncio.sleep(0)
        if not choices:
            return ""
        best = preemption.best_first(choices)[0]
        return self._planned(plan, pod, best.node, [victim.uid for victim in best.victims])

    def _planned(self, plan: _Plan, pod: QueuedPod, node: str, victims: Sequence[str]) -> str:
        plan.pods.setdefault(node, []).append(pod)
        plan.victims.setdefault(node, set()).update(victims)
        return node

    def _on_node(self, plan: _Plan, pod: QueuedPod, known: KnownPod, node: str) -> NodeChoice | None:
        """Whom one pod needs to go from a node beside those that go already; None if that helps nothing, or may not
        be.
        """
        unknown = unreadable(plan.budgets)
        lower = [
            other
            for other in evictable.below(self._state, node, known.priority)
            if other.uid not in plan.victims.get(node, ()) and other.namespace not in unknown
        ]
        allowed = [other for other in lower if plan.may_evict(other)]
        allowance = self._allowance(plan)
        order = [victim.uid for victim in preemption.most_important_first(map(evictable.candidate, allowed))]
        violating = [uid for uid in order if allowance.violated_by(self._state.pods[uid])]
        reprieve = violating + [uid for uid in order if uid not in violating]
        added = self._victims(plan, pod, known, node, reprieve)
        if added is None:
            anybody = [other.uid for other in lower]
            plan.is_protected |= len(allowed) < len(lower) and (
                self._victims(plan, pod, known, node, anybody) is not None
            )
            return None
        if not added:
            return None
        allowance = self._allowance(plan)
        if any(allowance.violated_by(self._state.pods[uid]) for uid in added):
            plan.is_protected = True
            return None
        others = [evictable.candidate(self._state.pods[uid]) for uid in added]
        return NodeChoice(node, preemption.most_important_first(others), 0)

    def _allowance(self, plan: _Plan) -> Allowance:
        """What budgets allow beside the victims so far."""
        allowance = Allowance(plan.budgets)
        for uid in (uid for there in plan.victims.values() for uid in there):
            if uid in self._state.pods:
                allowance.violated_by(self._state.pods[uid])
        return allowance

    def _victims(
        self, plan: _Plan, pod: QueuedPod, known: KnownPod, node: str, reprieve: Sequence[str]
    ) -> AbstractSet[str] | None:
        """Of these pods those that have to go so that a pod fits a node beside the planned ones."""
        leaving = plan.leaving.get(node, frozenset())
        gone, nominated = self._nominated_room.settle(known, node, leaving)
        requests = (*plan.requests(node), pod.request)
        return preemption.joint_victims(
            self._state.inventory,
            requests,
            node,
            gone | plan.victims.get(node, set()),
            reprieve,
            nominated,
            partial(self._rules.takes_without, pod, node),
        )

    def _settled(self, plan: _Plan) -> GangRoom | None:
        """The plan without victims that nobody of the gang needs to go; None if somebody came between."""
        victims: dict[str, tuple[str, ...]] = {}
        for node, pods in plan.pods.items():
            known = [self._state.pods.get(uid) for uid in plan.victims[node]]
            here = preemption.most_important_first(evictable.candidate(pod) for pod in known if pod is not None)
            first = self._state.pods.get(pods[0].uid)
            if first is None:
                return None
            gone, nominated = self._nominated_room.settle(first, node, plan.leaving.get(node, frozenset()))
            needed = preemption.joint_victims(
                self._state.inventory,
                plan.requests(node),
                node,
                gone,
                [victim.uid for victim in here],
                nominated,
                partial(self._all_take, pods, node),
            )
            if needed is None:
                return None
            victims[node] = tuple(victim.uid for victim in here if victim.uid in needed)
        nodes = {pod.uid: node for node, pods in plan.pods.items() for pod in pods}
        leaving = {node: tuple(plan.leaving.get(node, ())) for node in plan.pods}
        is_waited_for = any(victims.values()) or any(leaving.values())
        return GangRoom(nodes, victims, leaving) if is_waited_for else None

    def _all_take(self, pods: Sequence[QueuedPod], node: str, gone: AbstractSet[str]) -> bool:
        return all(self._takes(pod, node, gone) for pod in pods)

    def _takes(self, pod: QueuedPod, node: str, gone: AbstractSet[str]) -> bool:
        self._rules.given_up(pod)  # as planned it would be in its own way
        takes = self._rules.takes_without(pod, node, gone)
        self._rules.held(pod, node)
        return takes

    def _least_priority(self, node: str, priority: int) -> int:
        return min((other.priority for other in evictable.below(self._state, node, priority)), default=priority)
