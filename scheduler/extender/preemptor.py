"""Whom to evict so that a pod's slices fit: kube-scheduler's victims completed, PodDisruptionBudgets respected where
that is possible. Asked by the extender's preempt verb.

kube-scheduler counts slices and does not see where they lie, and up to version 1.37 it names no victims at all where
only we refused. So its victims are kept where they suffice, and pods of lower priority are added where they do not.

What is not known of budgets does not count as leave to evict: no pod is added whose budgets could not be read, and the
answer says so. kube-scheduler's own victims stand, since it reads the budgets itself.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
_NAMED, _SHOWN = 5, 500  # namespaces that a note names, and characters of an error
BUDGETS_TTL_S = 1.0  # how long budgets are used before they are read again: many pods may ask at once


@dataclass(frozen=True, slots=True)
class Preemption:
    """By node, the victims (UIDs) and how many of them violate a budget; `note` says what could not be considered."""

    victims: Mapping[str, tuple[Sequence[str], int]]
    note: str = ""


class Preemptor:
    """Chooses victims by what the state knows and the cluster's budgets allow."""

    def __init__(self, state: ClusterCache, cluster: Cluster, *, budgets_ttl_s: float = BUDGETS_TTL_S) -> None:
        self._state = state
        self._cluster = cluster
        self._budgets_ttl_s = budgets_ttl_s
        self._budgets: Sequence[PodDisruptionBudget] | None = None  # None where they are not known
        self._problem = ""  # why not
        self._reading = asyncio.Lock()
        self._forgetting: asyncio.TimerHandle | None = None

    async def preempt(
        self, pod: KnownPod, request: Request, candidates: Mapping[str, tuple[Sequence[str], int]]
    ) -> Preemption:
        """By node, the victims (UIDs) whose eviction makes room, those that kube-scheduler named first, and how many of
        them violate a budget: kube-scheduler prefers nodes with few.

        Nodes where nothing helps are dropped, and so are those that come after enough to choose from. A node can take
        tens of milliseconds, so other calls go in between.
        """
        budgets = await self._current_budgets()
        kept: dict[str, tuple[Sequence[str], int]] = {}
        for node, (named, violations) in candidates.items():
            added = self._added(pod, request, node, named, budgets)
            if added is not None and (named or added):  # nothing to evict: it fits by now, the next filter will say so
                kept[node] = ([*named, *added], violations + self._violating(named, added, budgets))
            if len(kept) == CHOICES:
                break
            await asyncio.sleep(0)
        return Preemption(kept, self._note(budgets))

    def _added(
        self,
        pod: KnownPod,
        request: Request,
        node: str,
        named: Sequence[str],
        budgets: Sequence[PodDisruptionBudget] | None,
    ) -> Sequence[str] | None:
        """The pods to evict beside those named, if possible none that a budget protects; None if no eviction helps."""
        unknown = _unreadable(budgets or ())
        lower = [
            other
            for claim in self._state.inventory.ledger.on_node(node)
            if (other := self._state.pods.get(claim.uid)) is not None
            and other.priority < pod.priority
            and budgets is not None
            and other.namespace not in unknown
        ]
        budgets = budgets or ()
        unprotected = [other for other in lower if not Allowance(budgets).violated_by(other)]
        for evictable in (unprotected, lower) if len(unprotected) < len(lower) else (lower,):
            candidates = [preemption.Candidate(other.uid, other.priority) for other in evictable]
            victims = preemption.victims(self._state.inventory, request, node, frozenset(named), candidates)
            if victims is not None:
                return victims
        return None

    def _violating(
        self, named: Sequence[str], added: Sequence[str], budgets: Sequence[PodDisruptionBudget] | None
    ) -> int:
        """How many of those added violate a budget, of which those named have their part already."""
        allowance = Allowance(budgets or ())
        violating = 0
        for uid in (*named, *added):
            victim = self._state.pods.get(uid)
            if victim is not None and allowance.violated_by(victim) and uid in added:
                violating += 1
        return violating

    def _note(self, budgets: Sequence[PodDisruptionBudget] | None) -> str:
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
