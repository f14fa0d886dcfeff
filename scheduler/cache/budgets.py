"""PodDisruptionBudgets: which pods each covers and what it still allows, by the rules of Kubernetes. Called by
`snapshots` and `preemptor`.

A budget covers pods of its own namespace that its label selector matches. No selector matches nothing, an empty one
everything (policy/v1). A budget whose status is older than its spec allows nothing, as the eviction API has it.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from allocator.claims.snapshot_file import DisruptionBudget
from scheduler.cooperative import paced


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
    def labels(self) -> Mapping[str, str]:
        """Its labels."""


class _Meta(msgspec.Struct, frozen=True):
    name: str
    namespace: str = ""
    generation: int = 0


class Requirement(msgspec.Struct, frozen=True):
    """One of a selector's `matchExpressions`."""

    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: tuple[str, ...] | None = None

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether labels meet it; `NotIn` is met by labels without the key."""
        if self.operator in ("Exists", "DoesNotExist"):
            return (self.key in labels) is (self.operator == "Exists")
        among = labels.get(self.key) in (self.values or ())
        return among if self.operator == "In" else not among


class Selector(msgspec.Struct, frozen=True, rename="camel"):
    """A metav1.LabelSelector: everything in it must match."""

    match_labels: dict[str, str] | None = None
    match_expressions: tuple[Requirement, ...] | None = None

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether labels are selected."""
        exact = all(labels.get(key) == value for key, value in (self.match_labels or {}).items())
        return exact and all(one.matches(labels) for one in self.match_expressions or ())


class _Spec(msgspec.Struct, frozen=True):
    selector: Selector | None = None


class _Status(msgspec.Struct, frozen=True, rename="camel"):
    disruptions_allowed: int = 0
    observed_generation: int = 0
    disrupted_pods: dict[str, msgspec.Raw] | None = None  # by name: on their way out, and counted already


class PodDisruptionBudget(msgspec.Struct, frozen=True):
    """A policy/v1 PodDisruptionBudget, in part."""

    metadata: _Meta
    spec: _Spec = _Spec()
    status: _Status = _Status()

    @property
    def allowed(self) -> int:
        """How many of its pods may be disrupted now."""
        current = self.status.observed_generation >= self.metadata.generation
        return max(0, self.status.disruptions_allowed) if current else 0

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Whether it covers pods of its namespace with these labels."""
        return self.spec.selector is not None and self.spec.selector.matches(labels)


class Allowance:
    """What budgets still allow, while one pod after the other is taken away in thought."""

    def __init__(self, budgets: Sequence[PodDisruptionBudget]) -> None:
        self._left = [(one, [one.allowed]) for one in budgets]

    def violated_by(self, pod: Labelled) -> bool:
        """Take a pod away, and whether some budget that covers it did not allow that any more."""
        violated = False
        for budget, left in self._left:
            if (
                budget.metadata.namespace == pod.namespace
                and budget.selects(pod.labels)
                and pod.name not in (budget.status.disrupted_pods or ())
            ):
                left[0] -= 1
                violated = violated or left[0] < 0
        return violated


class Groups:
    """Pods by namespace and labels: those of one owner mostly share a mapping of labels, so few have to be matched."""

    def __init__(self) -> None:
        self._groups: dict[str, dict[int, tuple[Mapping[str, str], list[str]]]] = {}

    def add(self, pod: Labelled) -> None:
        """One more pod; its labels must live as long as this."""
        _, uids = self._groups.setdefault(pod.namespace, {}).setdefault(id(pod.labels), (pod.labels, []))
        uids.append(pod.uid)

    async def covered(self, budget: PodDisruptionBudget) -> DisruptionBudget:
        """A budget with those of the pods that it covers; in small steps, while nothing is added."""
        meta = budget.metadata
        found: list[str] = []
        async for labels, uids in paced(self._groups.get(meta.namespace, {}).values()):
            if budget.selects(labels):
                found += uids
        return DisruptionBudget(meta.namespace, meta.name, budget.allowed, tuple(sorted(found)))
