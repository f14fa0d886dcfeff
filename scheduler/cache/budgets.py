"""PodDisruptionBudgets together: which pods each covers, and what they still allow while pods are taken away.

A pod whose labels are not known is taken to be covered by every budget of its namespace.

Asked by `snapshots` (the pods of each budget) and by preemption (which victims violate one).
"""

from collections.abc import Sequence
from typing import Protocol

from allocator.claims.disruption_budget import DisruptionBudget
from scheduler.cache.disruption_budget import PodDisruptionBudget
from scheduler.cache.pod_labels import PodLabels
from scheduler.cooperative import STEP_S, paced


class Labelled(Protocol):
    """What has to be known of a pod."""

    @property
    def uid(self) -> str:
        """Its UID."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def namespace(self) -> str:
        """Its namespace."""

    @property
    def labels(self) -> PodLabels | None:
        """Its labels; None where they are not known."""


class Allowance:
    """What budgets still allow, while one pod after the other is taken away in thought."""

    def __init__(self, budgets: Sequence[PodDisruptionBudget]) -> None:
        self._left = [(budget, [budget.allowed]) for budget in budgets]

    def violated_by(self, pod: Labelled) -> bool:
        """Take a pod away, and whether some budget that covers it did not allow that any more."""
        violated = False
        for budget, left in self._left:
            if _covers(budget, pod) and pod.name not in (budget.status.disrupted_pods or ()):
                left[0] -= 1
                violated = violated or left[0] < 0
        return violated


def covering(budgets: Sequence[PodDisruptionBudget], pod: Labelled) -> int:
    """How many budgets cover a pod. Kubernetes evicts none that more than one covers."""
    return sum(_covers(budget, pod) for budget in budgets)


def _covers(budget: PodDisruptionBudget, pod: Labelled) -> bool:
    return budget.metadata.namespace == pod.namespace and (pod.labels is None or budget.selects(pod.labels.mapping()))


class Groups:
    """Pods by namespace and labels: those of one owner mostly share their labels, so few have to be matched."""

    def __init__(self) -> None:
        self._groups: dict[str, dict[PodLabels | None, list[str]]] = {}

    def add(self, pod: Labelled) -> None:
        """One more pod."""
        self._groups.setdefault(pod.namespace, {}).setdefault(pod.labels, []).append(pod.uid)

    async def covered(self, budget: PodDisruptionBudget, step_s: float = STEP_S) -> DisruptionBudget:
        """A budget with those of the pods that it covers; in small steps, while nothing is added."""
        meta = budget.metadata
        covered: list[str] = []
        async for labels, uids in paced(self._groups.get(meta.namespace, {}).items(), step_s):
            if labels is None or budget.selects(labels.mapping()):
                covered += uids
        return DisruptionBudget(meta.namespace, meta.name, budget.allowed, tuple(sorted(covered)))
