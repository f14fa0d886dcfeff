"""A policy/v1 PodDisruptionBudget as the API server gives it, in part, and what it selects.

A budget covers pods of its own namespace that its label selector matches. No selector matches nothing, an empty one
everything (policy/v1). A budget whose status is older than its spec allows nothing, as the eviction API has it. Crosses
the port to Kubernetes beside MigNode; `budgets` says what several of them allow together.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

from kubeclient.changes import UnreadableObject


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
        return exact and all(requirement.matches(labels) for requirement in self.match_expressions or ())


class _Spec(msgspec.Struct, frozen=True):
    selector: Selector | None = None


class _Status(msgspec.Struct, frozen=True, rename="camel"):
    disruptions_allowed: int = 0
    observed_generation: int = 0
    disrupted_pods: dict[str, str] | None = None  # by name, since when: on their way out, and counted already


class PodDisruptionBudget(msgspec.Struct, frozen=True):
    """A policy/v1 PodDisruptionBudget, in part; or one that is `unreadable`, of which only the name is known."""

    metadata: _Meta
    spec: _Spec = _Spec()
    status: _Status = _Status()
    unreadable: bool = False

    @property
    def allowed(self) -> int:
        """How many of its pods may be disrupted now."""
        current = self.status.observed_generation >= self.metadata.generation
        return max(0, self.status.disruptions_allowed) if current else 0

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Whether it covers pods of its namespace with these labels."""
        return self.spec.selector is not None and self.spec.selector.matches(labels)


def strictest(unreadable: UnreadableObject) -> PodDisruptionBudget:
    """What a budget that cannot be read is taken for: it covers all pods of its namespace, and allows nothing."""
    return PodDisruptionBudget(_Meta(unreadable.name, unreadable.namespace), _Spec(Selector()), unreadable=True)
