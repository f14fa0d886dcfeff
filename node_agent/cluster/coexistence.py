"""Coexistence: what else manages this node's GPUs. Pure but for reading a directory; used by service and loop.

A GPU's geometry has one writer, and a resource one plugin: the newest registration replaces the former. So the agent
does not serve beside NVIDIA's device plugin, nor on a node whose slices NVIDIA's DRA driver hands out. The GPU
Operator deploys its components by node labels and may rewrite them; where told to, the agent sets them back.

Any user can give a pod NVIDIA's labels. So a pod counts only if it also mounts a path of the host that the component
cannot do without and that Pod Security keeps from ordinary pods; sockets are in directories of the host alone, and
labels of a node are set by those who may patch nodes.

GPU Operator 26.7 has a second stack beside ClusterPolicy: GPUCluster, which serves a node by the DRA driver. The
operator then deletes the labels that keep the device plugin away, so they are not set there. (Source: GPU Operator's
node labelling controller. The DRA driver's plugin selects nodes by `gpu.deploy.dra-driver` alone, and an existing value
of it is kept, so `false` keeps the driver off a node.)
"""

import socket
from collections.abc import Iterable, Mapping
from pathlib import Path

from node_agent.cluster.node_pod import NodePod

OPERATOR_LABELS: Mapping[str, str] = {
    "nvidia.com/gpu.deploy.device-plugin": "false",
    "nvidia.com/gpu.deploy.mig-manager": "false",
}
REGISTRY = Path("/var/lib/kubelet/plugins_registry")
PLUGIN_DIRECTORY = Path("/var/lib/kubelet/device-plugins")
_DRA_SOCKET = "gpu.nvidia.com*-reg.sock"
_PLUGIN_SOCKET = "nvidia-*.sock"  # k8s-device-plugin: one for each resource, named after it
_ANSWER_S = 0.1
_PLUGINS = PLUGIN_DIRECTORY.name
_SYSTEM = "sys"
# What NVIDIA's own manifests label the pods of a component with, and the last part of a host path that they mount.
_COMPONENTS = (
    ("app", "nvidia-device-plugin-daemonset", _PLUGINS),  # GPU Operator
    ("name", "nvidia-device-plugin-ds", _PLUGINS),  # the plain manifest
    ("app.kubernetes.io/name", "nvidia-device-plugin", _PLUGINS),  # the Helm chart
    ("app", "nvidia-mig-manager", _SYSTEM),
)
_DRA_LABEL = "nvidia.com/gpu.deploy.dra-driver"
_MODE_LABEL = "nvidia.com/gpu-operator.resource-allocation.mode"  # which stack serves the node: device-plugin or dra
_MODE_DRA = "dra"
_DRA_FIX = f"label the node {_DRA_LABEL}=false, or take migsched's agent off it"
_FIX = "label the node " + " and ".join(f"{key}={value}" for key, value in OPERATOR_LABELS.items())


def rival(pod: NodePod) -> str | None:
    """That a pod manages this node's GPUs, in words; None if it does not."""
    if pod.is_over or not pod.host_paths:
        return None
    labels = pod.metadata.labels or {}
    mounted = {path.rpartition("/")[2] for path in pod.host_paths}
    if any(labels.get(key) == value and path in mounted for key, value, path in _COMPONENTS):
        return f"pod {pod.title} manages this node's GPUs; {_FIX}"
    return None


def conflict(rivals: Iterable[str], registry: Path = REGISTRY, plugin_directory: Path = PLUGIN_DIRECTORY) -> str | None:
    """Why the agent must not serve devices here, in words; None if it may. `rivals` are pods, as `rival` names them."""
    for words in rivals:
        return words
    for path in sorted(plugin_directory.glob(_PLUGIN_SOCKET)):
        if _is_served(path):
            return f"NVIDIA's device plugin serves this node's GPUs ({path}); {_FIX}"
    for path in sorted(registry.glob(_DRA_SOCKET)):
        if _is_served(path):
            return f"NVIDIA's DRA driver serves this node's GPUs ({path}); {_DRA_FIX}"
    return None


def served_by_dra(labels: Mapping[str, str] | None) -> str | None:
    """That the GPU Operator gives this node to its DRA driver (GPUCluster), in words; None if it does not."""
    deployed = (labels or {}).get(_DRA_LABEL, "")
    mode = (labels or {}).get(_MODE_LABEL, "")
    if deployed and deployed != "false":
        return f"GPUCluster serves this node's GPUs by NVIDIA's DRA driver (label {_DRA_LABEL}={deployed}); {_DRA_FIX}"
    if mode == _MODE_DRA and not deployed:
        return f"GPUCluster serves this node's GPUs by NVIDIA's DRA driver (label {_MODE_LABEL}={mode}); {_DRA_FIX}"
    return None


def _is_served(path: Path) -> bool:
    """Whether a process listens on a socket: one that was killed leaves it behind."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_ANSWER_S)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def to_assert(labels: Mapping[str, str] | None) -> dict[str, str]:
    """The labels that have to be set (again), given those the node has; none where GPUCluster serves it."""
    if served_by_dra(labels) is not None:
        return {}
    present = labels or {}
    return {key: value for key, value in OPERATOR_LABELS.items() if present.get(key) != value}
