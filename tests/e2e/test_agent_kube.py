"""The node agent's client on the genuine API server, with the rights that deploy/rbac/agent gives and no others."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from allocator import errors
from allocator.claims import contract
from kubeclient import kube
from kubeclient.changes import Change, ChangeType
from kubeclient.events import PodEvent
from node_agent.cluster import access, coexistence
from node_agent.cluster.kube import KubeClient
from node_agent.cluster.labels import Labels
from node_agent.cluster.node_pod import NodePod
from node_agent.cluster.own_node import OwnNode
from node_agent.service import observe
from simulator.gpu.devices import SimulatedDevices
from simulator.gpu.driver import simulate
from testbed.control_plane import build
from testbed.control_plane.control_plane import ControlPlane
from testbed.errors import CommandError
from tests.e2e import deployed
from tests.unit.deploy import manifests

pytestmark = pytest.mark.e2e

NODE, OTHER = "gpu-1", "gpu-2"
LABELS = manifests.DEPLOY / "options" / "agent-operator-labels" / "rbac.yaml"


@pytest.fixture(scope="module")
def cluster(binaries: build.Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """An API server with deploy/ applied and two nodes."""
    with deployed.cluster(binaries, tmp_path_factory.mktemp("agent")) as started:
        for name in (NODE, OTHER):
            deployed.create(started, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
        yield started


@pytest.fixture(scope="module")
def kubeconfig(cluster: ControlPlane) -> Path:
    """Credentials of the agent on the node."""
    return deployed.agent_kubeconfig(cluster, NODE)


@pytest.fixture
async def client(kubeconfig: Path) -> AsyncIterator[KubeClient]:
    """The agent's connection."""
    made = await KubeClient.connect(kubeconfig)
    yield made
    await made.close()


async def test_what_the_agent_may_do_is_told_by_the_server(client: KubeClient) -> None:
    """The server knows the CRD and grants what deploy/rbac/agent does; the rights to keep labels are an option."""
    assert await client.serves_mig_nodes()
    assert await access.missing(client, labels=False) == []
    assert await access.missing(client, labels=True) == ["patch nodes"]


async def test_an_api_group_that_is_not_served_is_not_found(kubeconfig: Path) -> None:
    """Where a CRD is not installed the server's answer, which is no JSON, is understood."""
    connection = await kube.Connection.connect(kubeconfig, user_agent="test", calls=1)
    try:
        with pytest.raises(errors.NotFoundError):
            await connection.get("/apis/nowhere.migsched.io/v1", dict)
    finally:
        await connection.close()


async def test_only_pods_of_the_own_node_are_seen(cluster: ControlPlane, client: KubeClient) -> None:
    """List and watch show pods bound here and nobody else's."""
    for name, node in (("here", NODE), ("elsewhere", "gpu-2")):
        deployed.create(cluster, deployed.pod(name, nodeName=node))
    listed = await client.pods(NODE)
    assert [pod.metadata.name for pod in listed.items if pod.metadata.namespace == "default"] == ["here"]
    deployed.create(cluster, deployed.pod("there", nodeName="gpu-2"))
    deployed.create(cluster, deployed.pod("later", nodeName=NODE, resources=deployed.SLICE))
    async with asyncio.timeout(deployed.SECONDS):
        change = await _first(client, listed.resource_version)
    assert change.item is not None
    assert (change.type, change.item.metadata.name) == (ChangeType.ADDED, "later")
    assert change.item.spec.containers[0].resources is not None


async def _first(client: KubeClient, version: str) -> Change[NodePod]:
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
    await client.event(PodEvent("default", "told", uid, "Normal", "SliceReady", "it stands"), "migsched-agent", NODE)
    told = cluster.kubectl(
        "get", "events", "--field-selector=involvedObject.name=told", "-o", "jsonpath={.items[*].reason}"
    )
    assert told.stdout == "SliceReady"


