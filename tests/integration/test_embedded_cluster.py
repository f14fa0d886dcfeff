"""The real scheduler service over HTTP, in one process with a simulated cluster, node agents included."""

import random

import pytest

from allocator import errors
from allocator.mig import gpu_models
from simulator.cluster import api
from simulator.cluster.memory_cluster.faults import Fault
from tests.integration import embedded_cluster
from tests.integration.embedded_cluster import (
    cluster,
    condition,
    could_be_placed,
    documents,
    pending_pods,
    running_pods,
    settled,
)
from tests.unit.simulator.cluster.memory_cluster import pod
from tests.waiting import eventually

LOST = errors.UnreachableError("connection reset by peer")


async def test_burst_fills_the_cluster_to_the_last_slot() -> None:
    """280 small pods fill 40 GPUs, the next one is refused with the reason, and gets the first place that frees."""
    async with cluster(5, 8) as world:
        await world.apply([pod(f"p{number:03}", "1g.5gb") for number in range(281)])
        await settled(world)
        assert len(running_pods(world)) == 280
        (refused,) = pending_pods(world)
        assert condition(refused).startswith("0/5 nodes are available: 5 Insufficient nvidia.com/mig-1g.5gb.")
        gone = next(name for name in running_pods(world) if name != refused["metadata"]["name"])
        await world.api.delete(api.POD, gone, "default")
        await eventually(lambda: refused["metadata"]["name"] in running_pods(world), "the refused pod runs")
        await settled(world)
        assert len(running_pods(world)) == 280


async def test_pod_refused_for_its_geometry_is_placed_when_room_arises() -> None:
    """Counts that would do but a geometry that does not are the extender's refusal, and its wake-up ends it."""
    async with cluster(2, 1) as world:
        await world.apply([pod(f"half-{number}", "4g.20gb") for number in range(2)])
        await settled(world)
        await world.apply([pod("whole", "7g.40gb")])
        await settled(world)
        (refused,) = pending_pods(world)
        assert condition(refused).startswith("0/2 nodes are available: 2 no free 7g.40gb placement on any GPU.")
        await world.api.delete(api.POD, "half-0", "default")
        await eventually(lambda: "whole" in running_pods(world), "the pod runs")
        await settled(world)


@pytest.mark.parametrize("node_cache_capable", [True, False], ids=["names", "objects"])
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_no_pod_waits_beside_room(seed: int, node_cache_capable: bool) -> None:
    """After a burst of all profiles, with deletions in it, no pod is pending that some node has room for."""
    draw = random.Random(seed)
    profiles = [one.name for one in gpu_models.find(embedded_cluster.MODEL).profiles]
    async with cluster(3, 4, node_cache_capable=node_cache_capable) as world:
        for wave in range(3):
            wanted = [draw.choices(profiles, k=draw.choice([1, 1, 1, 2])) for _ in range(40)]
            await world.apply([pod(f"w{wave}-{number:02}", *names) for number, names in enumerate(wanted)])
            await settled(world)
            for name in draw.sample(running_pods(world), k=8):
                await world.api.delete(api.POD, name, "default")
        await eventually(lambda: not [p for p in documents(world) if "deletionTimestamp" in p["metadata"]], "all gone")
        await eventually(
            lambda: world.is_settled() and not any(could_be_placed(world, one) for one in pending_pods(world)),
            "every pod that has room is placed",
        )
        await settled(world)
        assert pending_pods(world), "a burst that all fits proves nothing"


async def test_extender_killed_in_mid_burst_loses_and_doubles_nothing() -> None:
    """Replies lost, the extender gone with bindings under way and started again: all pods end placed, once."""
    async with cluster(5, 8) as world:
        pods = [pod(f"p{number:03}", "1g.5gb") for number in range(280)]
        for round_ in range(4):
            world.cluster.faults.add(Fault("bind", error=LOST, done=True, times=5))
            world.cluster.faults.add(Fault("bind", error=LOST, times=5))
            await world.apply(pods[round_ * 70 : round_ * 70 + 70])
            await eventually(lambda: len(running_pods(world)) > round_ * 70 + 20, "the burst is under way")  # noqa: B023
            await world.service.stop()
            await world.start_extender()
        await settled(world)
        assert len(running_pods(world)) == 280


