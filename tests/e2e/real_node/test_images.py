"""The images that `make image` writes, run by a real kubelet and containerd: each does its part with what is in it."""

import json
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import pytest

from testbed.control_plane import build as control_plane_build
from testbed.control_plane.control_plane import ControlPlane
from testbed.image import build, sbom
from testbed.image.build import BuiltImage
from testbed.node.real_node import RealNode
from tests.e2e.real_node import pods, product_pods

pytestmark = pytest.mark.e2e

NODE = "images"
AGENTS, SYSTEM = "migsched-agents", "migsched-system"
GPUS = 2
PYTHON = "/opt/migsched/bin/python"
# As the kubelet holds any pod of a namespace that enforces the restricted pod security standard, and read-only besides.
HARDENED = {
    "runAsNonRoot": True,
    "readOnlyRootFilesystem": True,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
}
# Lists the shared libraries in an image of which the loader lacks one that they name.
_UNRESOLVED = """
import glob, pathlib, subprocess
(loader,) = glob.glob("/usr/lib/*/ld-linux-*.so.2")
paths = [path for place in ("/opt", "/usr") for path in pathlib.Path(place).rglob("*.so*") if path.is_file()]
listed = {path: subprocess.run([loader, "--list", path], capture_output=True).stdout for path in paths}
print([str(path) for path, lines in listed.items() if b"not found" in lines])
"""


@pytest.fixture(scope="module")
def cluster(
    usable_machine: None, binaries: control_plane_build.Binaries, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ControlPlane]:
    """A cluster of this module's own: under the manifests only the service's account may write placements."""
    with ControlPlane(tmp_path_factory.mktemp("c"), binaries=binaries) as started:
        yield started


@pytest.fixture(scope="module")
def own_node(
    cluster: ControlPlane, images: Mapping[str, BuiltImage], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RealNode]:
    """A node of this module's own, since its agent is a pod, with the three images."""
    labels = {"migsched.io/agent": "true", "nvidia.com/gpu.present": "true"}
    with RealNode(cluster, NODE, tmp_path_factory.mktemp("n"), labels=labels) as started:
        for image in images.values():
            started.import_images(image.archive)
        yield started


