"""Simulated kubelets: pods run once they have their slices, Jobs' pods end, deleted pods go."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from allocator import errors
from simulator.cluster import api, nodes
from simulator.cluster.kubelet import Kubelets
from simulator.cluster.memory_cluster.faults import Fault
from simulator.cluster.running import running
from tests.unit.simulator.cluster.memory_cluster import MemoryCluster, pod
from tests.waiting import eventually

FLEET = nodes.uniform(1, 1)
NODE = FLEET[0].name


class Slices:
    """Says of the pods it is told of that they are ready."""

    def __init__(self) -> None:
        self.ready: set[str] = set()

    def is_ready(self, uid: str, node: str) -> bool:
        """Whether the test said so."""
        return node == NODE and uid in self.ready


@pytest.fixture
def cluster() -> MemoryCluster:
    return MemoryCluster()


@asynccontextmanager
async def started(cluster: MemoryCluster, job_seconds: float | None = None) -> AsyncIterator[tuple[Kubelets, Slices]]:
    slices = Slices()
    kubelets = Kubelets(cluster.api, FLEET, slices, job_seconds=job_seconds)
    async with running(kubelets.run()):
        yield kubelets, slices


async def test_pod_runs_once_its_slices_are_cut(cluster: MemoryCluster) -> None:
    """A bound pod stays pending until its slices are ready, then runs and is ready."""
    async with started(cluster) as (kubelets, slices):
        uid = cluster.bound("p", NODE, ("GPU-1", "1g.5gb", 0))
        cluster.bind(cluster.pod("no-slices"), NODE)
        await eventually(lambda: cluster.phase("no-slices") == "Running", "the pod without slices runs")
        assert cluster.phase("p") == "Pending"
        slices.ready.add(uid)
        kubelets.look_at(uid)
        await eventually(lambda: cluster.phase("p") == "Running", "the pod runs")
    status = cluster.server.get(api.POD, "p", "default").document["status"]
    conditions = {condition["type"]: condition["status"] for condition in status["conditions"]}
    assert conditions == {"PodScheduled": "True", "Initialized": "True", "ContainersReady": "True", "Ready": "True"}
    assert [container_status["ready"] for container_status in status["containerStatuses"]] == [True]


@pytest.mark.parametrize("zero", ["0", 0, "+0", "0k", "0e3"])
async def test_quantity_zero_asks_for_nothing(cluster: MemoryCluster, zero: str | int) -> None:
    """A pod that names a slice with quantity 0, however written, runs at once; one that cannot be read waits."""
    async with started(cluster):
        for name, quantity in (("zero", zero), ("unreadable", "1000000")):
            document = pod(name)
            document["spec"]["containers"][0]["resources"]["limits"] = {"nvidia.com/mig-1g.5gb": quantity}
            cluster.bind(cluster.server.create(api.POD, document).document, NODE)
        await eventually(lambda: cluster.phase("zero") == "Running", "the pod that asks for nothing runs")
        assert cluster.phase("unreadable") == "Pending"


async def test_pods_elsewhere_are_left_alone(cluster: MemoryCluster) -> None:
    """Pods without a node, and those on others' nodes, stay as they are."""
    async with started(cluster):
        cluster.pod("unbound")
        cluster.bind(cluster.pod("elsewhere"), "another-node")
        cluster.bind(cluster.pod("here"), NODE)
        await eventually(lambda: cluster.phase("here") == "Running", "the pod here runs")
        assert (cluster.phase("unbound"), cluster.phase("elsewhere")) == ("Pending", "Pending")


async def test_pods_of_jobs_succeed_after_a_while(cluster: MemoryCluster) -> None:
    """A Job's pod succeeds once its time is over; other pods run on."""
    async with started(cluster, job_seconds=0.01):
        document = pod("job-pod")
        document["metadata"]["ownerReferences"] = [{"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "u"}]
        cluster.bind(cluster.server.create(api.POD, document).document, NODE)
        cluster.bind(cluster.pod("server"), NODE)
        await eventually(lambda: cluster.phase("job-pod") == "Succeeded", "the Job's pod succeeds")
        await eventually(lambda: cluster.phase("server") == "Running", "the server runs")


async def test_deleted_pods_go(cluster: MemoryCluster) -> None:
    """A pod being deleted is let go, whatever it was doing."""
    async with started(cluster):
        cluster.bind(cluster.pod("p"), NODE)
        cluster.bound("waiting", NODE, ("GPU-1", "1g.5gb", 0))
        await eventually(lambda: cluster.phase("p") == "Running", "the pod runs")
        cluster.delete("p")
        cluster.delete("waiting")
        await eventually(lambda: cluster.phase("p") == cluster.phase("waiting") == "gone", "both are gone")


async def test_namesake_of_a_deleted_pod_lives(cluster: MemoryCluster) -> None:
    """Letting a pod go never hits another that has taken its name."""
    async with started(cluster):
        cluster.bind(cluster.pod("p"), NODE)
        await eventually(lambda: cluster.phase("p") == "Running", "the pod runs")
        refused = cluster.api.faults.add(Fault("delete", error=errors.UnreachableError("timeout")))
        cluster.delete("p")
        await eventually(lambda: refused.met == 1, "the kubelet has tried once")
        cluster.delete("p", grace_seconds=0)
        uid = cluster.pod("p")["metadata"]["uid"]
        cluster.bind(cluster.pod("other"), NODE)
        await eventually(lambda: cluster.phase("other") == "Running", "the kubelet works on")
        assert cluster.server.get(api.POD, "p", "default").document["metadata"]["uid"] == uid


async def test_errors_are_survived(cluster: MemoryCluster) -> None:
    """A status that the API server did not take is written again."""
    async with started(cluster):
        cluster.api.faults.add(Fault("patch_status", error=errors.UnreachableError("timeout"), times=2))
        cluster.bind(cluster.pod("p"), NODE)
        await eventually(lambda: cluster.phase("p") == "Running", "the pod runs")