async def test_broken_watches_lose_nothing() -> None:
    """Watches that end, fail, or are too old in mid burst leave no pod behind and no slot doubly owned."""
    async with cluster(3, 8) as world:
        for number in range(168):
            await world.apply([pod(f"p{number:03}", "1g.5gb")])
            if number % 20 == 10:
                world.server.end_watches([None, LOST, errors.GoneError("too old")][number // 20 % 3])
                if number % 40 == 10:
                    world.server.compact()
        await settled(world)
        assert len(running_pods(world)) == 168


async def test_conflicts_and_lost_replies_are_carried_to_an_end() -> None:
    """A binding whose reply is lost is found done; one that conflicts is taken back, and its place used by others."""
    async with cluster(1, 2) as world:
        lost = world.cluster.faults.add(Fault("bind", error=LOST, done=True, times=3))
        refused = world.cluster.faults.add(Fault("bind", error=errors.ConflictError("gated"), times=3))
        await world.apply([pod(f"p{number:02}", "1g.5gb") for number in range(14)])
        await settled(world)
        assert (lost.met, refused.met) == (3, 3)
        assert len(running_pods(world)) == 14


async def test_pods_deleted_while_they_are_placed_leave_nothing() -> None:
    """Pods that come and go faster than they are placed end with nothing cut and nothing claimed."""
    async with cluster(2, 4) as world:
        draw = random.Random(5)
        for number in range(120):
            await world.apply([pod(f"p{number:03}", draw.choice(["1g.5gb", "3g.20gb", "7g.40gb"]))])
            if number >= 8:
                await world.api.delete(api.POD, f"p{number - 8:03}", "default")
        for number in range(112, 120):
            await world.api.delete(api.POD, f"p{number:03}", "default")
        await eventually(lambda: not documents(world), "all pods are gone")
        await eventually(lambda: not any(world.agents.in_use().values()), "all slices are given back")
        await eventually(lambda: not len(world.service.state.inventory.ledger), "all claims are over")


async def test_pods_bound_past_the_scheduler_are_worked_around() -> None:
    """Pods that somebody else bound get what room there is; the scheduler learns of it and never doubles a slot."""
    async with cluster(1, 2) as world:
        for number in range(3):
            stray = await world.api.create(api.POD, pod(f"stray-{number}", "3g.20gb", nodeName="node-1"))
            assert stray["spec"]["nodeName"] == "node-1"
        await eventually(lambda: len(running_pods(world)) == 3, "the strays run")
        await eventually(lambda: len(world.service.state.inventory.ledger) == 3, "the scheduler knows of them")
        await world.apply([pod(f"p{number}", "3g.20gb") for number in range(2)])
        await eventually(lambda: len(running_pods(world)) == 4 and world.is_settled(), "one more fits")
        assert len(pending_pods(world)) == 1
        cut = [p for placements in world.agents.in_use().values() for p in placements]
        assert sorted(str(p) for p in cut) == ["3g.20gb@0", "3g.20gb@0", "3g.20gb@4", "3g.20gb@4"]
        for name in [one["metadata"]["name"] for one in documents(world)]:
            await world.api.delete(api.POD, name, "default")
        await eventually(lambda: not documents(world), "all pods are gone")
        await eventually(lambda: not any(world.agents.in_use().values()), "all slices are given back")


async def test_serial_runs_repeat() -> None:
    """With one seed and serial binding two runs place every pod alike."""
    seen = []
    for _ in range(2):
        async with cluster(2, 2, serial=True, seed=3) as world:
            draw = random.Random(1)
            profiles = ["1g.5gb", "2g.10gb", "3g.20gb"]
            await world.apply([pod(f"p{number:02}", draw.choice(profiles)) for number in range(12)])
            await settled(world)
            seen.append({gpu: sorted(held) for gpu, held in embedded_cluster.promised(world).items()})
    assert seen[0] == seen[1]