def test_every_image_runs_as_a_hardened_pod(
    cluster: ControlPlane, own_node: RealNode, images: Mapping[str, BuiltImage]
) -> None:
    """Each image says its version without root, without capabilities and with a read-only root file system."""
    for target, image in images.items():
        container = {
            "name": "main",
            "image": image.name,
            "imagePullPolicy": "Never",
            "args": ["--version"],
            "securityContext": HARDENED,
        }
        spec = {"nodeName": NODE, "restartPolicy": "Never", "automountServiceAccountToken": False}
        metadata = {"name": f"version-{target}"}
        cluster.apply(
            [{"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec | {"containers": [container]}}]
        )
    for target in images:
        succeeded = "--for=jsonpath={.status.phase}=Succeeded"
        cluster.kubectl("wait", f"pod/version-{target}", succeeded, "--timeout=60s")
        assert own_node.pod_log(f"version-{target}") == f"migsched {build.version()}\n"


def test_the_scheduler_serves_as_the_deployments_pod(
    cluster: ControlPlane, own_node: RealNode, images: Mapping[str, BuiltImage]
) -> None:
    """Under its own account, without root and with a read-only root file system, it answers its probes and callers."""
    spec = product_pods.template(product_pods.apply(cluster, "kustomize"), "Deployment")
    (extender,) = spec.pop("initContainers")
    spec |= {"containers": [extender | {"image": images["scheduler"].name}], "nodeName": NODE}
    spec["volumes"] = [volume for volume in spec["volumes"] if volume["name"] == "tmp"]
    del spec["containers"][0]["restartPolicy"]  # a sidecar's
    product_pods.bring_token(cluster, spec, SYSTEM)
    metadata = {"name": "scheduler", "namespace": SYSTEM}
    cluster.apply([{"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}])
    cluster.kubectl("wait", "pod/scheduler", f"--namespace={SYSTEM}", "--for=condition=Ready", "--timeout=90s")
    pod = json.loads(cluster.kubectl("get", "pod", "scheduler", f"--namespace={SYSTEM}", "--output=json").stdout)
    assert b" 200 " in asked(own_node, pod["status"]["podIP"], 8080, "/livez").splitlines()[0]
    script = "import os; print(os.getuid()); open('/opt/written', 'w')"
    done = own_node.exec_in_pod("scheduler", PYTHON, "-c", script, namespace=SYSTEM, check=False)
    assert done.stdout == "65532\n"
    assert "Read-only file system" in done.stderr


def test_the_agent_serves_slices_as_the_daemon_sets_pod(
    cluster: ControlPlane, own_node: RealNode, images: Mapping[str, BuiltImage]
) -> None:
    """On simulated GPUs it finds its toolkit and all that it needs, is Ready, and reports the node's slices."""
    pod = product_pods.agent(cluster, "agent")
    spec = pod["spec"]
    spec["nodeName"] = NODE
    (agent,) = spec["containers"]
    agent |= {"image": images["agent"].name, "command": ["migsched", "agent", "--simulate", f"a100-40gb:{GPUS}"]}
    product_pods.bring_token(cluster, spec, AGENTS)
    cluster.apply([pod])
    cluster.kubectl("wait", "pod/agent", f"--namespace={AGENTS}", "--for=condition=Ready", "--timeout=90s")
    pods.eventually(lambda: allocatable(cluster) == str(7 * GPUS), "the kubelet offers the agent's slices")
    status = json.loads(cluster.kubectl("get", "mignode", NODE, "--output=json").stdout)["status"]
    assert len(status["gpus"]) == GPUS
    checked = inside(own_node, "migsched", "agent", "--check", "-o", "json", "--simulate", f"a100-40gb:{GPUS}")
    judged = json.loads(checked)
    assert [entry["name"] for entry in judged["preconditions"] if entry["ok"] is False] == []
    for program, title in (("nvidia-ctk", "NVIDIA Container Toolkit CLI"), ("nvidia-cdi-hook", "NVIDIA CDI Hook")):
        assert title in inside(own_node, f"/opt/nvidia-container-toolkit/{program}", "--version")


def test_what_an_image_leaves_out_is_said(own_node: RealNode) -> None:
    """A command whose libraries are another image's names the library and the page that says which image has it."""
    asked = "{demand: {1g.5gb: 1}, fleet: [{model: a100-40gb, count: 1}]}"
    call = f"subprocess.run(['migsched', 'plan', '-'], input={asked!r}, text=True, check=False)"
    program = f"import subprocess, sys; sys.exit({call}.returncode)"  # the image has no shell
    done = own_node.exec_in_pod("agent", PYTHON, "-c", program, namespace=AGENTS, check=False)
    assert done.returncode == 2
    assert "ortools" in done.stderr
    assert "docs/images.md" in done.stderr


@pytest.mark.parametrize(("pod", "namespace"), [("scheduler", SYSTEM), ("agent", AGENTS)])
def test_every_library_finds_the_libraries_that_it_names(own_node: RealNode, pod: str, namespace: str) -> None:
    """The image's own loader finds what Python, its modules and the wheels' libraries link to: nothing is missing."""
    assert own_node.exec_in_pod(pod, PYTHON, "-c", _UNRESOLVED, namespace=namespace).stdout == "[]\n"


@pytest.mark.parametrize("target", ["scheduler", "agent", "cli"])
def test_every_component_has_its_licence_in_the_image(images: Mapping[str, BuiltImage], target: str) -> None:
    """The SBOM in an image is the one beside it, and what it names has licence files where it says."""
    files = contents(images[target].archive)
    listed = images[target].sbom.read_bytes()
    assert files[f"{sbom.PLACE}/{sbom.NAME}"] == len(listed)
    without = []
    for component in json.loads(listed)["components"]:
        (folder,) = (entry["value"] for entry in component["properties"] if entry["name"] == sbom.LICENCES)
        if not any(name.startswith(f"{folder.removeprefix('/')}/") and size for name, size in files.items()):
            without.append(component["name"])
    assert without == []


def contents(archive: Path) -> dict[str, int]:
    """The sizes of the files in the layers of the only image of an archive."""
    sizes: dict[str, int] = {}
    with tarfile.open(archive) as opened:
        index = json.load(member(opened, "index.json"))
        manifest = json.load(member(opened, blob(index["manifests"][0]["digest"])))
        for entry in manifest["layers"]:
            with tarfile.open(fileobj=member(opened, blob(entry["digest"]))) as layer:
                sizes |= {file.name: file.size for file in layer if file.isfile()}
    return sizes


def member(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    """A file of an archive."""
    file = archive.extractfile(name)
    assert file is not None
    return file


def blob(digest: str) -> str:
    """Where an archive has what a digest names."""
    return f"blobs/{digest.replace(':', '/')}"


def inside(node: RealNode, *command: str) -> str:
    """What a command writes in the agent's pod."""
    return node.exec_in_pod("agent", *command, namespace=AGENTS).stdout


def allocatable(cluster: ControlPlane) -> str:
    """How many small slices the kubelet offers; empty before it knows of any."""
    status: dict[str, Any] = pods.read(cluster, "node", NODE)["status"]
    return str(status["allocatable"].get("nvidia.com/mig-1g.5gb", ""))


def asked(node: RealNode, address: str, port: int, path: str) -> bytes:
    """The answer of a pod to a GET, headers included."""
    with node.connect(address, port) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {address}:{port}\r\nConnection: close\r\n\r\n".encode())
        return connection.makefile("rb").read()
