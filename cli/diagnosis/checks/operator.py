"""Checks of the GPU Operator: what it is set to, and what of it still manages a node of ours."""

from collections.abc import Iterator

from cli.diagnosis import drivers, objects
from cli.diagnosis.finding import Check, Level, Seen, Severity
from cli.diagnosis.picture import ClusterPicture, PicturedNode
from cli.diagnosis.text import command
from node_agent.cluster import coexistence

PAGE = "gpu-operator.md"
PLUGIN_LABEL = "nvidia.com/gpu.deploy.device-plugin"
MANAGER_LABEL = "nvidia.com/gpu.deploy.mig-manager"
DRA_LABEL = "nvidia.com/gpu.deploy.dra-driver"
WORKLOAD = "WITH_WORKLOAD"
_RUNTIME_NEEDED = ("runtime", "mounts", "env")  # ways of `inject` that need NVIDIA's container runtime
_VARIABLE_READ = ("mounts", "env")  # those that need it to be the default runtime


def patch_policy(name: str, patch: str) -> str:
    """The command that patches a ClusterPolicy."""
    return command("kubectl", "patch", "clusterpolicy", name, "--type=merge", "--patch", patch)


def label_node(name: str, *labels: str) -> str:
    """The command that labels a node."""
    return command("kubectl", "label", "node", name, "--overwrite", *labels)


def is_on(switch: objects.Switch | None) -> bool:
    """Whether a component of the operator is on; by default it is."""
    return switch is None or switch.enabled is not False


def mig_strategy(picture: ClusterPicture) -> Iterator[Seen]:
    """A strategy other than `mixed`: resources are not named after profiles."""
    for policy in picture.cluster_policies:
        strategy = (policy.spec.mig and policy.spec.mig.strategy) or ""
        if strategy != "mixed":
            fix = patch_policy(policy.metadata.name, '{"spec":{"mig":{"strategy":"mixed"}}}')
            yield Seen(f"clusterpolicy/{policy.metadata.name}", "spec.mig.strategy", strategy or "not set", fix)


def validator_workload(picture: ClusterPicture) -> Iterator[Seen]:
    """The operator's validator starts a pod that asks for a GPU, and waits for it where no plugin advertises one."""
    for policy in picture.cluster_policies:
        cuda = policy.spec.validator and policy.spec.validator.cuda
        values = [env.value for env in (cuda and cuda.env) or () if env.name == WORKLOAD]
        if "false" not in values and picture.managed:
            patch = f'{{"spec":{{"validator":{{"cuda":{{"env":[{{"name":"{WORKLOAD}","value":"false"}}]}}}}}}}}'
            yield Seen(
                f"clusterpolicy/{policy.metadata.name}",
                f"spec.validator.cuda.env[{WORKLOAD}]",
                str(values[0]) if values else "not set",
                patch_policy(policy.metadata.name, patch),
            )


def native_cdi(picture: ClusterPicture) -> Iterator[Seen]:
    """Agents that leave the driver's files to NVIDIA's runtime, where the runtime resolves CDI names itself."""
    for policy in picture.cluster_policies:
        seen = None
        if picture.inject in _RUNTIME_NEEDED and not is_on(policy.spec.toolkit):
            seen = ("spec.toolkit.enabled", "false")
        elif picture.inject in _VARIABLE_READ and is_on(policy.spec.cdi):
            seen = ("spec.cdi.enabled", "true")
        if seen is not None:
            value = f"{seen[1]}, and agents have inject: {picture.inject}"
            target = ("daemonset/migsched-agent", "--namespace", picture.agent_namespace)
            fix = command("kubectl", "set", "env", *target, "MIGSCHED_AGENT_INJECT=cdi")
            yield Seen(f"clusterpolicy/{policy.metadata.name}", seen[0], value, fix)


def gpu_cluster(picture: ClusterPicture) -> Iterator[Seen]:
    """A GPUCluster gives new GPU nodes to NVIDIA's DRA driver."""
    unguarded = [node.name for node in picture.managed if node.labels.get(DRA_LABEL) != "false"]
    for cluster in picture.gpu_clusters:
        if unguarded:
            value = f"{len(unguarded)} nodes of migsched without {DRA_LABEL}=false"
            fix = label_node(unguarded[0], f"{DRA_LABEL}=false")
            yield Seen(f"gpucluster/{cluster.metadata.name}", "metadata.name", value, fix)


def dra_driver(picture: ClusterPicture) -> Iterator[Seen]:
    """A node of ours that the operator gives to its DRA driver."""
    for node in picture.managed:
        words = coexistence.served_by_dra(node.labels)
        if words is not None:
            fix = label_node(node.name, f"{DRA_LABEL}=false")
            yield Seen(f"node/{node.name}", "metadata.labels", words, fix, node=node.name)


