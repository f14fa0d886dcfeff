"""Real node agents on simulated nodes: what outlives a run, and that nothing else does."""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from config import logs
from simulator.cluster import nodes
from simulator.cluster.kubelet import Kubelets
from simulator.cluster.memory_cluster.agent_client import MemoryAgentCluster
from simulator.cluster.node_agents import NodeAgents
from simulator.cluster.running import running
from tests.unit.simulator.cluster.memory_cluster import MemoryCluster
from tests.waiting import eventually

FLEET = nodes.uniform(1, 2)
NODE, GPU, OTHER_GPU = "node-1", FLEET[0].gpus[0].uuid, FLEET[0].gpus[1].uuid


@pytest.fixture
async def cluster() -> MemoryCluster:
    """A cluster with a node."""
    logs.configure("json", "error")
    made = MemoryCluster()
    await nodes.create(made.api, FLEET)
    return made


@asynccontextmanager
async def node_agents(cluster: MemoryCluster, directory: Path | None = None) -> AsyncIterator[NodeAgents]:
    """The node's agent and kubelet, running meanwhile."""
    agents = NodeAgents(FLEET, lambda _: MemoryAgentCluster(cluster.server), directory)
    kubelets = Kubelets(cluster.api, FLEET, agents)
    async with running(agents.run(), kubelets.run()):
        await agents.ready()
        yield agents


def used(agents: NodeAgents) -> dict[str, list[str]]:
    """What containers have, by GPU."""
    return {gpu: sorted(map(str, places)) for gpu, places in agents.in_use().items() if places}


async def test_what_containers_have_is_cut_again_after_a_restart(cluster: MemoryCluster, tmp_path: Path) -> None:
    """Journal and checkpoint lie in the directory: pods get the very same places, wherever others would go first."""
    async with node_agents(cluster, tmp_path) as agents:
        cluster.bound("first", NODE, (GPU, "3g.20gb", 0))
        await eventually(lambda: cluster.phase("first") == "Running", "the first runs")
        cluster.bound("stays", NODE, (GPU, "3g.20gb", 4), (OTHER_GPU, "2g.10gb", 2))
        await eventually(lambda: cluster.phase("stays") == "Running", "the second runs")
        await eventually(lambda: len(cluster.slices(NODE)) == 3 and all(s[3] for s in cluster.slices(NODE)), "owned")
    cluster.delete("first", grace_seconds=0)
    async with node_agents(cluster, tmp_path) as agents:
        cluster.bound("new", NODE, asks=("4g.20gb",))
        await eventually(lambda: cluster.phase("new") == "Running", "a new one runs")
        assert used(agents) == {GPU: ["3g.20gb@4", "4g.20gb@0"], OTHER_GPU: ["2g.10gb@2"]}
        owned = {(GPU, "3g.20gb", 4, "stays"), (OTHER_GPU, "2g.10gb", 2, "stays")}
        await eventually(lambda: owned <= set(cluster.slices(NODE)), "they are reported as they were")


async def test_without_a_directory_nothing_is_left(cluster: MemoryCluster) -> None:
    """No socket, no folder and no thread outlives the agents."""
    before = set(threading.enumerate())
    async with node_agents(cluster) as agents:
        cluster.bound("p", NODE, (GPU, "1g.5gb", 0))
        await eventually(lambda: cluster.phase("p") == "Running", "the pod runs")
        folder = agents.folder
        assert list(folder.rglob("kubelet.sock"))
        assert all(len(str(socket)) < 100 for socket in folder.rglob("*.sock")), "a socket's path ends after 107"
        assert any(thread.name.startswith("agents") for thread in threading.enumerate())
    assert not folder.exists()
    assert not [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("agents")]


async def test_a_pod_waits_for_its_agent(cluster: MemoryCluster) -> None:
    """One that is bound before the agent has registered its devices is admitted afterwards, where it was promised."""
    cluster.bound("early", NODE, (OTHER_GPU, "1g.5gb", 3))
    async with node_agents(cluster) as agents:
        await eventually(lambda: cluster.phase("early") == "Running", "it runs")
        assert used(agents) == {OTHER_GPU: ["1g.5gb@3"]}
