"""The DaemonSet's pod on a real kubelet: it starts with its privileges and mounts, and finds what the agent needs.

The agent's image waits in it: what the node gives the pod is looked at here, and the agent itself in `test_images`.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from testbed.control_plane.control_plane import ControlPlane
from testbed.image.build import BuiltImage
from testbed.node.real_node import RealNode
from tests.e2e.real_node import product_pods

pytestmark = pytest.mark.e2e

NAMESPACE = "migsched-agents"
POD = "agent"
PYTHON = "/opt/migsched/bin/python"
_WAIT = "import signal; signal.pause()"


@pytest.fixture(scope="module")
def waiting(cluster: ControlPlane, images: Mapping[str, BuiltImage]) -> dict[str, Any]:
    """The pod of deploy/agent with the agent's image, but for command, probes, token and the propagation of mounts."""
    pod = product_pods.agent(cluster, POD)
    (agent,) = pod["spec"]["containers"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        del agent[probe]
    agent |= {"image": images["agent"].name, "imagePullPolicy": "Never", "command": [PYTHON, "-c", _WAIT]}
    pod["spec"]["automountServiceAccountToken"] = False  # no controller makes the ConfigMap that comes with it
    return pod


@pytest.fixture(scope="module")
def running(
    cluster: ControlPlane, node: RealNode, waiting: dict[str, Any], images: Mapping[str, BuiltImage]
) -> Iterator[RealNode]:
    """The node with the pod running on it; it waited until somebody handed the node over."""
    node.import_images(images["agent"].archive)
    cluster.apply([waiting])
    unschedulable = "--for=jsonpath={.status.conditions[?(@.type=='PodScheduled')].reason}=Unschedulable"
    cluster.kubectl("wait", f"pod/{POD}", f"--namespace={NAMESPACE}", unschedulable, "--timeout=30s")
    cluster.kubectl("label", "node", node.name, "migsched.io/agent=true", "nvidia.com/gpu.present=true")
    cluster.kubectl("wait", f"pod/{POD}", f"--namespace={NAMESPACE}", "--for=condition=Ready", "--timeout=60s")
    yield node
    cluster.kubectl("delete", "pod", POD, f"--namespace={NAMESPACE}", "--grace-period=1")
    cluster.kubectl("label", "node", node.name, "migsched.io/agent-", "nvidia.com/gpu.present-")


def inside(node: RealNode, script: str) -> str:
    """What a line of Python prints in the pod, the modules os, stat and pathlib's Path at hand."""
    script = f"import os, stat; from pathlib import Path; {script}"
    return node.exec_in_pod(POD, PYTHON, "-c", script, namespace=NAMESPACE).stdout.strip()


def test_the_agent_finds_the_kubelet(running: RealNode) -> None:
    """The kubelet's sockets of device plugins and PodResources are where the agent's settings look for them."""
    for socket in ("/var/lib/kubelet/device-plugins/kubelet.sock", "/var/lib/kubelet/pod-resources/kubelet.sock"):
        assert inside(running, f"print(Path({socket!r}).is_socket())") == "True", socket
    assert inside(running, "print(Path('/var/lib/kubelet/plugins_registry').is_dir())") == "True"


def test_what_it_writes_reaches_the_node(running: RealNode) -> None:
    """CDI specifications, sockets and the journal are written on the node, and nothing else can be."""
    for directory in ("/var/run/cdi", "/var/lib/kubelet/device-plugins", "/var/lib/migsched"):
        inside(running, f"Path({directory!r}, 'written').touch()")
    (running.cdi_directory / "written").unlink()
    (running.device_plugin_directory / "written").unlink()
    inside(running, "Path('/var/lib/migsched/written').unlink()")
    read_only = ["/", "/var/lib/kubelet/pod-resources", "/var/lib/kubelet/plugins_registry", "/run/nvidia", "/host-etc"]
    flags = f"print([path for path in {read_only} if not os.statvfs(path).f_flag & os.ST_RDONLY])"
    assert inside(running, flags) == "[]"


def test_it_sees_the_nodes_devices_and_processes(running: RealNode) -> None:
    """Device nodes are the host's, also those that are made later, and processes of other pods are visible."""
    commands = "print([path.read_bytes()[:200] for path in Path('/proc').glob('[0-9]*/cmdline')])"
    assert "kubelet" in inside(running, commands)
    here = {path.name for path in Path("/dev").iterdir()}
    assert set(inside(running, "print(*os.listdir('/dev'))").split()) >= here
