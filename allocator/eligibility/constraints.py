"""PodConstraints: what a pod says about the nodes where it may run.

Made by the scheduler's cache from a Pod, kept in snapshot files, judged by `verdict`.
"""

from dataclasses import dataclass

from allocator.eligibility.amounts import ONE_POD, Amounts
from allocator.eligibility.node import Taint
from allocator.eligibility.node_selector import NodeSelectorTerm

COMPARISONS = ("Gt", "Lt")  # of tolerations: a feature that clusters have switched off unless they say otherwise


@dataclass(frozen=True, slots=True)
class Toleration:
    """Taints that a pod puts up with: of this key, or any without one; of this effect, or any without one."""

    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""

    def tolerates(self, taint: Taint) -> bool | None:
        """Whether it covers a taint; None if that depends on a feature of the cluster."""
        if (self.effect and self.effect != taint.effect) or (self.key and self.key != taint.key):
            return False
        if self.operator in ("", "Equal"):
            return self.value == taint.value
        if self.operator in COMPARISONS:
            return None
        return self.operator == "Exists"


@dataclass(frozen=True, slots=True)
class VolumeTopology:
    """Where a bound volume can be used: its required node affinity (None if it has none), and its zonal labels."""

    name: str
    affinity: tuple[NodeSelectorTerm, ...] | None = None
    zones: tuple[tuple[str, tuple[str, ...]], ...] = ()  # label, and the values of which a node must have one


@dataclass(frozen=True, slots=True)
class PodConstraints:
    """What a pod asks of its node beside slices; nothing, as it stands.

    `node_affinity` are the terms of the required node affinity, one of which must hold; None if there is none.
    `requests` counts the pod itself. `unjudged` names what else it asks and nobody here looks at: inter-pod affinity,
    topology spread, host ports, volumes that are not bound, and what cannot be read.
    """

    node_name: str = ""
    node_selector: tuple[tuple[str, str], ...] = ()
    node_affinity: tuple[NodeSelectorTerm, ...] | None = None
    tolerations: tuple[Toleration, ...] = ()
    requests: Amounts = ONE_POD
    volumes: tuple[VolumeTopology, ...] = ()
    unjudged: tuple[str, ...] = ()

    def labels(self) -> set[str]:
        """The node labels that decide where the pod may run, but for those of zones."""
        terms = [*(self.node_affinity or ()), *(term for volume in self.volumes for term in volume.affinity or ())]
        named = {requirement.key for term in terms for requirement in term.expressions}
        return named | {key for key, _ in self.node_selector}
