"""Long answers about the cluster: others have their turn in between, and what changes meanwhile does no harm."""

import asyncio

from allocator.claims import snapshot_file
from allocator.placement import policy
from kubeclient.changes import Change, ChangeType
from scheduler import cooperative
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.port import WatchedKind
from scheduler.snapshots import Snapshots
from simulator.cluster.memory_cluster.client import MemoryCluster
from simulator.cluster.memory_cluster.server import MemoryServer
from tests.unit.scheduler.cache.test_cluster_cache import mig_node, pod, promised, status_of


def known(*nodes: str) -> ClusterCache:
    """A state with these nodes, one GPU each, and a pod on the first."""
    state = ClusterCache(policy.DEFAULT, lambda: None)
    for name in nodes:
        state.apply(WatchedKind.MIG_NODE, Change(ChangeType.ADDED, mig_node(name, status_of(name)), "1"))
    state.apply(WatchedKind.POD, Change(ChangeType.ADDED, pod("p", "n", annotation=promised(2)), "2"))
    return state


async def test_others_have_their_turn_between_two_items() -> None:
    """With the time of a step used up, whoever else is ready runs before the next item."""
    order: list[str] = []

    async def other() -> None:
        for number in range(3):
            order.append(f"other {number}")
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    async for item in cooperative.paced(["a", "b", "c"], step_s=0.0):
        order.append(item)  # noqa: PERF401 - in between is what it is about
    await task
    assert order == ["a", "other 0", "b", "other 1", "c", "other 2"]


async def test_items_within_one_step_are_not_interrupted() -> None:
    """While there is time left in a step, the loop is not given back."""
    ran: list[int] = []
    asyncio.get_running_loop().call_soon(ran.append, 1)
    assert [item async for item in cooperative.paced(range(100), step_s=60.0)] == list(range(100))
    assert ran == []


async def test_a_node_that_goes_meanwhile_is_left_out() -> None:
    """A snapshot holds the nodes that are there when their turn comes, each with what is on it then."""
    state = known("m", "n", "o")
    writing = asyncio.create_task(Snapshots(state, MemoryCluster(MemoryServer()), step_s=0.0).text())
    await asyncio.sleep(0)  # the first node is written
    state.inventory.forget_report("o")
    saved = snapshot_file.decode(b"".join(await writing))
    assert [node.name for node in saved.snapshot.nodes] == ["m", "n"]
    (occupant,) = saved.snapshot.nodes[1].gpus[0].occupants
    assert (occupant.pod, occupant.placement.start) == ("p", 2)
    assert set(saved.pods) == {"uid-p"}


async def test_a_pod_that_goes_meanwhile_is_no_error() -> None:
    """A pod that ends while its node was written already keeps its place in the file and can still be read."""
    state = known("n", "o")
    writing = asyncio.create_task(Snapshots(state, MemoryCluster(MemoryServer()), step_s=0.0).text())
    for _ in ("the pod's labels", "the first node"):
        await asyncio.sleep(0)
    state.apply(WatchedKind.POD, Change(ChangeType.DELETED, pod("p", "n"), "3"))
    saved = snapshot_file.decode(b"".join(await writing))
    assert [occupant.pod for occupant in saved.snapshot.nodes[0].gpus[0].occupants] == ["p"]
    assert saved.pods == {}
