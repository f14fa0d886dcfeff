"""The kinds that only the doctor reads, in part. Decoded by `reader`; the others are those of `kubeclient.objects`."""

from typing import Any

import msgspec

from kubeclient.objects import Container, Meta
from node_agent.cluster.node_pod import NodePod, NodePodSpec, Volume


class _Part(msgspec.Struct, frozen=True, rename="camel"):
    """Base: camelCase on the wire, other fields are ignored."""


class EnvVar(_Part, frozen=True):
    """A variable of a container; without a value it comes from elsewhere."""

    name: str = ""
    value: str | None = None


class DiagnosedContainer(Container, frozen=True, rename="camel"):
    """A container with its image and variables."""

    image: str = ""
    env: tuple[EnvVar, ...] | None = None


class ConfigMapName(_Part, frozen=True):
    """A ConfigMap that a volume brings."""

    name: str = ""


class DiagnosedVolume(Volume, frozen=True, rename="camel"):
    """A volume, where it is a path of the host or a ConfigMap."""

    config_map: ConfigMapName | None = None


class DiagnosedPodSpec(NodePodSpec, frozen=True, rename="camel"):
    """A pod's spec, with variables and affinity."""

    containers: tuple[DiagnosedContainer, ...] = ()
    init_containers: tuple[DiagnosedContainer, ...] | None = None
    volumes: tuple[DiagnosedVolume, ...] | None = None
    affinity: dict[str, Any] | None = None
    service_account_name: str = ""


class DiagnosedPod(NodePod, frozen=True):
    """A pod as the doctor reads it."""

    spec: DiagnosedPodSpec = DiagnosedPodSpec()


class Named(_Part, frozen=True):
    """Any object of which only the metadata matters."""

    metadata: Meta


class Version(_Part, frozen=True):
    """What /version says."""

    git_version: str = ""
    major: str = ""
    minor: str = ""


class Template(_Part, frozen=True):
    """A pod template."""

    spec: DiagnosedPodSpec = DiagnosedPodSpec()


class WorkloadSpec(_Part, frozen=True):
    """The spec of a Deployment or a DaemonSet."""

    replicas: int | None = None
    template: Template = Template()


class WorkloadStatus(_Part, frozen=True):
    """The status of a Deployment or a DaemonSet."""

    ready_replicas: int | None = None
    number_ready: int | None = None
    desired_number_scheduled: int | None = None


class WorkloadObject(_Part, frozen=True):
    """A Deployment or a DaemonSet."""

    metadata: Meta
    spec: WorkloadSpec = WorkloadSpec()
    status: WorkloadStatus = WorkloadStatus()


class Switch(_Part, frozen=True):
    """A component that may be off; None is its default."""

    enabled: bool | None = None


class MigStrategy(_Part, frozen=True):
    """What ClusterPolicy says of MIG."""

    strategy: str | None = None


class CudaValidator(_Part, frozen=True):
    """The validator's CUDA part."""

    env: tuple[EnvVar, ...] | None = None


class Validator(_Part, frozen=True):
    """The operator's validator."""

    cuda: CudaValidator | None = None


class ClusterPolicySpec(_Part, frozen=True):
    """What decides who manages GPUs."""

    mig: MigStrategy | None = None
    device_plugin: Switch | None = None
    mig_manager: Switch | None = None
    toolkit: Switch | None = None
    cdi: Switch | None = None
    validator: Validator | None = None


class ClusterPolicy(_Part, frozen=True):
    """nvidia.com/v1 ClusterPolicy."""

    metadata: Meta
    spec: ClusterPolicySpec = ClusterPolicySpec()


class PolicyBindingSpec(_Part, frozen=True):
    """Which policy a binding binds."""

    policy_name: str = ""


class PolicyBinding(_Part, frozen=True):
    """MutatingAdmissionPolicyBinding."""

    metadata: Meta
    spec: PolicyBindingSpec = PolicyBindingSpec()


class WebhookClient(_Part, frozen=True):
    """Where a webhook is, and by whom it is certified (base64)."""

    ca_bundle: str | None = None


class CalledWebhook(_Part, frozen=True):
    """One webhook of a configuration."""

    name: str = ""
    client_config: WebhookClient = WebhookClient()


class WebhookConfiguration(_Part, frozen=True):
    """MutatingWebhookConfiguration."""

    metadata: Meta
    webhooks: tuple[CalledWebhook, ...] | None = None


class QuotaStatus(_Part, frozen=True):
    """What a quota allows, and what is used of it."""

    hard: dict[str, str | int] | None = None
    used: dict[str, str | int] | None = None


class Quota(_Part, frozen=True):
    """ResourceQuota."""

    metadata: Meta
    status: QuotaStatus = QuotaStatus()


class Limit(_Part, frozen=True):
    """One limit of a LimitRange."""

    type: str = ""
    default: dict[str, str | int] | None = None
    default_request: dict[str, str | int] | None = None


class LimitRangeSpec(_Part, frozen=True):
    """All limits of a LimitRange."""

    limits: tuple[Limit, ...] | None = None


class LimitRange(_Part, frozen=True):
    """LimitRange."""

    metadata: Meta
    spec: LimitRangeSpec = LimitRangeSpec()


class ConfigMap(_Part, frozen=True):
    """ConfigMap."""

    metadata: Meta
    data: dict[str, str] | None = None


class Graph(_Part, frozen=True):
    """DynamoGraphDeployment, of either version: its spec is read by `decoding`."""

    metadata: Meta
    spec: dict[str, Any] | None = None


class CrdVersion(_Part, frozen=True):
    """One version of a CRD."""

    name: str = ""
    served: bool = False
    schema: dict[str, Any] | None = None


class CrdSpec(_Part, frozen=True):
    """The versions of a CRD."""

    versions: tuple[CrdVersion, ...] = ()


class CustomResourceDefinition(_Part, frozen=True):
    """CustomResourceDefinition."""

    metadata: Meta
    spec: CrdSpec = CrdSpec()


class AgentCondition(_Part, frozen=True):
    """A condition of a MigNode."""

    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""


class AgentSaid(_Part, frozen=True):
    """Who wrote a MigNode's status."""

    version: str = ""
    mode: str = ""


class ConditionsOnly(_Part, frozen=True):
    """What of a MigNode's status the contract with the scheduler has not."""

    agent: AgentSaid | None = None
    conditions: tuple[AgentCondition, ...] | None = None
