"""QueuePreemption: makes room for a queued pod that found no place, by evicting pods of lower priority. Called by the
cycle.

Whom to evict is the answer of `victim_search`, which the extender's preempt verb gives too, and for a gang that of
`gang_victims`. Pods that are being deleted
are waited for first. The room is held before the first eviction, and freed again where the evictions cannot be
finished. There is no record beside: after a restart those being deleted are seen, and their room is held anew in the
same order.
"""

import asyncio
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from functools import partial

import structlog

from allocator.planning import preemption
from allocator.planning.preemption import Candidate, NodeChoice
from allocator.queueing.life import QueueState
from allocator.queueing.pod_queue import Remark
from allocator.queueing.queued_pod import QueuedPod
from scheduler.cache import budgets as budgets_of
from scheduler.cache.budgets import Allowance
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.disruption_budget import PodDisruptionBudget
from scheduler.cache.known_pod import KnownPod
from scheduler.cache.port import Cluster
from scheduler.explain.codes import ExplanationCode
from scheduler.extender import evictable
from scheduler.extender.current_budgets import BUDGETS_TTL_S, CurrentBudgets
from scheduler.extender.joint_budget import JointBudget
from scheduler.extender.victim_search import Candidates, Search, VictimSearch
from scheduler.metrics import Metrics
from scheduler.queueing import gang_victims
from scheduler.queueing.evictor import EvictionOutcome, Evictor
from scheduler.queueing.gang_victims import GangVictims, GangVictimsEnd
from scheduler.queueing.kept_rooms import KeptRoom, KeptRooms
from scheduler.queueing.node_rules import ClusterNodeRules
from scheduler.queueing.token_bucket import TokenBucket

_log = structlog.get_logger("queue")
PAUSE_S = 5.0  # until pods of a kind for which nothing could be done are looked at again
MAX_ROOMS = 16  # that are made at once
EVICTIONS_PER_MINUTE = 60.0
CHOICES = 10  # nodes that victims are looked for on, those first that can cost least
WORK_S = 0.25  # of looking at nodes for one pod, and as long again while none helps
SEARCH_BURST_S, SEARCH_SHARE = 2.0, 0.2  # of the time that all searches together may take
BUDGETS_S = 1.0  # that a cycle waits for PodDisruptionBudgets
_NAMED = 3  # victims in one sentence
_UNKNOWN_BUDGETS = "nobody is evicted for it: PodDisruptionBudgets could not be read"
_PROTECTED = (
    "pods of lower priority are in its way, and those that Kubernetes would choose may not be evicted: a "
    "PodDisruptionBudget forbids it, or no controller makes them anew"
)


_NOT_PROVEN = Remark(
    ExplanationCode.QUEUED,
    "nobody is evicted for its gang: no pods were found whose going makes room for all of it; that there are none is "
    "not proven",
)
_LARGE_GANG = f"nobody is evicted for a gang of more than {gang_victims.MAX_PODS} pods"


