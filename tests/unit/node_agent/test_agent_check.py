"""The agent looks at its node before it starts: what is missing is told at once, and `--check` only looks."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from allocator import errors
from cli import main as cli
from kubeclient.objects import Meta, PodStatus
from node_agent import preconditions, settings, surroundings
from node_agent.cluster import access
from node_agent.cluster.access import Right
from node_agent.cluster.node_pod import HostPath, NodePod, NodePodSpec, Volume
from node_agent.preconditions import Precondition, PreconditionError
from node_agent.service import Service
from simulator.cluster.device_manager import DeviceManager
from simulator.gpu.devices import SimulatedDevices
from simulator.gpu.driver import simulate
from tests.unit.node_agent.memory_cluster import OneNodeCluster

STOCK_PLUGIN = NodePod(
    Meta("nvidia-device-plugin-x", "gpu-operator", "u", labels={"app": "nvidia-device-plugin-daemonset"}),
    NodePodSpec(volumes=(Volume(HostPath("/var/lib/kubelet/device-plugins")),)),
    PodStatus("Running"),
)
MOUNTS = """\
22 1 0:1 / / rw - overlay overlay rw
23 22 0:2 / /var/lib/with\\040space rw - tmpfs tmpfs rw
24 22 8:1 / /var rw,noatime shared:1 - ext4 /dev/sda1 rw
25 24 8:1 / /var/lib/migsched rw - xfs /dev/sdb1 rw
a line that cannot be read
"""


class Rights:
    """`node_agent.cluster.access.AccessReviewer`: everything but what is denied."""

    def __init__(self, *denied: Right, crd: bool = True, problem: errors.ClusterError | None = None) -> None:
        self.denied = denied
        self.crd = crd
        self.problem = problem

    async def serves_mig_nodes(self) -> bool:
        """See AccessReviewer."""
        if self.problem is not None:
            raise self.problem
        return self.crd

    async def may(self, right: Right) -> bool:
        """See AccessReviewer."""
        return right not in self.denied


class Node:
    """A node with a kubelet, a driver and a cluster, and what an agent there would be told."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.kubelet = DeviceManager(root)
        self.cluster = OneNodeCluster()
        self.rights = Rights()
        self.devices = SimulatedDevices(simulate("a100-40gb:2", seed="n1", pause=lambda _: None))
        self.settings = settings.load(
            node="n1",
            state_dir=root / "state",
            cdi_dir=root / "cdi",
            device_plugin_dir=self.kubelet.plugins,
            pod_resources_socket=self.kubelet.pod_resources,
            plugin_registry_dir=root / "registry",
            metrics_port=0,
            poll_s=0.05,
        )

    async def look(self) -> tuple[Precondition, ...]:
        """Every precondition, as an agent that starts here judges it."""
        journal = self.settings.state_dir / "journal.json"
        found = await surroundings.look(
            self.settings, self.devices, self.cluster, self.rights, journal=journal, simulated=True
        )
        return preconditions.judge(found)

    async def failed(self) -> list[str]:
        """The names of those that do not hold."""
        return [precondition.name for precondition in preconditions.failures(await self.look())]

    async def start(self) -> None:
        """An agent that is expected to end by itself."""
        failed = preconditions.failures(await self.look())
        preconditions.require(self.settings.node, failed)
        await Service(self.settings, self.devices, self.cluster, boot="b", simulated=True, failed=failed).run()


@pytest.fixture
async def node(short_path: Path) -> AsyncIterator[Node]:
    """A node where nothing is missing."""
    made = Node(short_path)
    await made.kubelet.start()
    yield made
    await made.kubelet.stop()
    made.devices.close()


async def test_nothing_is_missing_on_a_good_node(node: Node) -> None:
    """Where everything is there, all holds, and looking has changed nothing on disk."""
    before = sorted(str(path) for path in node.root.rglob("*"))
    assert [str(precondition) for precondition in await node.look() if precondition.ok is not True] == []
    assert sorted(str(path) for path in node.root.rglob("*")) == before


async def test_what_is_missing_is_found(node: Node) -> None:
    """Each thing that is missing is found, and none hides another."""
    (node.root / "state").mkdir()
    (node.root / "state" / "journal.json.0").write_text("no journal")
    (node.root / "cdi").write_text("a file")
    await node.kubelet.stop()
    await node.cluster.put(STOCK_PLUGIN)
    node.rights = Rights(access.RIGHTS[0], crd=False)
    node.settings = node.settings.model_copy(update={"node": "n1", "metrics_host": "203.0.113.1"})
    assert await node.failed() == [
        "journal",
        "no other manager of the GPUs",
        "metrics port",
        "kubelet's device plugin directory",
        "kubelet's PodResources",
        "CDI directory",
        "CRD MigNode",
        "RBAC",
    ]


