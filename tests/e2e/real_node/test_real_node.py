"""A real kubelet with a real container runtime runs pods, hands devices to them, and survives what nodes survive."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.control_plane import build as control_plane_build
from testbed.control_plane.control_plane import ControlPlane
from testbed.node import build, configuration, errors
from testbed.node.real_node import RealNode
from tests.e2e.real_node import pods
from tests.e2e.real_node.device_plugin import DevicePlugin

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module", autouse=True)
def _cleared(cluster: ControlPlane, node: RealNode) -> Iterator[None]:
    """These tests leave no pod, no other node and no device to those of other files, which share the node."""
    yield
    (node.cdi_directory / "example.json").unlink(missing_ok=True)
    pods.clear(cluster, keep=node.name)


def test_the_node_is_ready_with_the_versions_that_were_built(cluster: ControlPlane, node: RealNode) -> None:
    """The Node object is Ready and reports kubelet and containerd by the versions that the go.mod files name."""
    found = pods.read(cluster, "node", "n1")
    info = found["status"]["nodeInfo"]
    assert info["kubeletVersion"] == control_plane_build.kubernetes_version()
    assert info["containerRuntimeVersion"] == f"containerd://{build.containerd_version()}" == "containerd://2.4.2"
    assert found["metadata"]["labels"]["accelerator"] == "simulated"
    assert {one["status"] for one in found["status"]["conditions"] if one["type"] == "Ready"} == {"True"}


def test_a_scheduled_pod_runs_and_its_output_is_read(cluster: ControlPlane, node: RealNode) -> None:
    """A pod that kube-scheduler places on the node runs there, and what it wrote and what runs in it can be read."""
    found = pods.run(cluster, pods.pod("hello", f"echo hello from $HOSTNAME; {pods.FOREVER}"))
    assert found["spec"]["nodeName"] == "n1"
    pods.eventually(lambda: node.pod_log("hello") == "hello from hello\n", "the pod's output")
    assert node.exec_in_pod("hello", "cat", "/etc/hostname").stdout == "hello\n"
    assert node.exec_in_pod("hello", "false", check=False).returncode == 1
    cluster.kubectl("delete", "pod", "hello", f"--timeout={pods.SECONDS:g}s")


def test_a_pod_that_is_not_there_is_named(cluster: ControlPlane, node: RealNode) -> None:
    """Asking a pod that does not exist, or does not run, for something says which and why."""
    with pytest.raises(errors.PodError, match='pods "nobody" not found'):
        node.exec_in_pod("nobody", "true")
    cluster.apply([pods.pod("done", "exit 0", node="n1", restart="Never")])
    cluster.kubectl(
        "wait", "pod/done", "--for=jsonpath={.status.containerStatuses[0].state.terminated}", "--timeout=30s"
    )
    with pytest.raises(errors.PodError, match=r"no running container: main \(terminated\)"):
        node.exec_in_pod("done", "true")


def test_pods_are_probed_over_http_and_reach_the_api_server_alone(cluster: ControlPlane, node: RealNode) -> None:
    """The kubelet's probes and this machine reach a pod; the pod reaches the API server's port and no other here."""
    served = pods.pod("web", "mkdir /www; echo here > /www/index.html; exec busybox httpd -f -p 8080 -h /www")
    served["spec"]["containers"][0]["readinessProbe"] = {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1}
    ready = pods.run(cluster, served)
    with node.connect(ready["status"]["podIP"], 8080) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert connection.makefile("rb").read().endswith(b"here\n")

    def reaches(port: str) -> bool:
        command = ("busybox", "nc", "-w", "2", configuration.NODE_ADDRESS, port, "-e", "/bin/true")
        return node.exec_in_pod("web", *command, check=False).returncode == 0

    assert ready["status"]["hostIP"] == configuration.NODE_ADDRESS
    assert reaches(cluster.url.rpartition(":")[2])
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert not reaches(str(other.getsockname()[1]))
    cluster.kubectl("delete", "pod", "web", f"--timeout={pods.SECONDS:g}s")


def test_pods_that_come_cut_nobody_off(cluster: ControlPlane, node: RealNode) -> None:
    """The way out of a pod stays where it is while others come: none of them sends to an address that is no more."""
    pods.run(cluster, pods.pod("first", pods.FOREVER, node="n1"))
    port = cluster.url.rpartition(":")[2]
    ask = ("busybox", "nc", "-w", "2", configuration.NODE_ADDRESS, port, "-e", "/bin/true")

    def way_out() -> str:
        """The hardware address to which the pod sends what is for the node, when it has sent something."""
        node.exec_in_pod("first", *ask)
        lines = map(str.split, node.exec_in_pod("first", "cat", "/proc/net/arp").stdout.splitlines())
        return next(fields[3] for fields in lines if fields[0] == configuration.NODE_ADDRESS)

    before = way_out()
    for number in range(4):
        pods.run(cluster, pods.pod(f"next-{number}", pods.FOREVER, node="n1"))
        assert way_out() == before == "02:00:00:00:00:01"
    cluster.kubectl("delete", "pods", "--all", f"--timeout={pods.SECONDS:g}s")


def test_a_device_reaches_the_container_by_its_cdi_spec(cluster: ControlPlane, node: RealNode) -> None:
    """The container's process has the environment that the CDI spec of the device, which the plugin named, says."""
    spec = {
        "cdiVersion": "0.6.0",
        "kind": "example.com/slice",
        "devices": [
            {"name": one, "containerEdits": {"env": [f"NVIDIA_VISIBLE_DEVICES=MIG-{one}"]}} for one in ("a", "b")
        ],
    }
    (node.cdi_directory / "example.json").write_text(json.dumps(spec))
    with DevicePlugin(node.device_plugin_directory, "example.com/slice", ["a", "b"], "example.com/slice") as plugin:
        cluster.kubectl(
            "wait", "node/n1", "--for=jsonpath={.status.allocatable.example\\.com/slice}=2", "--timeout=30s"
        )
        script = f"env; {pods.FOREVER}"
        pods.run(cluster, pods.pod("user", script, limits={"example.com/slice": 1}))
        ((device,),) = plugin.allocated
        wanted = f"NVIDIA_VISIBLE_DEVICES=MIG-{device}"
        pods.eventually(lambda: wanted in node.pod_log("user").splitlines(), wanted)
        assert wanted in node.exec_in_pod("user", "env").stdout.splitlines()


