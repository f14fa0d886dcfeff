"""CurrentBudgets: the cluster's PodDisruptionBudgets as of a moment ago. Asked by preemption, for the extender and for
the queue.
"""

import asyncio
from collections.abc import Sequence

import structlog

from allocator import errors
from scheduler.cache.disruption_budget import PodDisruptionBudget
from scheduler.cache.port import Cluster

_log = structlog.get_logger("preemptor")

BUDGETS_TTL_S = 1.0  # how long budgets are used before they are read again: many pods may ask at once
_NAMED, _SHOWN = 5, 500  # namespaces that a note names, and characters of an error


class CurrentBudgets:
    """Read once for all that ask at a time, and forgotten after `ttl_s`: they may be many megabytes."""

    def __init__(self, cluster: Cluster, *, ttl_s: float = BUDGETS_TTL_S) -> None:
        self._cluster = cluster
        self._ttl_s = ttl_s
        self._budgets: Sequence[PodDisruptionBudget] | None = None  # None where they are not known
        self._problem = ""  # why not
        self._reading = asyncio.Lock()
        self._forgetting: asyncio.TimerHandle | None = None

    async def read(self) -> Sequence[PodDisruptionBudget] | None:
        """The budgets; None where they cannot be read."""
        async with self._reading:
            if self._forgetting is None:
                try:
                    self._budgets, self._problem = await self._cluster.disruption_budgets(), ""
                except errors.ClusterError as error:
                    self._budgets, self._problem = None, str(error)[:_SHOWN]
                    _log.warning("cannot read PodDisruptionBudgets", error=self._problem)
                loop = asyncio.get_running_loop()
                self._forgetting = loop.call_later(self._ttl_s, self.forget)
            return self._budgets

    def forget(self) -> None:
        """They are old by now: somebody was evicted, or time has passed."""
        if self._forgetting is not None:
            self._forgetting.cancel()
        self._budgets = self._forgetting = None

    def note(self, budgets: Sequence[PodDisruptionBudget] | None) -> str:
        """What is not known of the budgets that were read, in words; empty if all is."""
        if budgets is None:
            return f"no pods but those named are evicted: PodDisruptionBudgets could not be read: {self._problem}"
        unknown = sorted(unreadable(budgets))
        if not unknown:
            return ""
        more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
        names = ", ".join(unknown[:_NAMED]) + more
        return f"no pods of {names} are evicted but those named: a PodDisruptionBudget there could not be read"


def unreadable(budgets: Sequence[PodDisruptionBudget]) -> frozenset[str]:
    """The namespaces with a budget that could not be read."""
    return frozenset(budget.metadata.namespace for budget in budgets if budget.unreadable)
