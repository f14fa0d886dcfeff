"""Refused pods are requeued once room arises, seldom, and never while no pod waits."""

import asyncio

from allocator import errors
from allocator.claims import contract
from allocator.placement import policy
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.requeuer import Requeuer
from scheduler.metrics import Metrics
from simulator.cluster import api
from simulator.cluster.memory_cluster.client import MemoryCluster
from simulator.cluster.memory_cluster.faults import Fault
from simulator.cluster.memory_cluster.server import MemoryServer


class RequeuerOnOneNode:
    """A requeuer over a cluster of one node."""

    def __init__(self) -> None:
        self.server = MemoryServer()
        self.server.create(api.NODE, {"metadata": {"name": "n"}})
        self.cluster = MemoryCluster(self.server)
        self.metrics = Metrics()
        self.requeuer = Requeuer(self.cluster, self.metrics, interval_s=0.01)
        self.state = ClusterCache(policy.DEFAULT, self.requeuer.notify)
        self.state.inventory.nodes.add("n")

    def requeues(self) -> float:
        """How often the node was patched."""
        return float(self.metrics.registry.get_sample_value("migsched_requeues_total") or 0)

    def annotation(self) -> str | None:
        """What the patch left."""
        annotations = self.server.get(api.NODE, "n").document["metadata"].get("annotations") or {}
        found: str | None = annotations.get(contract.REQUEUE_ANNOTATION)
        return found


async def test_many_notifications_are_one_patch_and_none_while_no_pod_waits() -> None:
    """Without refused pods nothing is sent; with one, a hundred notifications at once are one patch."""
    room = RequeuerOnOneNode()
    task = asyncio.create_task(room.requeuer.run(room.state))
    room.requeuer.notify()
    for _ in range(5):
        await asyncio.sleep(0)
    assert room.annotation() is None
    room.state.waiting.refused.add("uid")
    for _ in range(100):
        room.requeuer.notify()
    async with asyncio.timeout(5):
        while room.requeues() < 1:
            await asyncio.sleep(0)
    assert room.requeues() == 1
    assert room.annotation() is not None
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_requeue_that_failed_is_sent_again() -> None:
    """An API server that is away does not lose the requeue."""
    room = RequeuerOnOneNode()
    fault = room.cluster.faults.add(Fault("patch", "nodes", error=errors.UnreachableError("away")))
    room.state.waiting.refused.add("uid")
    task = asyncio.create_task(room.requeuer.run(room.state))
    room.requeuer.notify()
    async with asyncio.timeout(5):
        while room.requeues() < 1:
            await asyncio.sleep(0)
    assert fault.met == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
