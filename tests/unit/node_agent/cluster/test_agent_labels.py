"""The GPU Operator's labels of the own node are set back at once, and without an endless fight."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from node_agent.cluster import coexistence
from node_agent.cluster.labels import Labels
from tests.unit.node_agent.memory_cluster import OneNodeCluster

RIGHT = dict(coexistence.OPERATOR_LABELS)
PLUGIN = "nvidia.com/gpu.deploy.device-plugin"


@asynccontextmanager
async def kept(cluster: OneNodeCluster) -> AsyncIterator[list[float]]:
    """Meanwhile the labels are kept; the pauses made between writes, which take no time here."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    task = asyncio.create_task(Labels(cluster, "n1", sleep=sleep).run())
    try:
        yield pauses
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_a_label_that_somebody_rewrites_is_set_back_by_the_watch() -> None:
    """The node's change is seen and answered, not found at the next poll; other labels are left alone."""
    cluster = OneNodeCluster()
    cluster.labels = {"zone": "a"}
    async with kept(cluster):
        await cluster.until(lambda: cluster.labels == {"zone": "a", **RIGHT})
        await cluster.relabel({PLUGIN: "true"})
        await cluster.until(lambda: cluster.labels == {"zone": "a", **RIGHT})
    assert cluster.label_writes == 2


async def test_labels_that_are_right_are_not_written() -> None:
    """A node that is as it has to be is not patched, however often it changes otherwise."""
    cluster = OneNodeCluster()
    cluster.labels = dict(RIGHT)
    async with kept(cluster):
        for number in range(20):
            await cluster.relabel({"zone": str(number)})
        await cluster.relabel({PLUGIN: "true"})
        await cluster.until(lambda: cluster.labels.get(PLUGIN) == "false")
    assert cluster.label_writes == 1


async def test_one_who_insists_is_answered_more_and_more_slowly() -> None:
    """Against a controller that rewrites the label each time, the agent doubles its pause."""
    cluster = OneNodeCluster()
    async with kept(cluster) as pauses:
        for writes in range(1, 9):
            await cluster.until(lambda writes=writes: cluster.label_writes == writes)  # type: ignore[misc]
            await cluster.relabel({PLUGIN: "true"})
        await cluster.until(lambda: cluster.label_writes == 9)
    assert pauses[:8] == [1, 2, 4, 8, 16, 32, 60, 60]


async def test_it_goes_on_after_the_api_server_was_away() -> None:
    """A change that happened meanwhile is found when the API server is back."""
    cluster = OneNodeCluster()
    cluster.labels = dict(RIGHT)
    async with kept(cluster):
        await cluster.relabel({"zone": "b"})
        cluster.down = True
        cluster.labels[PLUGIN] = "true"
        await cluster.relabel({})
        cluster.down = False
        await cluster.until(lambda: cluster.labels[PLUGIN] == "false")


async def test_labels_of_a_node_that_gpu_cluster_serves_are_left_alone() -> None:
    """Under GPUCluster the operator deletes the labels that the agent keeps elsewhere, and the agent does not fight."""
    cluster = OneNodeCluster()
    cluster.labels = {"nvidia.com/gpu.deploy.dra-driver": "true"}
    async with kept(cluster):
        for number in range(5):
            await cluster.relabel({"zone": str(number)})
        await cluster.relabel({"nvidia.com/gpu.deploy.dra-driver": "false"})
        await cluster.until(lambda: cluster.labels.get(PLUGIN) == "false")
    assert cluster.label_writes == 1
