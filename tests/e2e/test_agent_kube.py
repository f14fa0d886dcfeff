"""The node agent's client on the genuine API server, with the rights that deploy/rbac/agent gives and no others."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest

from allocator import contract, errors
from edge.changes import Change, ChangeType
from edge.objects import Pod
from node_agent.cluster import PodEvent
from node_agent.kube import KubeClient
from node_agent.service import observe
from simulator.control_plane import build
from simulator.control_plane.control_plane import ControlPlane
from simulator.gpu.devices import SimulatedDevices
from simulator.gpu.driver import simulate
from tests.e2e import deployed

pytestmark = pytest.mark.e2e

NODE = "gpu-1"


@pytest.fixture(scope="module")
def cluster(binaries: build.Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """An API server with deploy/ applied and a node."""
    with deployed.cluster(binaries, tmp_path_factory.mktemp("agent")) as started:
        deployed.create(started, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}})
        yield started


@pytest.fixture
async def client(cluster: ControlPlane) -> AsyncIterator[KubeClient]:
    """The agent's connection."""
    made = await KubeClient.connect(cluster.kubeconfig_of(deployed.AGENT))
    yield made
    await made.close()


async def test_only_pods_of_the_own_node_are_seen(cluster: ControlPlane, client: KubeClient) -> None:
    """List and watch show pods bound here and nobody else's."""
    for name, node in (("here", NODE), ("elsewhere", "gpu-2")):
        deployed.create(cluster, deployed.pod(name, nodeName=node))
    listed = await client.pods(NODE)
    assert [pod.metadata.name for pod in listed.items] == ["here"]
    deployed.create(cluster, deployed.pod("there", nodeName="gpu-2"))
    deployed.create(cluster, deployed.pod("later", nodeName=NODE, resources=deployed.SLICE))
    async with asyncio.timeout(deployed.SECONDS):
        change = await _first(client, listed.resource_version)
    assert change.item is not None
    assert (change.type, change.item.metadata.name) == (ChangeType.ADDED, "later")
    assert change.item.spec.containers[0].resources is not None


async def _first(client: KubeClient, version: str) -> Change[Pod]:
    async with contextlib.aclosing(client.watch_pods(NODE, version)) as changes:
        async for change in changes:
            if change.item is not None:
                return change
    raise AssertionError("the watch ended")


async def test_the_status_is_made_then_replaced(cluster: ControlPlane, client: KubeClient) -> None:
    """The first report makes the MigNode, owned by its node; the next replaces it and leaves nothing of the last."""
    node = await client.node(NODE)
    many = observe(SimulatedDevices(simulate("a100-40gb:2,a30-24gb:1")), NODE)
    none = observe(SimulatedDevices(simulate("a100-40gb:1")), NODE)
    none = {key: value for key, value in none.items() if key not in ("gpus", "catalogues")}
    await client.write_status(node, many)
    told = cluster.kubectl(
        "get", "mn", NODE, "-o", "jsonpath={.status.summary.gpus} {.metadata.ownerReferences[0].name}"
    )
    assert told.stdout == f"3 {NODE}"
    await client.write_status(node, none)
    told = cluster.kubectl("get", "mn", NODE, "-o", "jsonpath={.status.gpus}/{.status.conditions[0].reason}")
    assert told.stdout == "/Observing"


async def test_what_the_server_stores_is_what_the_scheduler_reads(cluster: ControlPlane, client: KubeClient) -> None:
    """The stored status decodes to the report that was meant."""
    status = observe(SimulatedDevices(simulate("h200-141gb:1")), NODE)
    await client.write_status(await client.node(NODE), status)
    raw = cluster.kubectl("get", "mn", NODE, "-o", "jsonpath={.status}").stdout
    report = contract.decode_status(raw.encode(), NODE)
    assert not report.problem
    assert [gpu.usable for gpu in report.gpus] == [True]


async def test_events_reach_the_pod(cluster: ControlPlane, client: KubeClient) -> None:
    """An Event is found by kubectl among those of the pod."""
    deployed.create(cluster, deployed.pod("told", nodeName=NODE))
    uid = cluster.kubectl("get", "pod", "told", "-o", "jsonpath={.metadata.uid}").stdout
    await client.event(PodEvent("default", "told", uid, "Normal", "SliceReady", "it stands"), "migsched-agent")
    told = cluster.kubectl(
        "get", "events", "--field-selector=involvedObject.name=told", "-o", "jsonpath={.items[*].reason}"
    )
    assert told.stdout == "SliceReady"


async def test_the_agents_role_may_not_patch_nodes(client: KubeClient) -> None:
    """Keeping the GPU Operator's labels needs a right of its own; without it the refusal is told apart."""
    with pytest.raises(errors.RefusedError, match="403"):
        await client.label_node(NODE, {"a": "b"})