async def test_an_api_server_that_is_away_hides_nothing_else(node: Node) -> None:
    """Without the API server the rest is still looked at, and what only it knows is unknown."""
    node.cluster.down = True
    node.rights = Rights(problem=errors.UnreachableError("the API server is away"))
    judged = {precondition.name: precondition.ok for precondition in await node.look()}
    assert {name for name, ok in judged.items() if ok is False} == {"API server"}
    assert {name for name, ok in judged.items() if ok is None} == {"node name", "CRD MigNode", "RBAC"}


async def test_a_start_tells_all_that_is_missing_in_one_message(node: Node) -> None:
    """An agent that cannot start names what it needs and what it would only have waited for, all in one message."""
    (node.root / "state").mkdir()
    (node.root / "state" / "journal.json.0").write_text("no journal")
    await node.cluster.put(STOCK_PLUGIN)
    node.rights = Rights(crd=False)
    with pytest.raises(PreconditionError) as caught:
        await node.start()
    message = str(caught.value)
    assert message.startswith("node n1: 3 preconditions are not met: ")
    for part in ("journal", "gpu.deploy.device-plugin=false", "mignodes.migsched.io"):
        assert part in message


async def test_a_conflict_is_told_with_what_else_is_missing(node: Node) -> None:
    """Another manager of the GPUs keeps the agent from starting, and the message names the rest, too."""
    await node.cluster.put(STOCK_PLUGIN)
    node.rights = Rights(crd=False)
    with pytest.raises(ExceptionGroup) as caught:
        await node.start()
    message = str(caught.value.exceptions[0])
    assert "gpu.deploy.device-plugin=false" in message
    assert "mignodes.migsched.io" in message


async def test_a_kubelet_that_comes_later_does_not_stop_the_agent(node: Node) -> None:
    """While a node boots the kubelet may not be there yet: the agent starts, and waits for it."""
    node.rights = Rights(crd=False)
    await node.kubelet.stop()
    task = asyncio.create_task(node.start())
    try:
        await node.cluster.until(lambda: node.cluster.ready()[1] == "NoPodResources")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(
    ("path", "type_"),
    [
        ("/var/lib/migsched/journal", "xfs"),
        ("/var/lib/kubelet", "ext4"),
        ("/var/lib/with space/state", "tmpfs"),
        ("/etc", "overlay"),
    ],
)
def test_the_file_system_is_that_of_the_nearest_mount(path: str, type_: str) -> None:
    """A path lies on the mount that is nearest to it; one of an unknown table has no known type."""
    assert surroundings.file_system(MOUNTS, Path(path)) == type_
    assert surroundings.file_system("", Path(path)) == ""


def test_a_directory_that_the_agent_makes_may_be_missing(tmp_path: Path) -> None:
    """The agent makes its own directories where the one above can be written; the kubelet's have to be there."""
    missing = tmp_path / "a" / "b"
    assert surroundings.directory(missing, made=True).writable
    assert not surroundings.directory(missing).exists
    (tmp_path / "file").touch()
    assert not surroundings.directory(tmp_path / "file" / "b", made=True).writable
    assert (surroundings.directory(tmp_path).free_bytes or 0) > 0


def test_check_prints_what_is_missing(tmp_path: Path) -> None:
    """`migsched agent --check` says what is missing as a table or JSON, and exits with 1, having changed nothing."""
    paths = {"--state-dir": "state", "--device-plugin-dir": "plugins", "--kubeconfig": "none", "--cdi-dir": "cdi"}
    arguments = ["agent", "--check", "--node", "n1", "--simulate", "a100-40gb:1"]
    arguments += [part for flag, name in paths.items() for part in (flag, str(tmp_path / name))]
    ended = CliRunner().invoke(cli.app, [*arguments, "-o", "json"])
    document = json.loads(ended.stdout)
    by_name = {precondition["name"]: precondition for precondition in document["preconditions"]}
    assert (ended.exit_code, document["node"], document["ok"]) == (1, "n1", False)
    assert by_name["state directory"]["ok"] is True
    assert by_name["API server"]["ok"] is False
    assert by_name["RBAC"]["ok"] is None
    assert str(tmp_path / "plugins") in by_name["kubelet's device plugin directory"]["wrong"]
    assert by_name["kubelet's device plugin directory"]["fix"]
    table = CliRunner().invoke(cli.app, arguments)
    assert (table.exit_code, "PRECONDITION" in table.stdout) == (1, True)
    assert list(tmp_path.iterdir()) == []
