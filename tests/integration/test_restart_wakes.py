"""Pods that were refused before the scheduler service began again are woken by the next room."""

import json
from typing import Any

import pytest

from simulator.cluster import api
from simulator.cluster.embedded import Embedded
from tests.integration.embedded_cluster import cluster, condition, pending_pods, running_pods, settled
from tests.unit.simulator.cluster.memory_cluster import pod
from tests.waiting import eventually


async def restart(world: Embedded) -> None:
    """The service dies and comes back, with nothing but what the API server knows."""
    await world.service.stop()
    await world.start_extender()
    await world.service.synced()


def report(world: Embedded) -> dict[str, Any]:
    """The status of the only MigNode."""
    document = next(node.document for node in world.server.list(api.MIG_NODE))
    status: dict[str, Any] = json.loads(json.dumps(document["status"]))
    return status


async def health(world: Embedded, *, healthy: bool) -> None:
    """The agent reports its GPU well or ill."""
    status = report(world)
    for gpu in status["gpus"]:
        gpu["healthy"] = healthy
    await world.api.patch_status(api.MIG_NODE, "node-1", {"status": status})


@pytest.mark.parametrize("when", ["after the restart", "while the service is down"])
async def test_a_gpu_that_is_well_again_wakes_who_was_refused_before(when: str) -> None:
    """kube-scheduler keeps its queue when only the extender restarts, and does not ask by itself for minutes."""
    async with cluster(1, 1) as world:
        await settled(world)
        await health(world, healthy=False)
        await eventually(lambda: not world.service.state.inventory.fleet.gpus("node-1"), "the GPU is out of service")
        await world.apply([pod("waits", "1g.5gb")])
        await settled(world)
        (refused,) = pending_pods(world)
        assert "0/1 nodes are available" in condition(refused)
        if when == "after the restart":
            await restart(world)
            await health(world, healthy=True)
        else:
            await world.service.stop()
            await health(world, healthy=True)
            await world.start_extender()
            await world.service.synced()
        await eventually(lambda: running_pods(world) == ["waits"], "the pod runs", seconds=8)
        await settled(world)
