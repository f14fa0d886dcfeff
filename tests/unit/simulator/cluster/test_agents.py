"""Stand-ins for agents: how they write reports and events. What they do to pods is in tests/contract/agents."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from allocator import errors
from simulator.cluster import api, nodes
from simulator.cluster.agents import Agents
from simulator.cluster.kubelet import Kubelets
from simulator.cluster.memory_cluster.client import MemoryApi
from simulator.cluster.memory_cluster.faults import Fault
from simulator.cluster.running import running
from tests.unit.simulator.cluster.memory_cluster import MemoryCluster
from tests.waiting import eventually

FLEET = nodes.uniform(2, 2)
NODE, GPU = "node-1", FLEET[0].gpus[0].uuid


@pytest.fixture
def cluster() -> MemoryCluster:
    return MemoryCluster()


@asynccontextmanager
async def started(cluster: MemoryCluster) -> AsyncIterator[Agents]:
    made = Agents(cluster.api, FLEET)
    kubelets = Kubelets(MemoryApi(cluster.server), FLEET, made)
    async with running(made.run(), kubelets.run()):
        await eventually(lambda: len(list(cluster.server.list(api.MIG_NODE))) == len(FLEET), "all nodes reported")
        yield made


async def test_lost_events_are_written_again(cluster: MemoryCluster) -> None:
    """An event that could not be written is tried again until it is, once."""
    async with started(cluster):
        lost = cluster.api.faults.add(Fault("create", "events", error=errors.UnreachableError("timeout"), times=2))
        cluster.bound("p", NODE, (GPU, "1g.5gb", 0))
        await eventually(lambda: lost.met == 2 and bool(cluster.events()), "the event is there")
        cluster.bound("later", NODE, (GPU, "1g.5gb", 1))
        await eventually(lambda: len(cluster.events()) == 2, "a later pod was told, too")
        assert [event["involvedObject"]["name"] for event in cluster.events()].count("p") == 1


async def test_changes_of_a_node_share_a_write(cluster: MemoryCluster) -> None:
    """While a report is under way further changes wait and go together in the next one."""
    async with started(cluster) as running_agents:
        await eventually(lambda: cluster.server.get(api.MIG_NODE, NODE).document.get("status") is not None, "a report")
        hold = asyncio.Event()
        writes = cluster.api.faults.add(Fault("patch_status", "mignodes", hold=hold, times=None))
        cluster.bound("p0", NODE, (GPU, "1g.5gb", 0))
        await eventually(lambda: writes.met == 1, "the first write is under way")
        for start in range(1, 7):
            cluster.bound(f"p{start}", NODE, (GPU, "1g.5gb", start))
            await eventually(lambda: len(running_agents.hardware()[GPU]) == start + 1, "the slice is cut")  # noqa: B023
        hold.set()
        await eventually(lambda: len(cluster.slices(NODE)) == 7, "all slices are reported")
        assert writes.met == 2


async def test_reports_survive_errors(cluster: MemoryCluster) -> None:
    """A report that the API server did not take, or lost with its MigNode, is written again."""
    async with started(cluster):
        cluster.api.faults.add(Fault("patch_status", "mignodes", error=errors.UnreachableError("timeout"), times=2))
        cluster.server.delete(api.MIG_NODE, NODE)
        cluster.bound("p", NODE, (GPU, "1g.5gb", 0))
        await eventually(lambda: cluster.slices(NODE) == [(GPU, "1g.5gb", 0, "p")], "the slice is reported")