FORGED = {
    "of another component": {"source": {"component": "kubelet", "host": NODE}},
    "of another node": {"source": {"component": "migsched-agent", "host": OTHER}},
    "about a node": {"involvedObject": {"kind": "Node", "name": OTHER, "namespace": "default"}},
    "with a reason of the kubelet's": {"reason": "Killing"},
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED.keys())
def test_an_agent_forges_no_events(cluster: ControlPlane, kubeconfig: Path, forged: dict[str, object]) -> None:
    """The policy takes from an agent only Events about pods, with its own name, node and reasons, and no changes."""
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "told.1", "namespace": "default"},
        "involvedObject": {"kind": "Pod", "name": "told", "namespace": "default"},
        "source": {"component": "migsched-agent", "host": NODE},
        "reason": "SliceReady",
        "message": "it stands",
        "type": "Normal",
    }
    as_agent = [f"--kubeconfig={kubeconfig}", "--dry-run=server", "--validate=false"]
    deployed.create(cluster, event, *as_agent)
    with pytest.raises(CommandError, match="an agent's Event must"):
        deployed.create(cluster, event | forged, *as_agent)


async def test_the_agents_role_may_not_patch_nodes(client: KubeClient) -> None:
    """Keeping the GPU Operator's labels needs a right of its own; without it the refusal is told apart."""
    with pytest.raises(errors.RefusedError, match="403"):
        await client.label_node(NODE, {"a": "b"})


async def test_an_agent_may_not_report_for_another_node(client: KubeClient) -> None:
    """The policy keeps an agent from making or changing the MigNode of another node, in words."""
    other = await client.node(OTHER)
    status = observe(SimulatedDevices(simulate("a100-40gb:1")), OTHER)
    with pytest.raises(errors.RefusedError, match="may write only what belongs to its own node, which is 'gpu-1'"):
        await client.write_status(other, status)


async def test_the_annotation_of_the_own_node_is_followed(cluster: ControlPlane, client: KubeClient) -> None:
    """With its own rights an agent hears what a person takes out of service on its node, and of no other."""
    told: list[str] = []
    task = asyncio.create_task(OwnNode(client, NODE, told.append).run())
    try:
        await deployed.soon(lambda: told == [""], "the node is listed")
        cluster.kubectl("annotate", "node", OTHER, "migsched.io/out-of-service=all")
        cluster.kubectl("annotate", "node", NODE, "migsched.io/out-of-service=3")
        await deployed.soon(lambda: told[-1] == "3", "the annotation is seen")
        cluster.kubectl("annotate", "node", NODE, "migsched.io/out-of-service-")
        await deployed.soon(lambda: told[-1] == "", "its end is seen")
        assert set(told) == {"", "3"}
    finally:
        task.cancel()


async def test_labels_of_the_own_node_are_kept(cluster: ControlPlane, client: KubeClient, kubeconfig: Path) -> None:
    """With the opt-in rights a label that somebody rewrites is set back, seen by the watch of the own node alone."""
    cluster.kubectl("apply", f"--filename={LABELS}")
    plugin = "nvidia.com/gpu.deploy.device-plugin"

    def told(node: str) -> dict[str, str]:
        labels = json.loads(cluster.kubectl("get", "node", node, "--output=jsonpath={.metadata.labels}").stdout or "{}")
        return {key: value for key, value in labels.items() if key in coexistence.OPERATOR_LABELS}

    task = asyncio.create_task(Labels(client, NODE).run())
    try:
        await deployed.soon(lambda: told(NODE) == coexistence.OPERATOR_LABELS, "the labels are set")
        cluster.kubectl("label", "node", NODE, f"{plugin}=true", "--overwrite")
        cluster.kubectl("label", "node", OTHER, f"{plugin}=true", "--overwrite")
        await deployed.soon(lambda: told(NODE) == coexistence.OPERATOR_LABELS, "the label is set back")
        assert told(OTHER) == {plugin: "true"}
        for wrong in ({"zone": "b"}, {"kubernetes.io/hostname": "x"}):
            with pytest.raises(errors.RefusedError, match="only the labels that keep NVIDIA's"):
                await client.label_node(NODE, wrong)
        with pytest.raises(errors.RefusedError, match="its own node"):
            await client.label_node(OTHER, {plugin: "false"})
        for part in ({"annotations": {"a": "b"}}, {"finalizers": ["example.com/stay"]}):
            patch = ["patch", "node", NODE, "--type=merge", f"--patch={json.dumps({'metadata': part})}"]
            with pytest.raises(CommandError, match="only the labels that keep NVIDIA's"):
                cluster.kubectl(*patch, f"--kubeconfig={kubeconfig}")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        cluster.kubectl("delete", f"--filename={LABELS}")
