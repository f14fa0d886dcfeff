"""The configuration of a node's programs: namespaces, containerd, CNI and kubelet. Called by `real_node`.

Choices that differ from a production node, and why:

- The kubelet serves no port: anyone who reaches it could run commands as root. So no `kubectl logs` and `exec`;
  `RealNode` has its own.
- Nothing of the machine is changed. The kubelet adds no iptables chains, containerd loads no AppArmor profile, and the
  kernel settings that a kubelet would set (kernel.panic among them) are replaced, in the node's sight only, by files
  that hold the values it wants.
- Pods have addresses on a bridge in the node's own network namespace, and so have the node and its kubelet. They reach
  each other, and of this machine the API server's port alone, under the node's address and that of the Service
  `kubernetes`. There is no service proxy.
- No eviction, no enforced reservations, no garbage collection of images: a full disk is not what is tried here.
- containerd does not fsync and may not lower oom_score_adj, which root without CAP_SYS_RESOURCE may not do either.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from testbed.control_plane import service_network
from testbed.node import build, debian, image, layout

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

_POD_SUBNET = "10.244.0.0/24"  # each node has a network namespace of its own, so all may use the same
_BRIDGE = "pods"
NODE_ADDRESS = "10.244.0.1"  # in that network; the pods' gateway
KERNEL_SETTINGS = {  # what kubelet wants them to be: SetSysctl in pkg/kubelet/cm/container_manager_linux.go
    "kernel/keys/root_maxbytes": 25_000_000,
    "kernel/keys/root_maxkeys": 1_000_000,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
}


def write(
    place: layout.NodeLayout,
    programs: build.NodeBinaries,
    tools: debian.Tools,
    kubelet: Mapping[str, Any] | None = None,
    *,
    api_server_port: int,
) -> None:
    """Write every configuration file, and make the directories that they name.

    `api_server_port` is that of the API server on this machine's loopback.
    """
    for directory in (place.kubelet, place.cdi, place.containerd, place.logs, place.config / "cni"):
        directory.mkdir(parents=True, exist_ok=True)
    for name, value in KERNEL_SETTINGS.items():
        file = _kernel_setting(place, name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{value}\n", encoding="ascii")
    (place.config / "namespaces.json").write_text(json.dumps(_namespaces(place, api_server_port)), encoding="utf-8")
    (place.config / "containerd.toml").write_text(_containerd(place, programs, tools), encoding="utf-8")
    (place.config / "cni" / "bridge.conflist").write_text(json.dumps(_cni()), encoding="utf-8")
    (place.config / "kubelet.yaml").write_text(yaml.safe_dump(_kubelet(place) | dict(kubelet or {})), encoding="utf-8")


def write_boot_id(place: layout.NodeLayout, boot_id: str) -> None:
    """Set what the node takes for the kernel's random id of this boot."""
    (place.config / "boot-id").write_text(f"{boot_id}\n", encoding="ascii")


def kubelet_flags(place: layout.NodeLayout, name: str, kubeconfig: Path, labels: Mapping[str, str]) -> list[str]:
    """The kubelet's flags, which are what its configuration file cannot say."""
    return [
        f"--config={place.config / 'kubelet.yaml'}",
        f"--kubeconfig={kubeconfig}",
        f"--hostname-override={name}",
        f"--node-ip={NODE_ADDRESS}",
        f"--root-dir={layout.KUBELET_ROOT}",
        f"--node-labels={','.join(f'{key}={value}' for key, value in labels.items())}",
    ]


def _namespaces(place: layout.NodeLayout, api_server_port: int) -> dict[str, Any]:
    """The configuration of `go/`, which makes the namespaces: type config in go/run.go."""
    mounts = {
        place.kubelet: layout.KUBELET_ROOT,
        place.containerd: layout.CONTAINERD_ROOT,
        place.cdi: layout.CDI,
        place.logs: layout.LOGS,
        place.config / "boot-id": BOOT_ID,
        **{_kernel_setting(place, name): Path("/proc/sys") / name for name in KERNEL_SETTINGS},
    }
    return {
        "cgroup": place.cgroup,
        "pid_file": str(place.pid_file),
        "hidden": [str(path) for path in layout.HIDDEN],
        "binds": [{"source": str(source), "target": str(target)} for source, target in mounts.items()],
        "bridge": _BRIDGE,
        "bridge_address": f"{NODE_ADDRESS}/{_POD_SUBNET.partition('/')[2]}",
        "api_server_port": api_server_port,
        "service_address": service_network.API_SERVER,
        "service_port": service_network.API_SERVER_PORT,
    }


def _kernel_setting(place: layout.NodeLayout, name: str) -> Path:
    return place.config / "sysctl" / name


def _containerd(place: layout.NodeLayout, programs: build.NodeBinaries, tools: debian.Tools) -> str:
    def quoted(*values: Path | str) -> str:
        return ", ".join(json.dumps(str(value)) for value in values)  # a JSON string is a TOML string

    return f"""version = 3
root = {quoted(layout.CONTAINERD_ROOT)}
state = {quoted(layout.CONTAINERD_STATE)}
imports = []

[grpc]
address = {quoted(layout.CONTAINERD_SOCKET)}

[plugins.'io.containerd.cri.v1.images']
pinned_images = {{ sandbox = {quoted(image.PAUSE)} }}

[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true
disable_apparmor = true
enable_cdi = true
cdi_spec_dirs = [{quoted(layout.CDI)}]

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
options = {{ BinaryName = {quoted(tools.runc)}, SystemdCgroup = false }}

[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = [{quoted(programs.cni)}]
conf_dir = {quoted(place.config / "cni")}
use_internal_loopback = true

[plugins.'io.containerd.internal.v1.opt']
path = {quoted(layout.CONTAINERD_ROOT / "opt")}

[plugins.'io.containerd.metadata.v1.bolt']
no_sync = true

[plugins.'io.containerd.nri.v1.nri']
disable = true
"""


def _cni() -> dict[str, Any]:
    bridge = {
        "type": "bridge",
        "bridge": _BRIDGE,
        "isGateway": True,
        "ipMasq": False,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": _POD_SUBNET}]],
            "routes": [{"dst": service_network.SUBNET}],
            "dataDir": "/run/cni",
        },
    }
    return {"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge]}


def _kubelet(place: layout.NodeLayout) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{place.cgroup}",
        "containerRuntimeEndpoint": f"unix://{layout.CONTAINERD_SOCKET}",
        "enableServer": False,
        "enforceNodeAllocatable": ["none"],
        "evictionHard": {"memory.available": "1Mi", "nodefs.available": "1Mi", "imagefs.available": "1Mi"},
        "failCgroupV1": False,
        "failSwapOn": False,
        "healthzPort": 0,
        "imageGCHighThresholdPercent": 100,
        "kubeAPIBurst": 5000,
        "kubeAPIQPS": 5000,
        "localStorageCapacityIsolation": False,
        "makeIPTablesUtilChains": False,
        "nodeStatusUpdateFrequency": "1s",  # extended resources reach the API server with the next node status
        "oomScoreAdj": 0,
        "podLogsDir": str(layout.LOGS / "pods"),
        "readOnlyPort": 0,
        "resolvConf": "",
        "shutdownGracePeriod": "0s",
        "volumePluginDir": str(layout.KUBELET_ROOT / "volume-plugins"),
    }
