"""The extender's four verbs in domain words: filter, prioritize, bind, preempt. Called by `routes`, which knows HTTP
and JSON.

Filter offers the nodes that are best for packing, and no worse ones: between equals kube-scheduler's own preferences
(affinity, spreading, images at hand) decide, and where there is only one it skips scoring and prioritize altogether
(docs/adr/0006).

Filter and prioritize change nothing that decides about placements: kube-scheduler also calls them to try things
out. The one thing they leave behind is nomination: a node offered to a pod as the only best one is ranked lower for
other pods for a moment, since its Binding is on its way and two pods sent to one last place cost one of them a
back-off; and while kube-scheduler chooses between equals for one pod, the next filter call waits.
Such a nomination only ranks, it never refuses. A node is refused for the pods that kube-scheduler has nominated to it
(`nominated_room`), and for those that wait in the queue with a reservation.
"""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from allocator.claims.ledger import Claim, ClaimState
from allocator.claims.refusal import Refusal
from allocator.placement.fleet import EQUAL
from allocator.placement.misfit import Misfit, Reason
from allocator.placement.shortlist import is_unique, rank, shortlist
from allocator.request import Request
from kubeclient.objects import Pod
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.known_pod import KnownPod
from scheduler.extender.binder import Binder
from scheduler.extender.joint_budget import JointBudget
from scheduler.extender.nominated_room import NominatedRoom
from scheduler.extender.nominations import Nominations
from scheduler.extender.preemptor import Preemption, Preemptor
from scheduler.metrics import Metrics

_log = structlog.get_logger("extender")

BEST_SCORE = 10  # kube-scheduler's MaxExtenderPriority


@dataclass(frozen=True, slots=True)
class FilterAnswer:
    """Nodes to go on with, best first, and why others were refused. Nodes in neither are off the shortlist."""

    nodes: Sequence[str]
    failed: Mapping[str, str] = field(default_factory=dict)
    unresolvable: Mapping[str, str] = field(default_factory=dict)


