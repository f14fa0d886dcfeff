"""Coexistence: what else manages this node's GPUs. Pure but for reading a directory; used by service and loop.

A GPU's geometry has one writer, and a resource one plugin: the newest registration replaces the former. So the agent
does not serve beside NVIDIA's device plugin, nor on a node whose slices NVIDIA's DRA driver hands out. The GPU
Operator deploys its components by node labels and may rewrite them; where told to, the agent sets them back.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from kubeclient.objects import Pod

OPERATOR_LABELS: Mapping[str, str] = {
    "nvidia.com/gpu.deploy.device-plugin": "false",
    "nvidia.com/gpu.deploy.mig-manager": "false",
}
REGISTRY = Path("/var/lib/kubelet/plugins_registry")
_DRA_SOCKET = "gpu.nvidia.com*-reg.sock"
_PLUGIN_LABELS = (
    ("app", "nvidia-device-plugin-daemonset"),  # GPU Operator
    ("name", "nvidia-device-plugin-ds"),  # the plain manifest
    ("app.kubernetes.io/name", "nvidia-device-plugin"),  # the Helm chart
    ("app", "nvidia-mig-manager"),
)


def conflict(pods: Iterable[Pod], registry: Path = REGISTRY) -> str | None:
    """Why the agent must not serve devices here, in words; None if it may."""
    for pod in pods:
        labels = pod.metadata.labels or {}
        if not pod.is_over and any(labels.get(key) == value for key, value in _PLUGIN_LABELS):
            return f"pod {pod.title} manages this node's GPUs; label the node " + " and ".join(
                f"{key}={value}" for key, value in OPERATOR_LABELS.items()
            )
    if any(registry.glob(_DRA_SOCKET)):
        return f"NVIDIA's DRA driver serves this node's GPUs ({registry}); take it off the node or migsched's agent"
    return None


def to_assert(labels: Mapping[str, str] | None) -> dict[str, str]:
    """The labels that have to be set (again), given those the node has."""
    present = labels or {}
    return {key: value for key, value in OPERATOR_LABELS.items() if present.get(key) != value}
