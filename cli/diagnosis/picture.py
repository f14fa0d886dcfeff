"""ClusterPicture: what was read of a cluster at one moment, or why it was not. Immutable; made by `reader`, asked by
`checks`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, TypeVar

from allocator.claims.report import MigMode
from allocator.mig.catalogue import Catalogue
from cli.diagnosis import objects
from kubeclient.changes import UnreadableObject

T = TypeVar("T")

AGENT_LABEL = "migsched.io/agent"
SIMULATED = "simulated"  # the mode of an agent that runs as no pod
OBSERVING = "observer"  # the mode of an agent that only looks: the node is another manager's


@dataclass(frozen=True, slots=True)
class Look(Generic[T]):
    """What there is of one kind. `why_not` says why it was not looked at; `absent`: the API server has no such kind."""

    items: tuple[T, ...] = ()
    unreadable: tuple[UnreadableObject, ...] = ()
    why_not: str = ""
    absent: bool = False

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)


@dataclass(frozen=True, slots=True)
class PicturedNode:
    """A Node. `driver` is its branch, such as 580, by GPU feature discovery; None where that says nothing."""

    name: str
    labels: dict[str, str]
    driver: int | None


@dataclass(frozen=True, slots=True)
class PicturedGpu:
    """A GPU of a MigNode."""

    index: int
    uuid: str
    product: str
    mig_mode: MigMode
    healthy: bool
    message: str
    catalogue: Catalogue | None


@dataclass(frozen=True, slots=True)
class PicturedReport:
    """A MigNode. `problem` says why it cannot be used; `written` whether its agent has ever written its status.

    `unjudged` names a catalogue that was not compiled, for which the GPUs were left out.
    """

    node: str
    gpus: tuple[PicturedGpu, ...] = ()
    problem: str = ""
    version: str = ""
    mode: str = ""
    conditions: tuple[objects.AgentCondition, ...] = ()
    written: bool = True
    unjudged: str = ""


@dataclass(frozen=True, slots=True)
class PicturedPod:
    """A pod that has to do with GPUs, or is one of ours.

    `asks`: it asks for slices. `placed`: it has a placement annotation.
    `opted_out`: it is labelled to stay out of the queue. `variables` are (container, name, value) of
    those that choose GPUs. `pinned` are the nodes that its affinity names, if it names any. `rival` says in words that
    it manages its node's GPUs. `owner` is what makes
    it, such as `Deployment/chat`. `code` and `reason` are what `scheduler.explain` says of it. `agent`: it is an agent
    of ours.
    """

    namespace: str
    name: str
    uid: str
    node: str
    scheduler: str
    asks: bool = False
    uses_gpus: bool = False
    placed: bool = False
    over: bool = False
    opted_out: bool = False
    variables: tuple[tuple[str, str, str], ...] = ()
    pinned: tuple[str, ...] = ()
    rival: str = ""
    agent: bool = False
    ready: bool = False
    owner: str = ""
    code: str = ""
    reason: str = ""

    @property
    def title(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class PicturedGraph:
    """A DynamoGraphDeployment. `schedulers` are those that its pods which ask for slices name."""

    namespace: str
    name: str
    grove: bool
    schedulers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PicturedLease:
    """A Lease. `idle_s` is for how long its holder has not renewed it, by this machine's clock; None if unknown."""

    namespace: str
    name: str
    holder: str
    duration_s: int
    idle_s: float | None


@dataclass(frozen=True, slots=True)
class PicturedCertificate:
    """A certificate of a webhook's caBundle. `days` are left; negative if it has run out, None if it is unreadable."""

    configuration: str
    webhook: str
    days: float | None


@dataclass(frozen=True, slots=True)
class PicturedRight:
    """What an account has to be allowed, in words, by which ClusterRole, and whether it is."""

    account: str
    right: str
    role: str
    allowed: bool


