"""The DaemonSet's pod on a real kubelet: it starts with its privileges and mounts, and finds what the agent needs.

The image is another one, for want of the agent's: what the node gives the pod is looked at, not the agent.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from testbed.control_plane.control_plane import ControlPlane
from testbed.node import image
from testbed.node.real_node import RealNode
from tests.e2e.real_node import pods
from tests.unit.deploy import manifests

pytestmark = pytest.mark.e2e

NAMESPACE = "migsched-agents"
POD = "agent"


@pytest.fixture(scope="module")
def template(cluster: ControlPlane) -> dict[str, Any]:
    """The pod of deploy/agent, but for image, command, probes, token and the propagation of mounts."""
    folder = manifests.DEPLOY / "agent"
    cluster.kubectl("apply", "--server-side", "--validate=strict", f"--kustomize={folder}")
    objects = yaml.safe_load_all(cluster.kubectl("kustomize", str(folder)).stdout)
    (daemon_set,) = (one for one in objects if one["kind"] == "DaemonSet")
    spec: dict[str, Any] = daemon_set["spec"]["template"]["spec"]
    (agent,) = spec["containers"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        del agent[probe]
    agent |= {"image": image.BUSYBOX, "imagePullPolicy": "Never", "command": ["sh", "-c", pods.FOREVER]}
    for mount in agent["volumeMounts"]:
        mount.pop("mountPropagation", None)  # this node's /run is not shared, as systemd makes it
    spec["automountServiceAccountToken"] = False  # no controller makes the ConfigMap that comes with it
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": POD, "namespace": NAMESPACE}, "spec": spec}


@pytest.fixture(scope="module")
def running(cluster: ControlPlane, node: RealNode, template: dict[str, Any]) -> Iterator[RealNode]:
    """The node with the pod running on it; it waited until somebody handed the node over."""
    cluster.apply([template])
    unschedulable = "--for=jsonpath={.status.conditions[?(@.type=='PodScheduled')].reason}=Unschedulable"
    cluster.kubectl("wait", f"pod/{POD}", f"--namespace={NAMESPACE}", unschedulable, "--timeout=30s")
    cluster.kubectl("label", "node", node.name, "migsched.io/agent=true", "nvidia.com/gpu.present=true")
    cluster.kubectl("wait", f"pod/{POD}", f"--namespace={NAMESPACE}", "--for=condition=Ready", "--timeout=60s")
    yield node
    cluster.kubectl("delete", "pod", POD, f"--namespace={NAMESPACE}", "--grace-period=1")
    cluster.kubectl("label", "node", node.name, "migsched.io/agent-", "nvidia.com/gpu.present-")


def inside(node: RealNode, *command: str, check: bool = True) -> str:
    """What one of busybox's programs writes in the pod."""
    done = node.exec_in_pod(POD, "busybox", *command, namespace=NAMESPACE, check=check)
    return done.stdout + done.stderr


def test_the_agent_finds_the_kubelet(running: RealNode) -> None:
    """The kubelet's sockets of device plugins and PodResources are where the agent's settings look for them."""
    for socket in ("/var/lib/kubelet/device-plugins/kubelet.sock", "/var/lib/kubelet/pod-resources/kubelet.sock"):
        inside(running, "test", "-S", socket)
    inside(running, "test", "-d", "/var/lib/kubelet/plugins_registry")


def test_what_it_writes_reaches_the_node(running: RealNode) -> None:
    """CDI specifications, sockets and the journal are written on the node, and nothing else can be."""
    for directory in ("/var/run/cdi", "/var/lib/kubelet/device-plugins", "/var/lib/migsched"):
        inside(running, "touch", f"{directory}/written")
    (running.cdi_directory / "written").unlink()
    (running.device_plugin_directory / "written").unlink()
    inside(running, "rm", "/var/lib/migsched/written")
    for directory in (
        "/",
        "/var/lib/kubelet/pod-resources",
        "/var/lib/kubelet/plugins_registry",
        "/run/nvidia",
        "/host-etc",
    ):
        assert "Read-only file system" in inside(running, "touch", f"{directory}/written", check=False), directory


def test_it_sees_the_nodes_devices_and_processes(running: RealNode) -> None:
    """Device nodes are the host's, also those that are made later, and processes of other pods are visible."""
    assert "kubelet" in inside(running, "ps")
    assert set(inside(running, "ls", "/dev").split()) >= {one.name for one in Path("/dev").iterdir()}
