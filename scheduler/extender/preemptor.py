"""Whom to evict so that a pod's slices fit: kube-scheduler's victims completed by its own rule, PodDisruptionBudgets
counted as it counts them. Asked by the extender's preempt verb.

kube-scheduler counts slices and does not see where they lie, and up to version 1.37 it does not ask at all where only
we refused; from 1.38 on it names such nodes with empty lists of victims. The victims that it names may be needed for
something else, such as processors: they stand, and others are added where the slices do not fit without.

Room that is on its way counts first, and nobody else is evicted for it:

- Where it takes only pods that are being deleted, these are answered as the victims, on the one node where they are
  given least time. kube-scheduler deletes no pod twice; it nominates the pod to that node, whose room is kept then.
- Where it takes only slices that an agent is giving back, there is no pod left to name, and where the slices fit by
  now there is nobody to evict: without a node of the first kind nothing is answered. kube-scheduler says that
  preemption does not help, and the pod is tried again when the room is there.

What is not known of budgets does not count as leave to evict: no pod is added whose budgets could not be read, and the
answer says so. kube-scheduler's own victims stand, since it reads the budgets itself.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from allocator import errors
from allocator.planning import preemption
from allocator.planning.preemption import Candidate
from allocator.request import Request
from scheduler.cache.budgets import Allowance
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.disruption_budget import PodDisruptionBudget
from scheduler.cache.known_pod import KnownPod
from scheduler.cache.port import Cluster
from scheduler.cooperative import paced
from scheduler.extender import evictable
from scheduler.extender.nominated_room import NominatedRoom

_log = structlog.get_logger("preemptor")

CHOICES = 20  # nodes to preempt on that kube-scheduler gets to choose from; it starts from some 100 candidates
WORK_S = 2.0  # until no further node is looked at, and as long again while none helps; kube-scheduler waits for 5 s
_NAMED, _SHOWN = 5, 500  # namespaces that a note names, and characters of an error
BUDGETS_TTL_S = 1.0  # how long budgets are used before they are read again: many pods may ask at once
_LEAST_PRIORITY = -(2**31)

Candidates = Mapping[
    str, tuple[Sequence[str], int]
]  # by node, the victims (UIDs) and how many of them violate a budget


@dataclass(frozen=True, slots=True)
class Preemption:
    """By node, the victims (UIDs), the most important first as kube-scheduler expects them, and how many of them
    violate a budget; `note` says what could not be considered.
    """

    victims: Candidates
    note: str = ""


@dataclass(frozen=True, slots=True)
class _Choice:
    """A node to preempt on, and its victims, the most important first."""

    node: str
    victims: Sequence[Candidate]
    violations: int

    @property
    def cost(self) -> tuple[int, int, int, int]:
        """What kube-scheduler compares nodes by, in its order (pickOneNodeForPreemption), but for the last: the node
        whose most important victims started latest.
        """
        total = sum(victim.priority - _LEAST_PRIORITY for victim in self.victims)
        return self.violations, self.victims[0].priority, total, len(self.victims)

    @property
    def started(self) -> str:
        """When the oldest of the most important victims started."""
        return min(victim.age_key for victim in self.victims if victim.priority == self.victims[0].priority)


class Preemptor:
    """Chooses victims by what the state knows and the cluster's budgets allow."""

    def __init__(
        self,
        state: ClusterCache,
        cluster: Cluster,
        *,
        budgets_ttl_s: float = BUDGETS_TTL_S,
        work_s: float = WORK_S,
    ) -> None:
        self._state = state
        self._cluster = cluster
        self._nominated_room = NominatedRoom(state)
        self._work_s = work_s
        self._budgets_ttl_s = budgets_ttl_s
        self._budgets: Sequence[PodDisruptionBudget] | None = None  # None where they are not known
        self._problem = ""  # why not
        self._reading = asyncio.Lock()
        self._forgetting: asyncio.TimerHandle | None = None

    async def preempt(self, pod: KnownPod, request: Request, candidates: Candidates) -> Preemption:
        """By node, the victims whose eviction makes room, those that kube-scheduler named among them.

        Nodes where nothing helps are dropped, and of many the best are kept, as kube-scheduler compares them. A node
        can take milliseconds, so other calls go in between; nodes that come last by what is known of them beforehand
        are not looked at once that takes too long, and the note says so.
        """
        arriving = await self._arriving(pod, request, candidates)
        if arriving is not None:
            return arriving
        budgets = await self._current_budgets()
        clock = asyncio.get_running_loop().time
        until = clock() + self._work_s
        choices: list[_Choice] = []
        least_cost = {node: self._least_cost(pod, node, *named) async for node, named in paced(candidates.items())}
        nodes = sorted(candidates, key=lambda node: least_cost[node])
        for number, node in enumerate(nodes):
            if number and clock() > until + (0 if choices else self._work_s):
                return Preemption(_best(choices), self._note(budgets, unseen=len(nodes) - number))
            choice = self._choice(pod, request, node, *candidates[node], budgets)
            if choice is not None:
                choices.append(choice)
            await asyncio.sleep(0)
        return Preemption(_best(choices), self._note(budgets))

    async def _arriving(self, pod: KnownPod, request: Request, candidates: Candidates) -> Preemption | None:
        """The answer where room is there or on its way; None where pods have to be evicted for it."""
        soonest: tuple[float, str, Sequence[Candidate]] | None = None
        is_coming = False
        async for node, (named, _) in paced(candidates.items()):
            if not named and self._nominated_room.has_room(pod, request, node):
                return Preemption({}, f"nobody is evicted: {node} has room by now")
            leaving = evictable.leaving(self._state, node)
            if not leaving or any(uid not in self._state.pods for uid in named):
                continue
            needed = self._needed(pod, request, node, leaving)
            if needed:
                ends_at = max(evictable.ends_at(self._state.pods[victim.uid]) or 0.0 for victim in needed)
                soonest = min(soonest or (ends_at, node, needed), (ends_at, node, needed), key=lambda room: room[0])
            is_coming = is_coming or (needed is not None and not needed and not named)
        if soonest is not None:
            _, node, needed = soonest
            return Preemption({node: ([victim.uid for victim in needed], 0)})
        return Preemption({}, "nobody is evicted: an agent is giving back slices") if is_coming else None

    def _needed(
        self, pod: KnownPod, request: Request, node: str, leaving: frozenset[str]
    ) -> Sequence[Candidate] | None:
        """Which pods of a node that are being deleted have to go so that a pod fits; None if it does not even then."""
        gone, nominated = self._nominated_room.settle(pod, node, leaving)
        deleted = [evictable.candidate(self._state.pods[uid]) for uid in leaving if uid in self._state.pods]
        order = preemption.most_important_first(deleted)
        others = gone - {candidate.uid for candidate in deleted}
        reprieve = [candidate.uid for candidate in order]
        needed = preemption.victims(self._state.inventory, request, node, others, reprieve, nominated)
        return None if needed is None else [candidate for candidate in order if candidate.uid in needed]

    def _choice(
        self,
        pod: KnownPod,
        request: Request,
        node: str,
        named: Sequence[str],
        violations: int,
        budgets: Sequence[PodDisruptionBudget] | None,
    ) -> _Choice | None:
        """The pods to evict on a node, those named and others; None if no eviction helps.

        As in kube-scheduler, a budget's disruptions are counted down over all candidates, the most important first, and
        those for whom none is left are the first that may stay.
        """
        staying = {uid for uid in named if uid in self._state.pods and self._state.pods[uid].eviction.is_mirror}
        named = [uid for uid in named if uid not in staying]
        unknown = _unreadable(budgets or ())
        lower = [
            other
            for other in evictable.below(self._state, node, pod.priority)
            if budgets is not None and other.uid not in named and other.namespace not in unknown
        ]
        allowance = Allowance(budgets or ())
        for uid in named:
            if uid in self._state.pods:
                allowance.violated_by(self._state.pods[uid])
        order = [victim.uid for victim in preemption.most_important_first(map(evictable.candidate, lower))]
        violating = [uid for uid in order if allowance.violated_by(self._state.pods[uid])]
        reprieve = violating + [uid for uid in order if uid not in violating]
        gone, nominated = self._nominated_room.settle(pod, node, evictable.leaving(self._state, node))
        added = preemption.victims(self._state.inventory, request, node, gone | set(named), reprieve, nominated)
        if added is None or not (named or added):
            return None
        others = [evictable.candidate(self._state.pods[uid]) for uid in added]
        victims = preemption.most_important_first([*self._as_named(named), *others])
        return _Choice(node, victims, violations + len(added & set(violating)))

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

    def _least_cost(self, pod: KnownPod, node: str, named: Sequence[str], violations: int) -> tuple[int, int, int]:
        """No more than what preemption on a node can cost: its violations, highest priority and number of victims."""
        if named:
            return violations, max(victim.priority for victim in self._as_named(named)), len(named)
        lower = (other.priority for other in evictable.below(self._state, node, pod.priority))
        return violations, min(lower, default=pod.priority), 1

    def _note(self, budgets: Sequence[PodDisruptionBudget] | None, *, unseen: int = 0) -> str:
        late = f"{unseen} nodes were not looked at in {self._work_s:g} s" if unseen else ""
        return "; ".join(filter(None, (self._budgets_note(budgets), late)))

    def _budgets_note(self, budgets: Sequence[PodDisruptionBudget] | None) -> str:
        if budgets is None:
            return f"no pods but those named are evicted: PodDisruptionBudgets could not be read: {self._problem}"
        unknown = sorted(_unreadable(budgets))
        if not unknown:
            return ""
        more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
        names = ", ".join(unknown[:_NAMED]) + more
        return f"no pods of {names} are evicted but those named: a PodDisruptionBudget there could not be read"

    async def _current_budgets(self) -> Sequence[PodDisruptionBudget] | None:
        """The cluster's budgets as of a moment ago; None where they cannot be read."""
        async with self._reading:  # once for all that ask meanwhile
            if self._forgetting is None:
                try:
                    self._budgets, self._problem = await self._cluster.disruption_budgets(), ""
                except errors.ClusterError as error:
                    self._budgets, self._problem = None, str(error)[:_SHOWN]
                    _log.warning("cannot read PodDisruptionBudgets", error=self._problem)
                loop = asyncio.get_running_loop()
                self._forgetting = loop.call_later(self._budgets_ttl_s, self._forget)
            return self._budgets

    def _forget(self) -> None:
        """Budgets may be many megabytes, and are old by now."""
        self._budgets = self._forgetting = None


def _unreadable(budgets: Sequence[PodDisruptionBudget]) -> frozenset[str]:
    """The namespaces with a budget that could not be read."""
    return frozenset(budget.metadata.namespace for budget in budgets if budget.unreadable)


def _best(choices: Sequence[_Choice]) -> Candidates:
    """The best of these, as kube-scheduler compares them; it chooses among equals."""
    latest_first = sorted(choices, key=lambda choice: choice.started, reverse=True)
    best = sorted(latest_first, key=lambda choice: choice.cost)[:CHOICES]
    return {choice.node: ([victim.uid for victim in choice.victims], choice.violations) for choice in best}
