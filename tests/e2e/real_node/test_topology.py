"""A kubelet that aligns devices (`single-numa-node`) takes the agent's NUMA nodes, and full GPUs do not mislead it."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from simulator.gpu import driver
from testbed.control_plane.control_plane import ControlPlane
from testbed.node.real_node import RealNode
from tests.e2e.real_node import pods
from tests.e2e.real_node.agent import Agent
from tests.e2e.real_node.hardware import Hardware
from tests.e2e.scheduling.stack import DEPLOY

pytestmark = pytest.mark.e2e

HERE, ELSEWHERE = 0, 63  # every machine has NUMA node 0; hardly one has 64


@dataclass
class AligningNode:
    """A node with a GPU at the machine's first NUMA node and one at a NUMA node that it does not have."""

    cluster: ControlPlane
    hardware: Hardware

    def create(self, name: str, profile: str) -> None:
        """A pod bound to the node that asks for a slice."""
        limits = {f"nvidia.com/mig-{profile}": 1}
        self.cluster.apply([pods.pod(name, pods.FOREVER, node="n4", limits=limits, restart="Never")])

    def slices(self) -> list[tuple[int, str]]:
        """GPU index and placement of all slices."""
        return [(gpu.index, str(one.placement)) for gpu in self.hardware.driver.by_index() for one in gpu.instances()]


@pytest.fixture
def aligning(
    cluster: ControlPlane, tmp_path_factory: pytest.TempPathFactory, short_path: Path
) -> Iterator[AligningNode]:
    """The node and its agent, serving."""
    cluster.apply(DEPLOY / "crd" / "mignodes.yaml")
    with ExitStack() as cleanup:
        cleanup.callback(cluster.kubectl, "delete", "node/n4", "mignode/n4", "--ignore-not-found")
        kubelet = {"topologyManagerPolicy": "single-numa-node"}
        node = cleanup.enter_context(RealNode(cluster, "n4", tmp_path_factory.mktemp("n"), kubelet=kubelet))
        simulated = driver.simulate("a100-40gb:2", seed="n4")
        for gpu, numa_node in zip(simulated.by_index(), (HERE, ELSEWHERE), strict=True):
            gpu.numa_node = numa_node
        (short_path / "in-use").mkdir()
        hardware = cleanup.enter_context(Hardware(simulated, short_path / "gpus", short_path / "in-use"))
        agent = Agent(cluster, node, hardware, tmp_path_factory.mktemp("a"))
        cleanup.callback(agent.stop)
        agent.start()
        pods.eventually(lambda: agent.registered, "the agent's registration")
        cluster.kubectl(
            "wait", "node/n4", "--for=jsonpath={.status.allocatable.nvidia\\.com/mig-7g\\.40gb}=2", "--timeout=30s"
        )
        yield AligningNode(cluster, hardware)
        cluster.kubectl("delete", "pods", "--all", "--grace-period=1", "--timeout=30s")


def test_the_kubelet_aligns_by_the_nodes_that_the_agent_tells(aligning: AligningNode) -> None:
    """Slices are given next to the NUMA node that the kubelet can use, and none is tried where no room is left."""
    aligning.create("first", "4g.20gb")
    aligning.cluster.kubectl("wait", "pod/first", "--for=condition=Ready", "--timeout=30s")
    assert aligning.slices() == [(0, "4g.20gb@0")]
    aligning.create("second", "3g.20gb")
    aligning.cluster.kubectl("wait", "pod/second", "--for=condition=Ready", "--timeout=30s")
    assert sorted(aligning.slices()) == [(0, "3g.20gb@4"), (0, "4g.20gb@0")]
    aligning.create("third", "1g.5gb")
    aligning.cluster.kubectl("wait", "pod/third", "--for=jsonpath={.status.phase}=Failed", "--timeout=30s")
    status = pods.read(aligning.cluster, "pod", "third")["status"]
    assert status["reason"] == "TopologyAffinityError", status
    assert len(aligning.slices()) == 2
