"""Simulated agents: they cut what placements say, nothing else, and give everything back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from allocator import errors
from allocator.claims import contract
from simulator.cluster import agents, api, nodes
from simulator.cluster.agents import Agents
from simulator.cluster.memory_cluster.faults import Fault
from simulator.cluster.running import running
from tests.unit.simulator.cluster.memory_cluster import MemoryCluster
from tests.waiting import eventually

FLEET = nodes.uniform(2, 2)
NODE, GPU, OTHER_GPU = "node-1", FLEET[0].gpus[0].uuid, FLEET[0].gpus[1].uuid
FOREIGN_GPU = FLEET[1].gpus[0].uuid


@pytest.fixture
def cluster() -> MemoryCluster:
    return MemoryCluster()


@asynccontextmanager
async def started(cluster: MemoryCluster) -> AsyncIterator[Agents]:
    made = Agents(cluster.api, FLEET)
    async with running(made.run()):
        await eventually(lambda: len(list(cluster.server.list(api.MIG_NODE))) == len(FLEET), "all nodes reported")
        yield made


async def test_placement_is_cut_as_promised_and_reported(cluster: MemoryCluster) -> None:
    """A bound pod's slices are cut exactly where its annotation says, and reported as its."""
    async with started(cluster) as running_agents:
        uid = cluster.bound("p", NODE, (GPU, "3g.20gb", 4), (OTHER_GPU, "1g.5gb", 6))
        expected = [(GPU, "3g.20gb", 4, "p"), (OTHER_GPU, "1g.5gb", 6, "p")]
        await eventually(lambda: cluster.slices(NODE) == expected, "both slices are reported")
        assert running_agents.is_ready(uid, NODE)
        assert cluster.events() == []


async def test_report_can_be_read_by_the_scheduler(cluster: MemoryCluster) -> None:
    """A MigNode's status decodes into a report without a problem, its slices owned."""
    async with started(cluster):
        uid = cluster.bound("p", NODE, (GPU, "1g.5gb+me", 2))
        await eventually(lambda: bool(cluster.slices(NODE)), "the slice is reported")
    status = cluster.server.get(api.MIG_NODE, NODE).document["status"]
    node = contract.decode_status(msgspec.json.encode(status), NODE)
    assert node.problem == ""
    (cut,) = node.by_uuid()[GPU].slices
    assert cut.owner is not None
    assert (cut.owner.uid, cut.owner.container) == (uid, "main")
    assert cut.mig_uuid.startswith("MIG-")


@pytest.mark.parametrize("end", ["deleted", "Succeeded", "Failed"])
async def test_slices_are_given_back_when_the_pod_is_over(cluster: MemoryCluster, end: str) -> None:
    """A pod that is gone or finished leaves nothing cut."""
    async with started(cluster) as running_agents:
        cluster.bound("p", NODE, (GPU, "7g.40gb", 0))
        await eventually(lambda: bool(cluster.slices(NODE)), "the slice is reported")
        if end == "deleted":
            cluster.delete("p", grace_seconds=0)
        else:
            cluster.set_phase("p", end)
        await eventually(lambda: cluster.slices(NODE) == [], "the slice is reported as gone")
        assert not any(running_agents.hardware().values())


async def test_slices_stay_while_the_pod_is_on_its_way_out(cluster: MemoryCluster) -> None:
    """A pod being deleted keeps its slices until its kubelet lets it go."""
    async with started(cluster) as running_agents:
        uid = cluster.bound("p", NODE, (GPU, "1g.5gb", 0))
        await eventually(lambda: bool(cluster.slices(NODE)), "the slice is reported")
        cluster.delete("p", grace_seconds=30)
        cluster.bound("later", NODE, (GPU, "1g.5gb", 1))
        await eventually(lambda: len(cluster.slices(NODE)) == 2, "a later change was seen")
        assert running_agents.is_ready(uid, NODE)


