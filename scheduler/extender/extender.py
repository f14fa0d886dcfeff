"""The extender's four verbs in domain words: filter, prioritize, bind, preempt. Called by `app`, which knows HTTP
and JSON.

Filter offers the nodes that are best for packing, and no worse ones: between equals kube-scheduler's own preferences
(affinity, spreading, images at hand) decide, and where there is only one it skips scoring and prioritize altogether
(docs/adr/0006).

Filter and prioritize change nothing that decides about placements: kube-scheduler also calls them to try things
out. The one thing they leave behind is nomination: a node offered to a pod as the only best one is ranked lower for
other pods for a moment, since its Binding is on its way and two pods sent to one last place cost one of them a
back-off; and while kube-scheduler chooses between equals for one pod, the next pod's turn has not come.
Nomination only ranks, it never refuses.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import structlog

from allocator.claims.ledger import Claim, ClaimState
from allocator.placement import fitting
from allocator.placement.fleet import EQUAL, Losses, Rows
from allocator.placement.misfit import Misfit, Reason
from allocator.request import Request
from kubeclient.objects import Pod
from scheduler.cache import pods
from scheduler.cache.cluster_cache import ClusterCache, KnownPod
from scheduler.extender.binder import Binder
from scheduler.extender.nominations import Nomination, Nominations
from scheduler.extender.preemptor import Preemptor
from scheduler.metrics import Metrics

_log = structlog.get_logger("extender")

BEST_SCORE = 10  # kube-scheduler's MaxExtenderPriority
_LAST = 1e6  # loss of a node that fits only if a nomination comes to nothing: after all others, before none


@dataclass(frozen=True, slots=True)
class FilterAnswer:
    """Nodes to go on with, best first, and why others were refused. Nodes in neither are off the shortlist."""

    nodes: Sequence[str]
    failed: Mapping[str, str] = field(default_factory=dict)
    unresolvable: Mapping[str, str] = field(default_factory=dict)


class _Ranked(NamedTuple):
    """A node, by its position among those asked about, and what the request costs there."""

    loss: float
    position: int


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
    ) -> None:
        self._state = state
        self._binder = binder
        self._preemptor = preemptor
        self._nominations = nominations
        self._metrics = metrics
        self._shortlist = shortlist
        self._slack = slack
        self._fit = metrics.decisions.labels("filter", "fit", "")

    # --- filter -----------------------------------------------------------------------------------------------------

    async def turn_of(self, pod: Pod) -> None:
        """Until a filter call may be answered: once it is known where the pods before it go."""
        await self._nominations.chosen(pod.metadata.uid)

    def filter(self, pod: Pod, names: Sequence[str]) -> FilterAnswer:
        """Which of these nodes a pod can use: the shortlist, best first; or why not, for every node."""
        if not pods.is_ours(pod):
            return FilterAnswer(names)
        known = self._state.remember(pod)
        if known.request is None:
            self._decided("filter", "error", "bad_request")
            return FilterAnswer((), unresolvable=dict.fromkeys(names, known.problem))
        if not known.request:
            return FilterAnswer(names)
        claim = self._state.inventory.ledger.get(known.uid)
        if claim is not None:
            return self._held(claim, known, names)
        plain = self._plain_to_see(known, known.request, names)
        if plain:
            if len(plain) == 1:
                self._nominations.nominate(known.uid, known.request, plain[0])
            return self._offered(known, plain)
        losses = self._losses(known.request, names)
        ranked = self._ranked(known, names, losses, self._shortlist)
        if not ranked:
            return self._refused(known, self._refusal(known.request, names, losses))
        if _one_is_best(ranked):
            self._nominations.nominate(known.uid, known.request, names[ranked[0].position])
        worst = ranked[0].loss + self._slack + EQUAL
        return self._offered(known, [names[one.position] for one in ranked if one.loss <= worst])

    def _offered(self, known: KnownPod, nodes: Sequence[str]) -> FilterAnswer:
        self._state.refused.discard(known.uid)
        self._fit.inc()
        return FilterAnswer(nodes)

    def _refused(self, known: KnownPod, answer: FilterAnswer) -> FilterAnswer:
        """Remember and log a refusal: the pod will be tried again and again, so one line until it fits."""
        if known.uid not in self._state.refused:
            self._state.refused.add(known.uid)
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
        misfit = Misfit(Reason.BOUND_ELSEWHERE, str(known.request))
        self._decided("filter", "misfit", misfit.reason.value)
        return FilterAnswer((), unresolvable=dict.fromkeys(names, misfit.message))

    def _refusal(self, request: Request, names: Sequence[str], losses: Losses) -> FilterAnswer:
        inventory = self._state.inventory
        costly = {names[at] for at in np.flatnonzero(inventory.fleet.too_complex(losses)).tolist()}
        others = [name for name in names if name not in costly] if costly else names
        failed: dict[str, str] = {}
        unresolvable: dict[str, str] = {}
        for reason, nodes in (*inventory.by_reason(request, others).items(), (Reason.TOO_COMPLEX, costly)):
            if nodes:
                misfit = Misfit(reason, str(request))
                (failed if misfit.resolvable else unresolvable).update(dict.fromkeys(nodes, misfit.message))
                self._decided("filter", "misfit", reason.value)
        return FilterAnswer((), failed, unresolvable)

    # --- prioritize -------------------------------------------------------------------------------------------------

    def prioritize(self, pod: Pod, names: Sequence[str]) -> Mapping[str, int]:
        """A score 0…10 for every node: 10 for the best, one less for each next loss; equal losses score the same."""
        scores = dict.fromkeys(names, 0)
        if not pods.is_ours(pod):
            return scores
        known = self._state.remember(pod)
        if not known.request:
            return scores
        claim = self._state.inventory.ledger.get(known.uid)
        if claim is not None:
            return scores | ({claim.node: BEST_SCORE} if claim.node in scores else {})
        ranked = self._ranked(known, names, self._losses(known.request, names), len(names))
        score, before = BEST_SCORE, -math.inf
        for place, one in enumerate(ranked):
            if place and one.loss > before + EQUAL:
                score = max(0, score - 1)
            scores[names[one.position]], before = score, one.loss
        if _one_is_best(ranked):
            self._nominations.nominate(known.uid, known.request, names[ranked[0].position])
        elif ranked:
            self._nominations.choose(known.uid)
        return scores

    # --- bind -------------------------------------------------------------------------------------------------------

    async def bind(self, namespace: str, name: str, uid: str, node: str) -> str:
        """Choose placements on the node, claim them and bind the pod. Returns what went wrong, or nothing.

        Safe to repeat: a pod bound to that node already is a success.
        """
        error = await self._binder.bind(namespace, name, uid, node)
        if error:
            _log.warning("bind refused", pod=f"{namespace}/{name}", uid=uid, node=node, error=error)
        return error

    # --- preempt ----------------------------------------------------------------------------------------------------

    async def preempt(
        self, pod: Pod, candidates: Mapping[str, tuple[Sequence[str], int]]
    ) -> Mapping[str, tuple[Sequence[str], int]]:
        """By node, the victims (UIDs) whose eviction makes room for the pod, and how many of them violate a budget."""
        if not pods.is_ours(pod):
            return dict(candidates)
        known = self._state.remember(pod)
        if not known.request:
            return {} if known.request is None else dict(candidates)
        kept = await self._preemptor.preempt(known, known.request, candidates)
        self._decided("preempt", "fit" if kept else "misfit", "")
        return kept

    # --- inside -----------------------------------------------------------------------------------------------------

    def _losses(self, request: Request, names: Sequence[str]) -> Losses:
        """The policy's loss per node."""
        fleet = self._state.inventory.fleet
        return fleet.losses(request, fleet.rows_of(names))

    def _plain_to_see(self, known: KnownPod, request: Request, names: Sequence[str]) -> Sequence[str]:
        """The shortlist where it is plain to see, the usual case, and cheap.

        Nothing if it is not, or if worse nodes are wanted too, or other pods' nominations need a closer look.
        """
        if self._slack or self._nominations.of_others(known.uid):
            return ()
        return self._state.inventory.fleet.cheapest(request, names, self._shortlist)

    def _ranked(self, known: KnownPod, names: Sequence[str], losses: Losses, count: int) -> Sequence[_Ranked]:
        """The best nodes, best first; one that other pods were just sent to is judged as if they all lay there."""
        nominates = self._nominations.of_others(known.uid)
        best = _best(losses, count + min(count, len(nominates)))
        ranked = list(map(_Ranked, losses[best].tolist(), best.tolist()))
        if not nominates or known.request is None:
            return ranked
        for place, one in enumerate(ranked):
            nominations = nominates.get(names[one.position])
            if nominations is not None:
                ranked[place] = _Ranked(self._loss_beside(nominations, known.request), one.position)
        ranked.sort(key=lambda one: one.loss)
        return ranked[:count]

    def _loss_beside(self, nominations: Sequence[Nomination], request: Request) -> float:
        """What a request would cost on a node once the pods that were just sent there are placed."""
        fleet = self._state.inventory.fleet
        gpus = list(fleet.gpus(nominations[0].node))
        try:
            for profiles in (*(n.profiles for n in nominations), tuple(slot.profile for slot in request.slots)):
                placed = fitting.place(gpus, profiles, fleet.policy)
                if placed is None:
                    return _LAST
                loss = sum(one.loss for one in placed)
                for one in placed:
                    geometry, state = gpus[one.gpu]
                    gpus[one.gpu] = (geometry, int(geometry.step[state, geometry.placement_index[one.placement]]))
        except fitting.TooComplexError:
            return _LAST
        return loss

    def _decided(self, verb: str, outcome: str, reason: str) -> None:
        self._metrics.decisions.labels(verb, outcome, reason).inc()


def _one_is_best(ranked: Sequence[_Ranked]) -> bool:
    """Whether it is certain where a pod goes: between equals kube-scheduler chooses."""
    return len(ranked) == 1 or (len(ranked) > 1 and ranked[1].loss > ranked[0].loss + EQUAL)


def _best(losses: Losses, count: int) -> Rows:
    """Indices of the `count` least finite losses, least first; ties in the order given."""
    fitting_ones = np.flatnonzero(np.isfinite(losses))
    if len(fitting_ones) > count:
        worst = np.partition(losses[fitting_ones], count - 1)[count - 1]
        fitting_ones = fitting_ones[losses[fitting_ones] <= worst]
    order: Rows = fitting_ones[np.argsort(losses[fitting_ones], kind="stable")][:count]
    return order
