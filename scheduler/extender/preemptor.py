"""Whom to evict so that a pod's slices fit: kube-scheduler's victims completed, PodDisruptionBudgets respected where
that is possible. Asked by the extender's preempt verb.

kube-scheduler counts slices and does not see where they lie, and up to version 1.37 it names no victims at all where
only we refused. So its victims are kept where they suffice, and pods of lower priority are added where they do not.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence

import structlog

from allocator import errors
from allocator.planning import preemption
from allocator.request import Request
from scheduler.cache.budgets import Allowance
from scheduler.cache.cluster_cache import ClusterCache, KnownPod
from scheduler.cache.disruption_budget import PodDisruptionBudget
from scheduler.cache.port import Cluster

_log = structlog.get_logger("preemptor")

CHOICES = 20  # nodes to preempt on that kube-scheduler gets to choose from; it starts from some 100 candidates
BUDGETS_TTL_S = 1.0  # how long budgets are used before they are read again: many pods may ask at once


class Preemptor:
    """Chooses victims by what the state knows and the cluster's budgets allow."""

    def __init__(self, state: ClusterCache, cluster: Cluster, *, budgets_ttl_s: float = BUDGETS_TTL_S) -> None:
        self._state = state
        self._cluster = cluster
        self._budgets_ttl_s = budgets_ttl_s
        self._budgets: Sequence[PodDisruptionBudget] = ()
        self._budgets_until = 0.0

    async def preempt(
        self, pod: KnownPod, request: Request, candidates: Mapping[str, tuple[Sequence[str], int]]
    ) -> Mapping[str, tuple[Sequence[str], int]]:
        """By node, the victims (UIDs) whose eviction makes room, those that kube-scheduler named first, and how many of
        them violate a budget: kube-scheduler prefers nodes with few.

        Nodes where nothing helps are dropped, and so are those that come after enough to choose from. A node can take
        tens of milliseconds, so other calls go in between.
        """
        budgets = await self._current_budgets()
        kept = {}
        for node, (named, violations) in candidates.items():
            added = self._added(pod, request, node, named, budgets)
            if added is not None and (named or added):  # nothing to evict: it fits by now, the next filter will say so
                kept[node] = ([*named, *added], violations + self._violating(named, added, budgets))
            if len(kept) == CHOICES:
                break
            await asyncio.sleep(0)
        return kept

    def _added(
        self,
        pod: KnownPod,
        request: Request,
        node: str,
        named: Sequence[str],
        budgets: Sequence[PodDisruptionBudget],
    ) -> Sequence[str] | None:
        """The pods to evict beside those named, if possible none that a budget protects; None if no eviction helps."""
        lower = [
            other
            for claim in self._state.inventory.ledger.on_node(node)
            if (other := self._state.pods.get(claim.uid)) is not None and other.priority < pod.priority
        ]
        unprotected = [other for other in lower if not Allowance(budgets).violated_by(other)]
        for evictable in (unprotected, lower) if len(unprotected) < len(lower) else (lower,):
            candidates = [preemption.Candidate(other.uid, other.priority) for other in evictable]
            victims = preemption.victims(self._state.inventory, request, node, frozenset(named), candidates)
            if victims is not None:
                return victims
        return None

    def _violating(self, named: Sequence[str], added: Sequence[str], budgets: Sequence[PodDisruptionBudget]) -> int:
        """How many of those added violate a budget, of which those named have their part already."""
        allowance = Allowance(budgets)
        violating = 0
        for uid in (*named, *added):
            victim = self._state.pods.get(uid)
            if victim is not None and allowance.violated_by(victim) and uid in added:
                violating += 1
        return violating

    async def _current_budgets(self) -> Sequence[PodDisruptionBudget]:
        """The cluster's budgets as of a moment ago; those read last, or none, where they cannot be read."""
        if time.monotonic() >= self._budgets_until:
            self._budgets_until = time.monotonic() + self._budgets_ttl_s
            try:
                self._budgets = await self._cluster.disruption_budgets()
            except errors.ClusterError as error:
                _log.warning("cannot read PodDisruptionBudgets", error=str(error))
        return self._budgets