class QueuePreemption:
    """Makes room for queued pods, at one time once for each pod or gang."""

    def __init__(
        self,
        state: ClusterCache,
        cluster: Cluster,
        rules: ClusterNodeRules,
        metrics: Metrics,
        *,
        mode: str,
        clock: Callable[[], float],
        evictor: Evictor | None = None,
        budgets_ttl_s: float = BUDGETS_TTL_S,
    ) -> None:
        self._state = state
        self._rules = rules
        self._metrics = metrics
        self._mode = mode
        self._clock = clock
        self._search = VictimSearch(state)
        self._gang_victims = GangVictims(state, rules)
        self._budgets = CurrentBudgets(cluster, ttl_s=budgets_ttl_s)
        self._evictor = evictor or Evictor(cluster, metrics)
        self._rooms = KeptRooms(state, clock)
        self._turns = JointBudget(clock=clock)  # of each namespace
        self._turn_of_all = JointBudget(burst_s=SEARCH_BURST_S, share=SEARCH_SHARE, clock=clock)
        self._paused: dict[Hashable, tuple[float, Remark | None]] = {}  # kinds of pods, until when, and what is said
        self._least: int | None = None  # priority on any node
        self._knows_least = False
        self._evictions = TokenBucket(per_s=EVICTIONS_PER_MINUTE / 60, burst=EVICTIONS_PER_MINUTE, now=clock())

    def look(self) -> None:
        """Keep no room for pods that have a place by now, or are gone; a cycle begins."""
        self._knows_least = False
        for room in self._rooms:
            if not self._rooms.is_wanted(room):
                self._rooms.end(room)
                self._state.ask_again()
        if len(self._paused) > len(self._state.queue) + 64:
            now = self._clock()
            self._paused = {kind: paused for kind, paused in self._paused.items() if paused[0] > now}

    async def make_room(self, unit: Sequence[QueuedPod]) -> None:
        """Make room for a pod, or all pods of a gang, that found no place just now."""
        if self._mode == "off" or not all(pod.preempts for pod in unit):
            return
        rooms = [room for room in (self._rooms.get(pod.uid) for pod in unit) if room is not None]
        if not rooms:
            await self._begin(unit)
        elif rooms[0].unit != {pod.uid for pod in unit}:  # the gang has other pods by now
            for room in rooms:
                self._rooms.end(room)
            self._state.ask_again()
        elif not self._rooms.is_coming(rooms[0]):
            self._metrics.preemptions.labels("in_vain").inc()
            _log.warning("room was made in vain", pod=unit[0].title, node=rooms[0].node)
            self._rooms.end(rooms[0])
            self._pause(unit, None)
        else:
            self._tell(rooms)  # anew: a gang that was tried meanwhile has forgotten it

    async def close(self) -> None:
        """Evict nobody any more."""
        rooms = tuple(self._rooms)
        for room in rooms:
            self._rooms.end(room)
        tasks = (room.evictions for room in rooms if room.evictions is not None)
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- whom, and where

    async def _begin(self, unit: Sequence[QueuedPod]) -> None:
        pod = unit[0]
        paused_until, remark = self._paused.get(_kind(unit), (float("-inf"), None))
        if self._clock() < paused_until:
            self._remark(unit, remark)
            return
        if len(self._rooms) >= MAX_ROOMS or self._turns.wait_s(pod.namespace) or self._turn_of_all.wait_s(""):
            return
        known = self._state.pods.get(pod.uid)
        least = self._least_priority()
        if known is None or least is None or least >= pod.priority:
            self._pause(unit, None)
            return
        began = asyncio.get_running_loop().time()
        await (self._find(pod, known) if len(unit) == 1 else self._find_for_gang(unit))
        took_s = asyncio.get_running_loop().time() - began
        self._turns.spend(pod.namespace, took_s)
        self._turn_of_all.spend("", took_s)

    async def _find(self, pod: QueuedPod, known: KnownPod) -> None:
        """Hold the room that is on its way, or that evictions make; else say why not."""
        candidates: Candidates = dict.fromkeys(self._rules.eligible(pod), ((), 0))
        search = Search(
            known,
            pod.request,
            takes=lambda node, gone: self._rules.takes_without(pod, node, gone),
            is_refused=True,
        )
        coming = await self._search.coming(search, candidates)
        if coming is not None:
            if self._still_waits(pod):
                ending = coming.ending or tuple(evictable.leaving(self._state, coming.node))
                self._hold(pod, coming.node, ending)
                self._metrics.preemptions.labels("awaited").inc()
            return
        budgets = await self._read_budgets()
        if budgets is None:
            self._refuse((pod,), Remark(ExplanationCode.EVICTION_REFUSED, _UNKNOWN_BUDGETS), "refused")
            return
        choice, is_protected = await self._choose(search, candidates, budgets)
        if not self._still_waits(pod):
            return
        if choice is not None and self._evictions.take(self._clock(), len(choice.victims)):
            room = self._hold(pod, choice.node, tuple(victim.uid for victim in choice.victims))
            self._start((room,), choice.victims, budgets)
        elif is_protected:
            self._refuse((pod,), Remark(ExplanationCode.PROTECTED, _PROTECTED), "protected")
        elif choice is None:
            self._pause((pod,), None)

    async def _find_for_gang(self, gang: Sequence[QueuedPod]) -> None:
        """Hold room for all pods of a gang, that evictions make together; else say why not, and evict nobody."""
        if len(gang) > gang_victims.MAX_PODS:
            self._pause(gang, Remark(ExplanationCode.QUEUED, _LARGE_GANG))
            return
        budgets = await self._read_budgets()
        if budgets is None:
            self._refuse(gang, Remark(ExplanationCode.EVICTION_REFUSED, _UNKNOWN_BUDGETS), "refused")
            return
        made, end = await self._gang_victims.find(gang, budgets, partial(self._may_evict, budgets))
        if not all(map(self._still_waits, gang)):
            return
        if made is None:
            is_protected = end is GangVictimsEnd.PROTECTED
            remark = Remark(ExplanationCode.PROTECTED, _PROTECTED) if is_protected else _NOT_PROVEN
            self._refuse(gang, remark, "protected" if is_protected else "none")
            return
        victims = [uid for there in made.victims.values() for uid in there]
        if not self._evictions.take(self._clock(), len(victims)):
            return
        unit = frozenset(pod.uid for pod in gang)
        rooms = [
            self._hold(pod, node, (*made.victims[node], *made.leaving[node]), unit)
            for pod, node in ((pod, made.nodes[pod.uid]) for pod in gang)
        ]
        if victims:
            known = (self._state.pods.get(uid) for uid in victims)
            order = preemption.most_important_first(evictable.candidate(pod) for pod in known if pod is not None)
            self._start(rooms, order, budgets)
        else:
            self._metrics.preemptions.labels("awaited").inc()

    async def _choose(
        self, search: Search, candidates: Candidates, budgets: Sequence[PodDisruptionBudget]
    ) -> tuple[NodeChoice | None, bool]:
        """The best node where nobody is evicted who may not be; and, without one, whether there is one otherwise."""
        may_evict = partial(self._may_evict, budgets)
        careful = replace(
            search, may_evict=may_evict, accepts=lambda choice: self._keeps_budgets(choice, budgets), most=CHOICES
        )
        choices = await self._search.choices(careful, candidates, budgets, WORK_S)
        if choices.nodes:
            return preemption.best_first(choices.nodes)[0], False
        if choices.rejected:
            return None, True
        anybody = replace(search, may_evict=lambda pod: bool(pod.node), most=1)
        return None, bool((await self._search.choices(anybody, candidates, budgets, WORK_S)).nodes)

    def _may_evict(self, budgets: Sequence[PodDisruptionBudget], pod: KnownPod) -> bool:
        is_owned = pod.eviction.comes_anew or self._mode == "any"
        return bool(pod.node) and is_owned and budgets_of.covering(budgets, pod) <= 1

    def _keeps_budgets(self, choice: NodeChoice, budgets: Sequence[PodDisruptionBudget]) -> bool:
        """Whether the budgets allow to evict all victims. Their violations count other candidates as well."""
        allowance = Allowance(budgets)
        known = [self._state.pods[victim.uid] for victim in choice.victims if victim.uid in self._state.pods]
        return not any(allowance.violated_by(pod) for pod in known)  # none is counted after the first that violates

    def _protected_first(
        self, victims: Sequence[Candidate], budgets: Sequence[PodDisruptionBudget]
    ) -> Sequence[KnownPod]:
        """The victims in the order in which they are evicted: first those whose eviction may be refused."""
        known = [self._state.pods[victim.uid] for victim in victims if victim.uid in self._state.pods]
        known.reverse()
        return sorted(known, key=lambda pod: not budgets_of.covering(budgets, pod))

    # --- carried out

    def _start(
        self, rooms: Sequence[KeptRoom], victims: Sequence[Candidate], budgets: Sequence[PodDisruptionBudget]
    ) -> None:
        order = self._protected_first(victims, budgets)
        evictions = asyncio.create_task(self._evict(rooms[0], order), name=f"evict for {rooms[0].pod.title}")
        for room in rooms:
            room.evictions = evictions

    async def _evict(self, room: KeptRoom, victims: Sequence[KnownPod]) -> None:
        for victim in victims:
            unit = self._rooms.of_unit(room)
            is_eligible = all(other.node in self._rules.eligible(other.pod) for other in unit)
            if not self._rooms.is_wanted(room) or not is_eligible:
                self._metrics.preemptions.labels("dropped").inc()
                self._rooms.end(room)
                return
            outcome, said = await self._evictor.evict(victim, room.pod.title, victim.node)
            self._budgets.forget()
            if outcome is not EvictionOutcome.DONE:
                self._give_up(room, victim, outcome, said)
                return
        self._metrics.preemptions.labels("evicted").inc()

    def _give_up(self, room: KeptRoom, victim: KnownPod, outcome: EvictionOutcome, said: str) -> None:
        """One of the victims stays, so the others went for nothing, and no more go."""
        title = f"{victim.namespace}/{victim.name}"
        _log.warning("eviction refused", pod=title, preemptor=room.pod.title, node=victim.node, error=said)
        unit = [other.pod for other in self._rooms.of_unit(room)]
        self._rooms.end(room)
        self._state.ask_again()
        if outcome is EvictionOutcome.FORBIDDEN:
            remark = Remark(ExplanationCode.PROTECTED, f"{title} is in its way, and its budget does not let it go")
            self._refuse(unit, remark, "protected")
        else:
            remark = Remark(ExplanationCode.EVICTION_REFUSED, f"the API server did not evict {title}: {said[:200]}")
            self._refuse(unit, remark, "refused")

    def _hold(
        self, pod: QueuedPod, node: str, victims: tuple[str, ...], unit: frozenset[str] = frozenset()
    ) -> KeptRoom:
        room = self._rooms.begin(pod, node, victims, unit)
        self._tell((room,))
        _log.info("room is made", pod=pod.title, uid=pod.uid, node=node, victims=len(victims))
        return room

    def _tell(self, rooms: Sequence[KeptRoom]) -> None:
        """Say to all of a unit who has to end for them: all wait for the last of these."""
        victims = dict.fromkeys(uid for room in rooms for uid in room.victims)
        known = (self._state.pods.get(uid) for uid in victims)
        titles = [f"{victim.namespace}/{victim.name}" for victim in known if victim is not None]
        more = f" and {len(titles) - _NAMED} more" if len(titles) > _NAMED else ""
        names = ", ".join(titles[:_NAMED]) + more or "pods that are gone"
        for room in rooms:
            sentence = f"room is made for it on {room.node}: {names} have to end first"
            self._state.queue.remark(room.pod.uid, Remark(ExplanationCode.MAKING_ROOM, sentence))

    # --- limits

    def _refuse(self, unit: Sequence[QueuedPod], remark: Remark, outcome: str) -> None:
        self._metrics.preemptions.labels(outcome).inc()
        self._pause(unit, remark)

    def _pause(self, unit: Sequence[QueuedPod], remark: Remark | None) -> None:
        if unit:
            self._remark(unit, remark)
            self._paused[_kind(unit)] = (self._clock() + PAUSE_S, remark)

    def _remark(self, unit: Sequence[QueuedPod], remark: Remark | None) -> None:
        for pod in unit:
            self._state.queue.remark(pod.uid, remark)

    def _still_waits(self, pod: QueuedPod) -> bool:
        now = self._state.queue.get(pod.uid)
        return now is not None and now.state is QueueState.QUEUED

    def _least_priority(self) -> int | None:
        """The lowest priority of a pod on a node, looked for once in a cycle; None if there is no pod."""
        if not self._knows_least:
            self._least = min((pod.priority for pod in self._state.pods.values() if pod.node), default=None)
            self._knows_least = True
        return self._least

    async def _read_budgets(self) -> Sequence[PodDisruptionBudget] | None:
        try:
            async with asyncio.timeout(BUDGETS_S):
                return await self._budgets.read()
        except TimeoutError:
            return None


def _kind(unit: Sequence[QueuedPod]) -> Hashable:
    return tuple((pod.priority, pod.request, pod.constraints) for pod in unit)