class Extender:
    """The verbs over one state."""

    def __init__(
        self,
        state: ClusterCache,
        binder: Binder,
        preemptor: Preemptor,
        nominations: Nominations,
        metrics: Metrics,
        *,
        shortlist: int,
        slack: float,
        joint_budget: JointBudget | None = None,
    ) -> None:
        self._state = state
        self._binder = binder
        self._preemptor = preemptor
        self._nominations = nominations
        self._nominated_room = NominatedRoom(state)
        self._metrics = metrics
        self._shortlist = shortlist
        self._slack = slack
        self._joint_budget = joint_budget or JointBudget()
        self._asking_again: asyncio.TimerHandle | None = None
        self._fit = metrics.decisions.labels("filter", "fit", "")

    # --- filter -----------------------------------------------------------------------------------------------------

    async def filter(self, pod: Pod, names: Sequence[str]) -> FilterAnswer:
        """Which of these nodes a pod can use: the shortlist, best first; or why not, for every node."""
        # 1. Wait for pending binds. What follows is one step without an await: nothing changes under it.
        self._nominations.forget(pod.metadata.uid)  # asked about again, so what it was offered came to nothing
        await self._nominations.await_pending_binds()

        # 2. Does the pod ask for anything of ours, and can it be read?
        known = self._state.lookup(pod)
        if known is None:
            return FilterAnswer(names)
        if known.request is None:
            self._decided("filter", "error", "bad_request")
            return FilterAnswer((), unresolvable=dict.fromkeys(names, known.problem))
        if not known.request:
            return FilterAnswer(names)

        # 3. Does it hold a place already?
        claim = self._state.inventory.ledger.get(known.uid)
        if claim is not None:
            return self._held(claim, known, names)

        # 4. Which nodes have room, but keep it for pods that come first: nominated to them, or with a reservation?
        kept = self._nominated_room.refusing(known, pod.status.nominated_node_name, names)
        free = [name for name in names if name not in kept] if kept else names

        # 5. Has its namespace asked for too many mixes of slices lately?
        fleet, incoming = self._state.inventory.fleet, self._nominations.incoming(known.uid)
        wait_s = 0.0 if fleet.answered(known.request) else self._joint_budget.wait_s(known.namespace)
        if wait_s:
            self._ask_again_in(wait_s)
            return self._refused(known, self._unresolvable(Reason.WAITS_TURN, known.request, names))

        # 6. Which nodes are best, beside the pods on their way to them?
        work_before, began = fleet.joint_work, time.perf_counter()
        best = shortlist(fleet, known.request, free, self._shortlist, slack=self._slack, incoming=incoming)
        if fleet.joint_work != work_before:
            self._joint_budget.spend(known.namespace, time.perf_counter() - began)

        # 7. Refuse, with a reason for every node, ...
        if not best.nodes:
            reserved = frozenset(node for node in kept if self._nominated_room.is_reserved(known, node))
            by_others = {Reason.NOMINATED: kept - reserved, Reason.RESERVATION: reserved}
            return self._refused(known, self._refusal(known.request, free, best.too_complex, by_others))

        # 8. ... or nominate, where it is certain to which node the pod goes.
        if best.unique:
            self._nominations.nominate(known.uid, known.request, best.nodes[0])
        self._state.waiting.refused.discard(known.uid)
        self._fit.inc()
        return FilterAnswer(best.nodes)

    def _refused(self, known: KnownPod, answer: FilterAnswer) -> FilterAnswer:
        """Remember and log a refusal: the pod will be tried again and again, so one line until it fits."""
        if known.uid not in self._state.waiting.refused:
            self._state.waiting.refused.add(known.uid)
            reasons = Counter((*answer.failed.values(), *answer.unresolvable.values()))
            _log.info("refused", pod=f"{known.namespace}/{known.name}", uid=known.uid, reasons=dict(reasons))
        return answer

    def _held(self, claim: Claim, known: KnownPod, names: Sequence[str]) -> FilterAnswer:
        """A pod that holds a claim already (its Binding is unconfirmed, or its place was reserved ahead) goes there
        only.
        """
        if claim.node in names and claim.state is ClaimState.RESERVED:
            self._decided("filter", "fit", "reserved")
            return FilterAnswer([claim.node])
        return self._unresolvable(Reason.BOUND_ELSEWHERE, known.request or Request(), names)

    def _unresolvable(self, reason: Reason, request: Request, names: Sequence[str]) -> FilterAnswer:
        """A refusal of all nodes for one reason that no eviction changes."""
        self._decided("filter", "misfit", reason.value)
        return FilterAnswer((), unresolvable=dict.fromkeys(names, Misfit(reason, str(request)).message))

    def _ask_again_in(self, wait_s: float) -> None:
        """Have refused pods tried again after this time; one timer for all of them."""
        loop = asyncio.get_running_loop()
        if self._asking_again is None or self._asking_again.when() <= loop.time():
            self._asking_again = loop.call_later(wait_s, self._state.ask_again)

    def _refusal(
        self,
        request: Request,
        names: Sequence[str],
        too_complex: frozenset[str],
        kept: Mapping[Reason, frozenset[str]],
    ) -> FilterAnswer:
        others = [name for name in names if name not in too_complex] if too_complex else names
        by_reason: dict[Reason, Collection[str]] = {**self._state.inventory.by_reason(request, others)}
        by_reason |= {Reason.TOO_COMPLEX: too_complex, **kept}
        failed: dict[str, str] = {}
        unresolvable: dict[str, str] = {}
        for reason, nodes in by_reason.items():
            if nodes:
                misfit = Misfit(reason, str(request))
                (failed if misfit.resolvable else unresolvable).update(dict.fromkeys(nodes, misfit.message))
                self._decided("filter", "misfit", reason.value)
        return FilterAnswer((), failed, unresolvable)

    # --- prioritize -------------------------------------------------------------------------------------------------

    def prioritize(self, pod: Pod, names: Sequence[str]) -> Mapping[str, int]:
        """A score 0…10 for every node: 10 for the best, one less for each next loss; equal losses score the same."""
        scores = dict.fromkeys(names, 0)
        known = self._state.lookup(pod)
        if known is None or not known.request:
            return scores
        claim = self._state.inventory.ledger.get(known.uid)
        if claim is not None:
            return scores | ({claim.node: BEST_SCORE} if claim.node in scores else {})
        fleet, incoming = self._state.inventory.fleet, self._nominations.incoming(known.uid)
        ranked = rank(fleet, known.request, names, incoming=incoming)
        score, loss_before = BEST_SCORE, math.inf
        for loss, node in ranked:
            if loss > loss_before + EQUAL:
                score = max(0, score - 1)
            scores[node], loss_before = score, loss
        if is_unique(ranked):
            self._nominations.nominate(known.uid, known.request, ranked[0].node)
        elif ranked:
            self._nominations.mark_tied(known.uid)
        return scores

    # --- bind -------------------------------------------------------------------------------------------------------

    async def bind(self, namespace: str, name: str, uid: str, node: str) -> Refusal | None:
        """Choose placements on the node, claim them and bind the pod; or say why not.

        Safe to repeat: a pod bound to that node already is a success.
        """
        refusal = await self._binder.bind(namespace, name, uid, node)
        if refusal is not None:
            _log.warning("bind refused", pod=f"{namespace}/{name}", uid=uid, node=node, error=refusal.message)
        return refusal

    # --- preempt ----------------------------------------------------------------------------------------------------

    async def preempt(self, pod: Pod, candidates: Mapping[str, tuple[Sequence[str], int]]) -> Preemption:
        """By node, the victims (UIDs) whose eviction makes room for the pod, and how many of them violate a budget."""
        known = self._state.lookup(pod)
        if known is None:
            return Preemption(candidates)
        if not known.request:
            return Preemption({} if known.request is None else candidates)
        kept = await self._preemptor.preempt(known, known.request, candidates)
        self._decided("preempt", "fit" if kept.victims else "misfit", "unknown_budgets" if kept.note else "")
        return kept

    def _decided(self, verb: str, outcome: str, reason: str) -> None:
        self._metrics.decisions.labels(verb, outcome, reason).inc()