HOSTILE = {
    "not-json": "rm -rf /",
    "other-version": '{"version":7,"slices":[]}',
    "empty": "",
    "wrong-types": '{"version":1,"slices":[{"container":1,"gpu":2,"profile":3,"start":"x"}]}',
    "huge": '{"version":1,"slices":[' + "1," * 40_000 + "1]}",
    "other-profile": f'{{"version":1,"slices":[{{"container":"main","gpu":"{GPU}","profile":"7g.40gb","start":0}}]}}',
    "other-container": f'{{"version":1,"slices":[{{"container":"init","gpu":"{GPU}","profile":"1g.5gb","start":0}}]}}',
    "foreign-gpu": (
        f'{{"version":1,"slices":[{{"container":"main","gpu":"{FOREIGN_GPU}","profile":"1g.5gb","start":0}}]}}'
    ),
    "illegal-start": f'{{"version":1,"slices":[{{"container":"main","gpu":"{GPU}","profile":"1g.5gb","start":7}}]}}',
    "unicode": '{"version":1,"slices":[{"container":"main","gpu":"GPU-ẞ💥","profile":"1g.5gb","start":0}]}',
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
async def test_hostile_annotations_cut_nothing_and_are_told(cluster: MemoryCluster, text: str) -> None:
    """An annotation that cannot be meant leaves the GPUs alone; one event on the pod says what is wrong with it."""
    async with started(cluster) as running_agents:
        cluster.bind(cluster.pod("p", "1g.5gb"), NODE, text)
        await eventually(lambda: bool(cluster.events()), "the refusal is told")
        (event,) = cluster.events()
        assert event["reason"] == agents.REFUSED
        assert event["involvedObject"]["name"] == "p"
        assert event["message"]
        assert len(event["message"]) <= 1024
        assert not any(running_agents.hardware().values())
        assert running_agents.problem(event["involvedObject"]["uid"])


async def test_refusal_is_told_once_and_not_lost(cluster: MemoryCluster) -> None:
    """An event that could not be written is written with the pod's next change, and no further one after that."""
    async with started(cluster):
        lost = cluster.api.faults.add(Fault("create", "events", error=errors.UnreachableError("timeout")))
        cluster.bind(cluster.pod("p", "1g.5gb"), NODE, "rm -rf /")
        await eventually(lambda: lost.met == 1, "the event was tried")
        for label in ("1", "2", "3"):
            cluster.server.patch(api.POD, "p", {"metadata": {"labels": {"x": label}}}, "default")
        cluster.bound("later", NODE, (GPU, "1g.5gb", 0))
        await eventually(lambda: bool(cluster.slices(NODE)), "a later pod was seen")
        assert len(cluster.events()) == 1


async def test_all_or_nothing(cluster: MemoryCluster) -> None:
    """Where one of a pod's slices cannot be cut, none of them stays."""
    async with started(cluster) as running_agents:
        cluster.bound("first", NODE, (OTHER_GPU, "4g.20gb", 0))
        await eventually(lambda: bool(cluster.slices(NODE)), "the first slice is reported")
        cluster.bound("second", NODE, (GPU, "1g.5gb", 0), (OTHER_GPU, "1g.5gb", 1))
        await eventually(lambda: bool(cluster.events()), "the refusal is told")
        assert [str(p) for p in running_agents.hardware()[OTHER_GPU]] == ["4g.20gb@0"]
        assert running_agents.hardware()[GPU] == ()


async def test_place_that_frees_goes_to_who_was_promised_it(cluster: MemoryCluster) -> None:
    """A pod refused because its place was taken has it as soon as it is free."""
    async with started(cluster):
        cluster.bound("first", NODE, (GPU, "7g.40gb", 0))
        await eventually(lambda: bool(cluster.slices(NODE)), "the first slice is reported")
        cluster.bound("second", NODE, (GPU, "1g.5gb", 3))
        await eventually(lambda: bool(cluster.events()), "the refusal is told")
        cluster.delete("first", grace_seconds=0)
        await eventually(lambda: cluster.slices(NODE) == [(GPU, "1g.5gb", 3, "second")], "the second has its slice")


async def test_pod_bound_past_the_scheduler_is_given_room(cluster: MemoryCluster) -> None:
    """A pod without a placement gets slices if there is room, and an event saying so if there is none."""
    async with started(cluster) as running_agents:
        first = cluster.bound("first", NODE, asks=("7g.40gb", "7g.40gb"))
        await eventually(lambda: running_agents.is_ready(first, NODE), "the pod has its slices")
        second = cluster.bound("second", NODE, asks=("1g.5gb",))
        await eventually(lambda: "no room" in running_agents.problem(second), "the refusal is known")


async def test_promises_come_before_pods_without_one_at_the_start(cluster: MemoryCluster) -> None:
    """Agents that start again give promised places to those they were promised to, whoever is listed first."""
    cluster.bound("a-stray", NODE, asks=("7g.40gb",))
    cluster.bound("b-promised", NODE, (GPU, "7g.40gb", 0))
    expected = {(GPU, "7g.40gb", 0, "b-promised"), (OTHER_GPU, "7g.40gb", 0, "a-stray")}
    async with started(cluster):
        await eventually(lambda: set(cluster.slices(NODE)) == expected, "both have their slices")


async def test_ready_pods_are_announced(cluster: MemoryCluster) -> None:
    """Listeners hear of each pod that has its slices, once."""
    async with started(cluster) as running_agents:
        heard: list[str] = []
        running_agents.on_ready.append(heard.append)
        uid = cluster.bound("p", NODE, (GPU, "1g.5gb", 0))
        cluster.set_phase("p", "Running")
        await eventually(lambda: bool(cluster.slices(NODE)), "the slice is reported")
        assert heard == [uid]


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
