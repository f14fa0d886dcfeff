"""The port-forward of the command line through a genuine API server, which passes it on to a node's kubelet.

The kubelet is played by the test: it ends the WebSocket as kubelet and containerd do, and leads to a server here.
"""

import json
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator

import pytest

from testbed.control_plane import build, certificates
from testbed.control_plane.control_plane import ControlPlane
from tests.integration.kubeclient.forwarding_server import POD, forwarding
from tests.unit.cli.command_line import serving

pytestmark = pytest.mark.e2e

NAMESPACE = "migsched-system"
LABELS = {"app.kubernetes.io/name": "migsched", "app.kubernetes.io/component": "scheduler"}
NODES = [{"name": f"n{number:04}", "problem": "no report", "closed": "", "gpus": []} for number in range(3_000)]


@pytest.fixture(scope="module")
def cluster(binaries: build.Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A cluster whose only node has a running pod of the scheduler, by what its status says."""
    files = certificates.ensure(tmp_path_factory.mktemp("kubelet"))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(files.serving, files.serving_key)
    with (
        ControlPlane(tmp_path_factory.mktemp("cluster"), binaries=binaries, users={"reader": ()}) as plane,
        serving({"/api/v1/nodes": (200, NODES)}) as url,
        forwarding(int(url.rpartition(":")[2]), tls) as kubelet,
    ):
        kubelet.token = ""  # the API server's own credentials are another matter
        port = int(kubelet.url.rpartition(":")[2])
        plane.apply(
            [
                {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
                {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}},
            ]
        )
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": POD, "namespace": NAMESPACE, "labels": LABELS},
            "spec": {"nodeName": "n1", "containers": [{"name": "extender", "image": "none"}]},
        }
        plane.apply([pod])
        address = {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}]}
        told(plane, "node/n1", **address, daemonEndpoints={"kubeletEndpoint": {"Port": port}})
        told(plane, f"pod/{POD}", phase="Running")
        yield plane


def told(plane: ControlPlane, target: str, **status: object) -> None:
    """Write this into the status of a node or of the pod."""
    patch = json.dumps({"status": status})
    plane.kubectl("--namespace", NAMESPACE, "patch", target, "--subresource=status", "--patch", patch)


def top(plane: ControlPlane, *flags: str) -> subprocess.CompletedProcess[str]:
    """`kubectl mig top`, so to say: by this cluster's kubeconfig."""
    environment = {**os.environ, "KUBECONFIG": str(plane.kubeconfig)}
    command = [sys.executable, "-m", "cli", "top", "-o", "json", *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, env=environment)


def test_the_rights_that_the_page_names_are_enough(cluster: ControlPlane) -> None:
    """Somebody with the roles of docs/cli.md is answered; without the second they are told what they may not."""
    kubeconfig = cluster.kubeconfig_of("reader")
    in_namespace = ("--namespace", NAMESPACE)
    for name, verbs, resource in (("reads", "list", "pods"), ("forwards", "get,create", "pods/portforward")):
        refused = top(cluster, "--scheduler-namespace", NAMESPACE, "--kubeconfig", str(kubeconfig))
        assert refused.returncode == 2
        assert f'cannot {verbs.partition(",")[0]} resource "{resource}"' in refused.stderr
        cluster.kubectl(*in_namespace, "create", "role", name, f"--verb={verbs}", f"--resource={resource}")
        cluster.kubectl(*in_namespace, "create", "rolebinding", name, f"--role={name}", "--user=reader")
    answered = top(cluster, "--scheduler-namespace", NAMESPACE, "--kubeconfig", str(kubeconfig))
    assert answered.stderr == ""
    assert json.loads(answered.stdout) == NODES


def test_a_command_reaches_the_scheduler_by_the_kubeconfig_alone(cluster: ControlPlane) -> None:
    """The pod is found, its port forwarded, a long answer comes whole; what is in the way is said as it is said."""
    answered = top(cluster, "--scheduler-namespace", NAMESPACE)
    assert answered.stderr == ""
    assert json.loads(answered.stdout) == NODES
    nobody = top(cluster, "--scheduler-namespace", "default")
    assert (nobody.returncode, nobody.stdout) == (2, "")
    assert nobody.stderr.startswith("migsched: --scheduler-namespace: 'default': of pods with app.kubernetes.io/name=")
    node = json.loads(cluster.kubectl("get", "node/n1", "--output=json").stdout)
    told(cluster, "node/n1", daemonEndpoints={"kubeletEndpoint": {"Port": 1}})
    refused = top(cluster, "--scheduler-namespace", NAMESPACE)
    told(cluster, "node/n1", daemonEndpoints=node["status"]["daemonEndpoints"])
    assert refused.returncode == 2
    assert f"port-forward to {NAMESPACE}/{POD}:8080: HTTP 500: error dialing backend" in refused.stderr
