"""Where a pod may run: the product's verdicts beside those of the stock kube-scheduler, on random nodes and pods."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from allocator.eligibility import document
from allocator.eligibility.constraints import VolumeTopology
from allocator.eligibility.neighbours import Neighbours
from allocator.eligibility.placed_pods import NOT_KNOWN, PlacedPod, PlacedPods
from allocator.eligibility.topology import Topology
from allocator.eligibility.verdict import Ineligible, judge
from scheduler.cache.kube import KubeClient
from testbed.control_plane import build
from testbed.control_plane.control_plane import ControlPlane
from tests import eligibility_cases as cases
from tests import neighbour_cases
from tests.e2e.scheduling import kube_scheduler_neighbours as neighbours
from tests.e2e.scheduling import kube_scheduler_verdicts as verdicts
from tests.neighbour_answers import Furnished, facts

Document = dict[str, Any]
pytestmark = pytest.mark.e2e

PODS, SEED = 16, 7


@pytest.fixture(scope="module")
def stock(binaries: build.Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane without controllers that change nodes."""
    with ControlPlane(tmp_path_factory.mktemp("cluster"), binaries=binaries) as plane:
        yield plane


@pytest.fixture(scope="module")
def passing(stock: ControlPlane) -> Iterator[neighbours.Passing]:
    """The nodes that pass its filters, by pod; every pod is refused afterwards."""
    with neighbours.scheduler(stock) as nodes_by_pod:
        yield nodes_by_pod


@pytest.mark.timeout(300)
def test_verdicts_are_those_of_kube_scheduler(stock: ControlPlane, passing: neighbours.Passing) -> None:
    """Of 400 random pairs of a pod and a node, the same nodes pass the stock kube-scheduler's filters, and as many are
    refused for each reason.
    """
    chance = random.Random(SEED)
    verdicts.create(stock, [cases.node(chance, f"node-{number}") for number in range(neighbours.NODES)])
    nodes = [facts(node) for node in verdicts.read(stock, "nodes")]
    pods = [cases.pod(chance, f"new-{number}") for number in range(PODS)]
    seen: Counter[str] = Counter()
    for pod, passed, said in neighbours.judged(stock, passing, pods):
        told = [judge(document.pod_of(pod["spec"]), node) for node in nodes]
        assert passed == sorted(node.name for node, verdict in zip(nodes, told, strict=True) if verdict.eligible), pod
        reasons = Counter(verdict.reason.value for verdict in told if verdict.reason is not None)
        fit = Ineligible.NODE_RESOURCES_FIT.value
        assert reasons.pop(fit, 0) <= said.pop(fit, 0), pod  # it counts a node twice that has too little of two
        assert reasons == said, pod
        seen.update(reasons)
    assert set(seen) >= {plugin.value for plugin in list(verdicts.MESSAGES.values())[:3]}, "each reason was tried"
    stock.kubectl("delete", "pods", "--all", "--grace-period=0", "--force", "--wait=false")
    stock.kubectl("delete", "nodes", "--all")


@pytest.mark.timeout(300)
def test_verdicts_about_other_pods_are_those_of_kube_scheduler(
    stock: ControlPlane, passing: neighbours.Passing
) -> None:
    """Of 1,000 random pairs of a pod and a node beside 30 pods that are there, the same nodes pass the stock
    kube-scheduler's filters, and as many are refused for each reason: spread, affinity, anti-affinity, ports, overhead.
    """
    chance = random.Random(SEED)
    passing.nodes.clear()
    furnished = Furnished(*neighbours.furnish(stock, chance))
    seen: Counter[str] = Counter()
    for pod, nodes, reasons in neighbours.judged(stock, passing, neighbours.new_pods(chance)):
        assert furnished.says(pod) == (nodes, reasons), pod
        seen.update(reasons)
        seen["passed"] += len(nodes)
    assert sum(seen.values()) == neighbours.NODES * neighbours.NEW
    assert set(seen) >= {"passed", "NodePorts", "NodeResourcesFit", "PodTopologySpread", "InterPodAffinity"}


def _class(name: str, **fields: Any) -> Document:
    meta = {"metadata": {"name": name}, "provisioner": "csi.example.com", "volumeBindingMode": "WaitForFirstConsumer"}
    return {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", **meta, **fields}


def _claim(name: str, of_class: str, mode: str = "ReadWriteOnce", **annotations: str) -> Document:
    spec = {"accessModes": [mode], "storageClassName": of_class, "resources": {"requests": {"storage": "1Gi"}}}
    meta = {"name": name, "namespace": "default", "annotations": annotations}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta, "spec": spec}


def _using(claim: str, name: str) -> Document:
    data = {"name": "data", "persistentVolumeClaim": {"claimName": claim}}
    spec = {"containers": [{"name": "main", "image": "none"}], "volumes": [data], "terminationGracePeriodSeconds": 0}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": spec}


async def _topologies(plane: ControlPlane, claims: list[str]) -> list[VolumeTopology]:
    client = await KubeClient.connect(plane.kubeconfig)
    try:
        return [await client.volume_of_claim("default", claim) for claim in claims]
    finally:
        await client.close()


@pytest.mark.timeout(300)
def test_verdicts_about_claims_are_those_of_kube_scheduler(stock: ControlPlane, passing: neighbours.Passing) -> None:
    """Claims that wait for their pod, are to be bound at once, missing, or another pod's alone: the same nodes pass."""
    stock.kubectl("delete", "pods", "--all", "--all-namespaces", "--grace-period=0", "--force", "--wait=false")
    stock.kubectl("delete", "nodes", "--all")
    names = ("disk-a", "disk-b", "disk-c")
    bare = neighbour_cases.node(random.Random(SEED), "")
    nodes = [bare | {"metadata": {"name": name, "labels": {"zone": name[-1]}}, "spec": {}} for name in names]
    zones = [{"matchLabelExpressions": [{"key": "zone", "values": ["a", "b"]}]}]
    objects = [
        _class("waits", allowedTopologies=zones),
        _class("anywhere"),
        _class("at-once", volumeBindingMode="Immediate"),
        _claim("zonal", "waits"),
        _claim("chosen", "waits", **{"volume.kubernetes.io/selected-node": "disk-b"}),
        _claim("free", "anywhere"),
        _claim("unbound", "at-once"),
        _claim("alone", "anywhere", "ReadWriteOncePod"),
        _claim("classless", "gone"),
    ]
    user = _using("alone", "user")
    user["spec"]["nodeName"] = "disk-a"
    verdicts.create(stock, [*nodes, *objects, user])
    claims = ["zonal", "chosen", "free", "unbound", "alone", "missing", "classless"]
    passing.nodes.clear()
    pods = [_using(claim, f"new-{claim}") for claim in claims]
    said = {pod["metadata"]["name"]: passed for pod, passed, _ in neighbours.judged(stock, passing, pods)}
    placed = PlacedPods()
    placed.put("user", PlacedPod("default", claims=("alone",)), "disk-a")
    for claim, topology in zip(claims, asyncio.run(_topologies(stock, claims)), strict=True):
        asked = document.pod_of(_using(claim, "")["spec"]).with_volumes((topology,))
        others = Neighbours(asked, NOT_KNOWN, placed, Topology({}))
        told = [node["metadata"]["name"] for node in nodes if judge(asked, facts(node), None, others).eligible]
        assert told == list(said[f"new-{claim}"]), claim
    assert set(map(len, said.values())) == {0, 1, 2, 3}
