"""PodConstraints: what a pod says about the nodes where it may run.

Made by the scheduler's cache from a Pod, kept in snapshot files, judged by `verdict`.
"""

from dataclasses import dataclass, replace

from allocator.eligibility.amounts import ONE_POD, Amounts
from allocator.eligibility.host_port import HostPort
from allocator.eligibility.node import Taint
from allocator.eligibility.node_selector import NodeSelectorTerm
from allocator.eligibility.pod_selector import PodSelector

VOLUMES = "volumes"  # as answers name what was not judged
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
    """Where a volume can be used: its required node affinity (None if it has none), and its zonal labels.

    A volume that is not `bound` is made when its pod has a node: `affinity` says where it can be made, and `node` is
    the only node if one has been chosen already. `problem` says why it can be used nowhere yet. `claim` is set where
    only one pod at a time may use it (ReadWriteOncePod): namespace and name, `namespace/name`. `unjudged` names what of
    it cannot be told.
    """

    name: str
    affinity: tuple[NodeSelectorTerm, ...] | None = None
    zones: tuple[tuple[str, tuple[str, ...]], ...] = ()  # label, and the values of which a node must have one
    bound: bool = True
    node: str = ""
    problem: str = ""
    claim: str = ""
    unjudged: str = ""


@dataclass(frozen=True, slots=True)
class SpreadConstraint:
    """A topology spread constraint that has to hold (DoNotSchedule): how many of the selected pods a domain may have
    more than the one with the fewest. Domains are the values of a label of nodes.

    `matches_itself` says whether the pod is one of those selected; None if that is not known.
    """

    topology_key: str
    max_skew: int
    selector: PodSelector
    matches_itself: bool | None
    min_domains: int = 1
    honors_affinity: bool = True
    honors_taints: bool = False


@dataclass(frozen=True, slots=True)
class PodAffinityTerm:
    """A required term of inter-pod affinity or anti-affinity: near the selected pods, or away from them. Near are nodes
    with the same value of a label. `matches_itself` is as in SpreadConstraint.
    """

    topology_key: str
    selector: PodSelector
    matches_itself: bool | None = False


@dataclass(frozen=True, slots=True)
class PodConstraints:
    """What a pod asks of its node beside slices; nothing, as it stands.

    `node_affinity` are the terms of the required node affinity, one of which must hold; None if there is none.
    `requests` counts the pod itself. `spread`, `affinity`, `anti_affinity` and `host_ports` look at other pods
    (`neighbours`). `unjudged` names what else it asks and nobody here looks at: resource claims, volumes that have not
    been read, and what cannot be read.
    """

    node_name: str = ""
    node_selector: tuple[tuple[str, str], ...] = ()
    node_affinity: tuple[NodeSelectorTerm, ...] | None = None
    tolerations: tuple[Toleration, ...] = ()
    requests: Amounts = ONE_POD
    volumes: tuple[VolumeTopology, ...] = ()
    unjudged: tuple[str, ...] = ()
    spread: tuple[SpreadConstraint, ...] = ()
    affinity: tuple[PodAffinityTerm, ...] = ()
    anti_affinity: tuple[PodAffinityTerm, ...] = ()
    host_ports: tuple[HostPort, ...] = ()

    @property
    def beside_others(self) -> tuple[str, ...]:
        """The names of what it asks that cannot be judged without the other pods of the cluster."""
        asked = {
            "inter-pod affinity": self.affinity,
            "inter-pod anti-affinity": self.anti_affinity,
            "topology spread": self.spread,
            "host ports": self.host_ports,
        }
        return tuple(name for name, terms in asked.items() if terms)

    def with_volumes(self, volumes: tuple[VolumeTopology, ...]) -> "PodConstraints":
        """The same, with its volumes known."""
        return replace(self, volumes=volumes, unjudged=tuple(what for what in self.unjudged if what != VOLUMES))

    def labels(self) -> set[str]:
        """The node labels that decide where the pod may run, but for those of zones."""
        terms = [*(self.node_affinity or ()), *(term for volume in self.volumes for term in volume.affinity or ())]
        named = {requirement.key for term in terms for requirement in term.expressions}
        return named | {key for key, _ in self.node_selector}
