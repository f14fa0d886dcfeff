"""The Kubernetes objects that both services read, decoded into only the fields that are used: at 5,000 nodes full
models would cost hundreds of megabytes and tens of seconds (docs/adr/0004).

A new field here is decoded for every pod of the cluster and held by every cache of pods.
"""

from typing import Protocol

import msgspec


class OwnerReference(msgspec.Struct, frozen=True):
    """An owner reference."""

    kind: str
    name: str
    controller: bool | None = None


class Meta(msgspec.Struct, frozen=True, rename="camel"):
    """The metadata we read."""

    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    annotations: dict[str, str] | None = None
    labels: dict[str, str] | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    owner_references: tuple[OwnerReference, ...] | None = None


class Object(Protocol):
    """An object with metadata."""

    @property
    def metadata(self) -> Meta:
        """The object's metadata."""


class Resources(msgspec.Struct, frozen=True):
    """A container's resource quantities, as Kubernetes writes them."""

    limits: dict[str, str | int] | None = None
    requests: dict[str, str | int] | None = None


class Container(msgspec.Struct, frozen=True, rename="camel"):
    """What the effective-request rule reads of a container."""

    name: str = ""
    resources: Resources | None = None
    restart_policy: str | None = None


class SchedulingGate(msgspec.Struct, frozen=True):
    """What keeps kube-scheduler from looking at a pod."""

    name: str = ""


class PodSpec(msgspec.Struct, frozen=True, rename="camel"):
    """What we read of a pod's spec."""

    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] | None = None
    node_name: str = ""
    scheduler_name: str = ""
    priority: int | None = None
    scheduling_gates: tuple[SchedulingGate, ...] | None = None
    active_deadline_seconds: int | None = None


MIRROR_ANNOTATION = "kubernetes.io/config.mirror"  # on a static pod's mirror, whose deletion ends nothing
TERMINAL_PHASES = frozenset({"Succeeded", "Failed"})


class PodCondition(msgspec.Struct, frozen=True):
    """A condition of a pod: what its `type` is about, and why it is so."""

    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""


class PodStatus(msgspec.Struct, frozen=True, rename="camel"):
    """What we read of a pod's status."""

    phase: str = ""
    nominated_node_name: str = ""
    reason: str = ""
    message: str = ""
    start_time: str | None = None
    conditions: tuple[PodCondition, ...] | None = None


class Pod(msgspec.Struct, frozen=True):
    """A v1.Pod, in part."""

    metadata: Meta
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def is_over(self) -> bool:
        """Whether the pod's containers are finished for good."""
        return self.status.phase in TERMINAL_PHASES

    @property
    def title(self) -> str:
        """`namespace/name`, for people."""
        return f"{self.metadata.namespace}/{self.metadata.name}"


class NodeSystemInfo(msgspec.Struct, frozen=True, rename="camel"):
    """A v1.NodeSystemInfo, in part."""

    container_runtime_version: str = ""


class NodeStatus(msgspec.Struct, frozen=True, rename="camel"):
    """A v1.NodeStatus, in part."""

    node_info: NodeSystemInfo = NodeSystemInfo()


class Node(msgspec.Struct, frozen=True):
    """A v1.Node, in part."""

    metadata: Meta


class NodeWithStatus(Node, frozen=True):
    """A v1.Node with its status, in part."""

    status: NodeStatus = NodeStatus()
