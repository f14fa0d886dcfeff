"""docs/install.md: the ten commands, run in order on a genuine API server, print what the page shows.

Helm and kubectl are the real ones. Controllers and kubelets are not there: between the commands the test writes the
statuses that they would, and makes the Binding with the scheduler's account.
"""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from allocator.claims import contract, placement_annotation, report
from allocator.mig import gpu_models
from scheduler.cache.kube import KubeClient
from scheduler.cache.port import Binding
from testbed.control_plane import build
from testbed.control_plane.control_plane import ControlPlane
from tests.e2e import deployed
from tests.e2e.helm import Helm
from tests.unit.deploy import manifests, mig_nodes

pytestmark = pytest.mark.e2e

ROOT = manifests.DEPLOY.parent
PAGE = ROOT / "docs" / "install.md"
NODE, POD = "gpu-1", "triton-1g-0"
GPU = "GPU-5d1c6ddb-0000-0000-0000-000000000000"


@pytest.fixture
def cluster(binaries: build.Binaries, tmp_path: Path) -> Iterator[ControlPlane]:
    """A control plane with nothing of ours, and one node."""
    with ControlPlane(tmp_path / "cluster", binaries=binaries, users=deployed.USERS) as started:
        deployed.create(started, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}})
        started.kubectl("create", "serviceaccount", "default")
        yield started


def numbered() -> dict[int, list[tuple[str, list[str]]]]:
    """By the number of a step: commands, each with the lines that it prints."""
    section = PAGE.read_text(encoding="utf-8").partition("## From nothing to the first slice")[2].partition("\n## ")[0]
    steps: dict[int, list[tuple[str, list[str]]]] = {}
    for number, text in re.findall(r"^(\d+)\. (.*?)(?=^\d+\. |\Z)", section, re.MULTILINE | re.DOTALL):
        fence = text.split("```")[1]
        steps[int(number)] = []
        for line in filter(None, (line.strip() for line in fence.splitlines())):
            if line.startswith("$ "):
                steps[int(number)].append((line[2:], []))
            else:
                steps[int(number)][-1][1].append(line)
    return steps


def matches(shown: list[str], printed: str) -> bool:
    """Whether words agree line by line; `…` alone in a line is the rest, and within one it is any text."""
    lines = [line.split() for line in printed.splitlines()]
    for number, words in enumerate(line.split() for line in shown):
        if words == ["…"]:
            return True
        there = lines[number] if number < len(lines) else []
        pattern = ".*".join(map(re.escape, " ".join(words).split("…")))
        if not re.fullmatch(pattern, " ".join(there)):
            return False
    return len(shown) == len([line for line in lines if line])


def test_there_are_ten_steps_and_each_prints_something() -> None:
    """Each step has a command, and each command shows what it prints."""
    steps = numbered()
    assert list(steps) == list(range(1, 11))
    assert [command for step in steps.values() for command, shown in step if not shown] == []


async def test_the_commands_print_what_the_page_shows(helm: Helm, cluster: ControlPlane) -> None:
    """All ten, in order."""
    for number, step in numbered().items():
        await prepare(cluster, number)
        for command, shown in step:
            written = command.replace("GPU-NODE", NODE).replace(" deploy/", f" {ROOT}/deploy/")
            program, *arguments = shlex.split(written)
            if program == "helm":
                done = helm.run(*arguments, kubeconfig=cluster.kubeconfig)
            else:
                done = cluster.kubectl(*arguments, check=False)
            assert done.returncode == 0, done.stderr
            expected = [line.replace("GPU-NODE", NODE) for line in shown]
            assert matches(expected, done.stdout), f"step {number}: {command}\n{done.stdout}"


async def prepare(cluster: ControlPlane, number: int) -> None:
    """What controllers, kubelet, agent and scheduler would have done before a step."""
    match number:
        case 3:
            counts = {"replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2}
            status(cluster, "migsched-system", "deployment/migsched-scheduler", counts)
        case 7:
            counts = {"desiredNumberScheduled": 1, "currentNumberScheduled": 1, "numberMisscheduled": 0}
            counts |= {"numberReady": 1, "updatedNumberScheduled": 1, "numberAvailable": 1}
            status(cluster, "migsched-agents", "daemonset/migsched-agent", counts)
        case 8:
            known = {"apiVersion": "migsched.io/v1alpha1", "kind": "MigNode", "metadata": {"name": NODE}}
            deployed.create(cluster, known)
            body = json.dumps({"status": mig_nodes.written(*(gpu(index) for index in range(8)))})
            cluster.kubectl("patch", "mignode", NODE, "--subresource=status", "--type=merge", "--patch", body)
        case 10:
            await bound(cluster)


def gpu(index: int) -> report.GpuReport:
    return report.GpuReport(
        uuid=f"{GPU[:-1]}{index}",
        index=index,
        product="NVIDIA A100-SXM4-40GB",
        mig_mode=report.MigMode.ENABLED,
        catalogue=gpu_models.find("a100-40gb"),
        slices=(),
    )


def status(cluster: ControlPlane, namespace: str, name: str, counts: dict[str, int]) -> None:
    body = json.dumps({"status": {"observedGeneration": 1, **counts}})
    cluster.kubectl("patch", name, "-n", namespace, "--subresource=status", "--type=merge", "--patch", body)


async def bound(cluster: ControlPlane) -> None:
    """The first pod of the example's Deployment, with the Binding that the scheduler's account makes."""
    template = manifests.one(manifests.EXAMPLES / "triton-1g.yaml", "Deployment")["spec"]["template"]
    labels = {**template["metadata"]["labels"], "migsched.io/queue": "off"}  # no gate: no queue runs to open it
    metadata = {"name": POD, "namespace": "default", "labels": labels}
    document: dict[str, Any] = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
    deployed.create(cluster, document)
    client = await KubeClient.connect(cluster.kubeconfig_of(deployed.SCHEDULER))
    try:
        promise = placement_annotation.Promise("main", GPU, "1g.5gb", 0)
        annotations = {contract.PLACEMENT_ANNOTATION: placement_annotation.encode([promise])}
        found = await client.get_pod("default", POD)
        await client.bind(Binding("default", POD, found.metadata.uid, NODE, annotations))
    finally:
        await client.close()