@dataclass(frozen=True, slots=True)
class PicturedExtender:
    """The resources that a ConfigMap's KubeSchedulerConfiguration names for our extender; `problem`: it is no YAML."""

    namespace: str
    name: str
    resources: frozenset[str] = frozenset()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class PicturedService:
    """What our service says of itself: its version, empty if it does not tell, and how many objects it left out."""

    where: str
    version: str = ""
    unreadable: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class PicturedCrd:
    """The MigNode CRD: the fields that the served version lacks, of those that this version writes and reads."""

    name: str
    served: bool
    lacking: tuple[str, ...]


NOT_READ: Look[Any] = Look(why_not="not read")


@dataclass(frozen=True)
class ClusterPicture:
    """The picture. What was not read has a reason in its Look."""

    scheduler_namespace: str = "migsched-system"
    agent_namespace: str = "migsched-agents"
    program: str = "migsched"
    version: Look[objects.Version] = NOT_READ
    nodes: Look[PicturedNode] = NOT_READ
    reports: Look[PicturedReport] = NOT_READ
    pods: Look[PicturedPod] = NOT_READ
    namespaces: Look[objects.Named] = NOT_READ
    services: Look[objects.WorkloadObject] = NOT_READ
    agents: Look[objects.WorkloadObject] = NOT_READ
    leases: Look[PicturedLease] = NOT_READ
    cluster_policies: Look[objects.ClusterPolicy] = NOT_READ
    gpu_clusters: Look[objects.Named] = NOT_READ
    gates: Look[objects.Named] = NOT_READ
    gate_bindings: Look[objects.PolicyBinding] = NOT_READ
    webhooks: Look[objects.Named] = NOT_READ
    certificates: Look[PicturedCertificate] = NOT_READ
    graphs: Look[PicturedGraph] = NOT_READ
    grove: Look[objects.Named] = NOT_READ
    quotas: Look[objects.Quota] = NOT_READ
    limit_ranges: Look[objects.LimitRange] = NOT_READ
    extenders: Look[PicturedExtender] = NOT_READ
    rights: Look[PicturedRight] = NOT_READ
    crd: Look[PicturedCrd] = NOT_READ
    service: Look[PicturedService] = NOT_READ
    service_version: Look[str] = NOT_READ
    explanation: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def nodes_by_name(self) -> dict[str, PicturedNode]:
        """The Nodes."""
        return {node.name: node for node in self.nodes}

    @cached_property
    def reports_by_node(self) -> dict[str, PicturedReport]:
        """The MigNodes."""
        return {report.node: report for report in self.reports}

    @cached_property
    def managed(self) -> tuple[PicturedNode, ...]:
        """The Nodes whose GPUs migsched manages: labelled for an agent, or reported by one that does not observe."""
        return tuple(node for node in self.nodes if self._is_managed(node))

    def _is_managed(self, node: PicturedNode) -> bool:
        report = self.reports_by_node.get(node.name)
        if report is not None and report.mode:
            return report.mode != OBSERVING
        return node.labels.get(AGENT_LABEL) == "true"

    @cached_property
    def queueing(self) -> bool:
        """Whether a service of ours places queued pods, by its Deployment's variables."""
        return any(_variable(service, "MIGSCHED_QUEUE").lower() in ("true", "1") for service in self.services)

    @cached_property
    def inject(self) -> str:
        """How agents give slices to containers, by their DaemonSet's variables."""
        said = (_variable(agent, "MIGSCHED_AGENT_INJECT") for agent in self.agents)
        return next((value for value in said if value), "cdi")


def _variable(workload: objects.WorkloadObject, name: str) -> str:
    spec = workload.spec.template.spec
    containers = (*spec.containers, *(spec.init_containers or ()))
    values = (env.value for container in containers for env in container.env or () if env.name == name)
    return next((value for value in values if value), "")


def looks(picture: ClusterPicture) -> dict[str, Look[Any]]:
    """Every look of a picture, by name."""
    return {name: value for name, value in vars(picture).items() if isinstance(value, Look)}
