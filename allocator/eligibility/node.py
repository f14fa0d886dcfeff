"""NodeFacts: what is known of a node beside its GPUs, as far as it decides which pods may run there.

Made by the scheduler's cache from a Node, kept in snapshot files, judged by `verdict`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from allocator.eligibility.amounts import NOTHING, Amounts

NO_SCHEDULE, NO_EXECUTE = "NoSchedule", "NoExecute"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
NOT_READY, UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"


@dataclass(frozen=True, slots=True)
class Taint:
    """A taint of a node: what keeps pods away that do not tolerate it."""

    key: str
    effect: str
    value: str = ""

    def __str__(self) -> str:
        return f"{self.key}={self.value}:{self.effect}" if self.value else f"{self.key}:{self.effect}"

    @property
    def keeps_away(self) -> bool:
        """Whether it keeps new pods away, and does not only make the node the second choice."""
        return self.effect in (NO_SCHEDULE, NO_EXECUTE)


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """A node as kube-scheduler judges it.

    `ready` is False where its Ready condition is False or Unknown. `labels` are None where they are too many to be
    kept. `allocatable` is what all its pods together may ask for. `unreadable` says in words what of the node could not
    be read, and is therefore not judged.
    """

    name: str
    unschedulable: bool = False
    ready: bool = True
    taints: tuple[Taint, ...] = ()
    labels: Mapping[str, str] | None = field(default_factory=dict)
    allocatable: Amounts = NOTHING
    unreadable: tuple[str, ...] = ()