def device_plugin(picture: ClusterPicture) -> Iterator[Seen]:
    """A pod of NVIDIA's device plugin or MIG manager on a node of ours."""
    managed = {node.name for node in picture.managed}
    for pod in picture.pods:
        if pod.rival and pod.node in managed:
            labels = (f"{key}={value}" for key, value in coexistence.OPERATOR_LABELS.items())
            yield Seen(f"pod/{pod.title}", "spec.nodeName", pod.rival, label_node(pod.node, *labels), node=pod.node)


def mig_manager(picture: ClusterPicture) -> Iterator[Seen]:
    """A node of ours on which the MIG manager is deployed: it cuts GPUs by its own configuration."""
    yield from _labels(picture, MANAGER_LABEL, any(is_on(p.spec.mig_manager) for p in picture.cluster_policies))


def device_plugin_label(picture: ClusterPicture) -> Iterator[Seen]:
    """A node of ours on which the operator deploys the device plugin."""
    yield from _labels(picture, PLUGIN_LABEL, any(is_on(p.spec.device_plugin) for p in picture.cluster_policies))


def _labels(picture: ClusterPicture, label: str, deployed: bool) -> Iterator[Seen]:
    for node in picture.managed if deployed else ():
        if label in coexistence.to_assert(node.labels):
            value = node.labels.get(label, "not set")
            fix = label_node(node.name, f"{label}=false")
            yield Seen(f"node/{node.name}", f"metadata.labels[{label}]", value, fix, node=node.name)


def old_driver(picture: ClusterPicture) -> Iterator[Seen]:
    """A driver that is older than the first one that cuts the node's GPUs."""
    for node in picture.managed:
        seen = _old_driver(picture, node)
        if seen is not None:
            yield seen


def _old_driver(picture: ClusterPicture, node: PicturedNode) -> Seen | None:
    report = picture.reports_by_node.get(node.name)
    for gpu in report.gpus if report is not None and node.driver is not None else ():
        minimum = drivers.MINIMUMS.get(gpu.catalogue.model) if gpu.catalogue is not None else None
        if minimum is not None and node.driver is not None and node.driver < minimum.branch:
            value = f"{node.driver}, and GPU {gpu.index} ({gpu.product}) needs {minimum.branch}"
            patch = f'{{"spec":{{"driver":{{"version":"{drivers.NEW}"}}}}}}'
            policy = next((policy.metadata.name for policy in picture.cluster_policies), "cluster-policy")
            return Seen(
                f"node/{node.name}",
                f"metadata.labels[{drivers.LABELS[0]}]",
                value,
                patch_policy(policy, patch),
                node.name,
            )
    return None


_FIELDS = (Level.CLUSTER, Severity.ERROR)
CHECKS = (
    Check(
        "mig-strategy",
        *_FIELDS,
        "The GPU Operator's MIG strategy is not mixed",
        f"{PAGE}#what-to-set",
        ("cluster_policies",),
        mig_strategy,
    ),
    Check(
        "native-cdi-without-toolkit",
        *_FIELDS,
        "Containers would start without the driver's files: agents leave them to NVIDIA's container runtime",
        f"{PAGE}#what-to-set",
        ("cluster_policies", "agents"),
        native_cdi,
    ),
    Check(
        "validator-workload",
        Level.CLUSTER,
        Severity.WARNING,
        "The operator's validator waits for a GPU that no device plugin advertises",
        f"{PAGE}#what-to-set",
        ("cluster_policies", "nodes"),
        validator_workload,
    ),
    Check(
        "gpu-cluster-present",
        Level.CLUSTER,
        Severity.WARNING,
        "GPUCluster gives GPU nodes to NVIDIA's DRA driver",
        f"{PAGE}#gpucluster",
        ("gpu_clusters", "nodes"),
        gpu_cluster,
    ),
    Check(
        "dra-driver-serves-node",
        Level.NODE,
        Severity.ERROR,
        "NVIDIA's DRA driver serves the node's GPUs",
        f"{PAGE}#gpucluster",
        ("nodes",),
        dra_driver,
    ),
    Check(
        "other-manager-running",
        Level.NODE,
        Severity.ERROR,
        "A pod of NVIDIA's device plugin or MIG manager manages the node's GPUs",
        f"{PAGE}#hand-a-node-over",
        ("nodes", "pods"),
        device_plugin,
    ),
    Check(
        "device-plugin-enabled",
        Level.NODE,
        Severity.ERROR,
        "The operator deploys its device plugin to the node",
        f"{PAGE}#hand-a-node-over",
        ("nodes", "cluster_policies"),
        device_plugin_label,
    ),
    Check(
        "mig-manager-enabled",
        Level.NODE,
        Severity.ERROR,
        "The operator deploys its MIG manager to the node",
        f"{PAGE}#hand-a-node-over",
        ("nodes", "cluster_policies"),
        mig_manager,
    ),
    Check(
        "driver-too-old",
        Level.NODE,
        Severity.ERROR,
        "The driver cannot cut this GPU",
        f"{PAGE}#drivers",
        ("nodes", "reports"),
        old_driver,
    ),
)
