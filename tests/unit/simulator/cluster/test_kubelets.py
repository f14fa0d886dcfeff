"""Simulated kubelets: pods are admitted and run, or are refused and fail, Jobs' pods end, deleted pods go."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import pytest

from allocator import errors
from kubeclient.objects import Pod
from simulator.cluster import api, nodes
from simulator.cluster.kubelet import Kubelets
from simulator.cluster.memory_cluster.faults import Fault
from simulator.cluster.running import running
from tests.unit.simulator.cluster.memory_cluster import MemoryCluster, pod
from tests.waiting import eventually


class _Everybody(set[str]):
    """All pods there are."""

    def __contains__(self, uid: object) -> bool:
        return True


EVERYBODY = _Everybody()
FLEET = nodes.uniform(1, 1)
NODE = FLEET[0].name


class Devices:
    """Refuses the pods it is told to refuse, and says of those it is told of that their containers can be created."""

    def __init__(self) -> None:
        self.refused: dict[str, str] = {}
        self.ready: set[str] = set()
        self.admitted: list[str] = []
        self.released: list[str] = []

    async def admit(self, pod: Pod) -> str:
        """See Devices."""
        self.admitted.append(pod.metadata.uid)
        return self.refused.get(pod.metadata.name, "")

    def is_ready(self, uid: str, node: str) -> bool:
        """Whether the test said so."""
        return node == NODE and uid in self.ready

    def release(self, uid: str, node: str) -> None:
        """See Devices."""
        assert node == NODE
        self.released.append(uid)

    def retain(self, living: Iterable[str]) -> None:
        """See Devices."""


@pytest.fixture
def cluster() -> MemoryCluster:
    return MemoryCluster()


@asynccontextmanager
async def started(cluster: MemoryCluster, job_seconds: float | None = None) -> AsyncIterator[Devices]:
    devices = Devices()
    devices.ready = EVERYBODY
    kubelets = Kubelets(cluster.api, FLEET, devices, job_seconds=job_seconds)
    async with running(kubelets.run()):
        yield devices


async def test_pod_runs_once_its_containers_can_be_created(cluster: MemoryCluster) -> None:
    """A bound pod is admitted once, stays pending until its devices mean something, then runs and is ready."""
    async with started(cluster) as devices:
        devices.ready = set()
        uid = cluster.bound("p", NODE, ("GPU-1", "1g.5gb", 0))
        await eventually(lambda: devices.admitted == [uid], "the pod is admitted")
        cluster.server.patch(api.POD, "p", {"metadata": {"labels": {"seen": "again"}}}, "default")
        assert cluster.phase("p") == "Pending"
        devices.ready.add(uid)
        await eventually(lambda: cluster.phase("p") == "Running", "the pod runs")
        assert devices.admitted == [uid]
    status = cluster.server.get(api.POD, "p", "default").document["status"]
    conditions = {condition["type"]: condition["status"] for condition in status["conditions"]}
    assert conditions == {"PodScheduled": "True", "Initialized": "True", "ContainersReady": "True", "Ready": "True"}
    assert [container_status["ready"] for container_status in status["containerStatuses"]] == [True]


@pytest.mark.parametrize("zero", ["0", 0, "+0", "0k", "0e3"])
async def test_quantity_zero_asks_for_nothing(cluster: MemoryCluster, zero: str | int) -> None:
    """A pod that names a slice with quantity 0, however written, runs at once."""
    async with started(cluster):
        document = pod("zero")
        document["spec"]["containers"][0]["resources"]["limits"] = {"nvidia.com/mig-1g.5gb": zero}
        cluster.bind(cluster.server.create(api.POD, document).document, NODE)
        await eventually(lambda: cluster.phase("zero") == "Running", "the pod that asks for nothing runs")


async def test_pod_whose_devices_are_refused_fails(cluster: MemoryCluster) -> None:
    """As with a kubelet it is not tried again: its status says why, and what it had is given back."""
    async with started(cluster) as devices:
        devices.refused["p"] = "Pod was rejected: no"
        uid = cluster.bound("p", NODE, ("GPU-1", "1g.5gb", 0))
        await eventually(lambda: cluster.phase("p") == "Failed", "the pod fails")
        await eventually(lambda: devices.released == [uid], "its devices are released")
        assert devices.admitted == [uid]
    status = cluster.server.get(api.POD, "p", "default").document["status"]
    assert (status["reason"], status["message"]) == ("UnexpectedAdmissionError", "Pod was rejected: no")


async def test_pods_that_ran_before_come_first(cluster: MemoryCluster) -> None:
    """A kubelet that starts admits who ran before it, then who was promised a place, then the others."""
    stray = str(cluster.pod("a-stray", "1g.5gb")["metadata"]["uid"])
    cluster.bind(cluster.server.get(api.POD, "a-stray", "default").document, NODE)
    promised = cluster.bound("b-promised", NODE, ("GPU-1", "1g.5gb", 0))
    ran = cluster.bound("c-ran", NODE, ("GPU-1", "1g.5gb", 1))
    cluster.set_phase("c-ran", "Running")
    async with started(cluster) as devices:
        await eventually(lambda: cluster.phase("a-stray") == "Running", "the last one runs")
        assert devices.admitted == [ran, promised, stray]


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


async def test_a_pod_that_is_found_gone_gives_its_devices_back(cluster: MemoryCluster) -> None:
    """Also where the kubelet hears of the end by its own write, before the watch tells."""
    async with started(cluster) as devices:
        cluster.api.faults.add(Fault("patch_status", error=errors.NotFoundError("gone")))
        uid = cluster.bound("p", NODE, ("GPU-1", "1g.5gb", 0))
        await eventually(lambda: devices.released == [uid], "its devices are released")