def test_containers_outlive_their_kubelet(cluster: ControlPlane, node: RealNode) -> None:
    """A container runs on while the kubelet is dead, and the next kubelet takes it over as it is."""
    before = pods.run(cluster, pods.pod("steady", pods.FOREVER, node="n1"))
    node.kill_kubelet()
    assert node.exec_in_pod("steady", "echo", "alive").stdout == "alive\n"
    node.restart_kubelet()
    cluster.apply([pods.pod("later", pods.FOREVER, node="n1")])
    cluster.kubectl("wait", "pod/later", "--for=condition=Ready", f"--timeout={pods.SECONDS:g}s")
    assert pods.container(pods.read(cluster, "pod", "steady")) == pods.container(before)


def test_a_reboot_restarts_containers(cluster: ControlPlane, node: RealNode) -> None:
    """After a reboot the node has another boot id, and its pods' containers are started anew."""
    boot = pods.read(cluster, "node", "n1")["status"]["nodeInfo"]["bootID"]
    before = pods.run(cluster, pods.pod("survivor", pods.FOREVER, node="n1"))
    node.reboot()
    assert pods.read(cluster, "node", "n1")["status"]["nodeInfo"]["bootID"] != boot

    def restarted() -> bool:
        container_id, restarts = pods.container(pods.read(cluster, "pod", "survivor"))
        return container_id != pods.container(before)[0] and restarts == 1

    pods.eventually(restarted, "the container's restart")
    assert node.exec_in_pod("survivor", "echo", "alive").stdout == "alive\n"


def test_two_nodes_have_device_plugin_directories_of_their_own(
    cluster: ControlPlane, node: RealNode, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A device that is registered on one of two nodes is a resource of that one only, and their pods are apart."""
    with RealNode(cluster, "n2", tmp_path_factory.mktemp("n")) as other:
        assert other.device_plugin_directory != node.device_plugin_directory
        with DevicePlugin(other.device_plugin_directory, "example.com/own", ["x"], "example.com/own"):
            cluster.kubectl(
                "wait", "node/n2", "--for=jsonpath={.status.allocatable.example\\.com/own}=1", "--timeout=30s"
            )
            assert "example.com/own" not in pods.read(cluster, "node", "n1")["status"]["allocatable"]
        pods.run(cluster, pods.pod("on-n2", pods.FOREVER, node="n2"))
        assert other.exec_in_pod("on-n2", "echo", "here").stdout == "here\n"
        with pytest.raises(errors.PodError, match="not on node n1"):
            node.exec_in_pod("on-n2", "true")


def test_a_node_started_again_has_what_it_had(cluster: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A node that was stopped and is started in the same directory runs its pods again."""
    directory: Path = tmp_path_factory.mktemp("n")
    with RealNode(cluster, "n3", directory):
        before = pods.run(cluster, pods.pod("again", pods.FOREVER, node="n3"))
    with RealNode(cluster, "n3", directory) as node:
        pods.eventually(
            lambda: pods.container(pods.read(cluster, "pod", "again"))[0] != pods.container(before)[0],
            "a new container",
        )
        assert node.exec_in_pod("again", "echo", "alive").stdout == "alive\n"
