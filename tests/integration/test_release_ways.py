"""The ways of letting a queued pod go to its place: the real service and the real agents on a cluster in memory."""

from typing import Any

import pytest

from allocator.queueing.release import QueueRelease
from scheduler.cache.port import Binding
from simulator.cluster import api
from simulator.cluster.embedded import Embedded
from tests.integration.embedded_cluster import cluster, documents, promised, settled
from tests.waiting import eventually

BOTH = ("default-scheduler", "migsched")


async def create(world: Embedded, name: str, profile: str, scheduler: str = "default-scheduler") -> str:
    """A pod that asks for a slice; its UID."""
    container = {"name": "main", "image": "none", "resources": {"limits": {f"nvidia.com/mig-{profile}": "1"}}}
    spec = {"containers": [container], "schedulerName": scheduler}
    made = await world.api.create(api.POD, {"metadata": {"name": name}, "spec": spec})
    return str(made["metadata"]["uid"])


def pod(world: Embedded, name: str) -> dict[str, Any]:
    return world.server.get(api.POD, name, "default").document


async def released(world: Embedded, name: str) -> None:
    await eventually(lambda: not pod(world, name)["spec"].get("schedulingGates"), f"{name} is released")


@pytest.mark.parametrize("way", QueueRelease)
async def test_every_way_leads_to_the_place_that_was_held(way: QueueRelease) -> None:
    """Two GPUs are filled to the last slot, and each pod shows the way it was let go."""
    async with cluster(2, 1, changes={"queue": True, "queue_release": way}, scheduler_names=BOTH) as world:
        for number in range(14):
            await create(
                world, f"p{number}", "1g.5gb", "migsched" if way is QueueRelease.EXTENDER else BOTH[number % 2]
            )
        await settled(world)
        assert {len(places) for places in promised(world).values()} == {7}
        for document in documents(world):
            assert ("affinity" in document["spec"]) is (way is QueueRelease.PIN)
            is_nominated = document["status"].get("nominatedNodeName") == document["spec"]["nodeName"]
            assert is_nominated is (way is QueueRelease.NOMINATE)


async def test_a_pod_of_a_scheduler_that_does_not_ask_us_is_pinned_all_the_same() -> None:
    """Where the choice is left to the extender, nothing else would lead such a pod to its place."""
    changes = {"queue": True, "queue_release": QueueRelease.EXTENDER}
    async with cluster(1, 1, changes=changes, scheduler_names=("raw",)) as world:
        for scheduler in BOTH:
            await create(world, scheduler, "1g.5gb", scheduler)
            await released(world, scheduler)
        assert [("affinity" in pod(world, scheduler)["spec"]) for scheduler in BOTH] == [True, False]
        for scheduler in BOTH:
            await world.api.delete(api.POD, scheduler, "default")


async def test_a_pod_that_is_bound_past_its_nomination_gives_its_place_back() -> None:
    """The node that it really has counts: it gets a slice there, and the place that was held is free for others."""
    changes = {"queue": True, "queue_release": QueueRelease.NOMINATE}
    async with cluster(2, 1, changes=changes, scheduler_names=("migsched",)) as world:
        uid = await create(world, "free", "7g.40gb")
        await released(world, "free")
        held = world.service.state.inventory.ledger.get(uid)
        assert held is not None
        assert pod(world, "free")["status"]["nominatedNodeName"] == held.node
        (elsewhere,) = {"node-1", "node-2"} - {held.node}
        world.server.bind(Binding("default", "free", uid, elsewhere, {}))
        await eventually(lambda: pod(world, "free")["status"]["phase"] == "Running", "it runs")
        await eventually(lambda: _claimed_on(world, uid) == elsewhere, "its claim is where it is")
        await create(world, "next", "7g.40gb")
        await released(world, "next")
        assert pod(world, "next")["status"]["nominatedNodeName"] == held.node
        await world.api.delete(api.POD, "next", "default")


async def test_a_pod_that_is_bound_past_its_nomination_where_no_room_is_fails_there() -> None:
    """Its agent refuses it, so that its controller makes another; nobody's place is touched."""
    changes = {"queue": True, "queue_release": QueueRelease.NOMINATE}
    async with cluster(2, 1, changes=changes, scheduler_names=("migsched",)) as world:
        first = await create(world, "first", "7g.40gb", "migsched")
        await eventually(lambda: pod(world, "first")["status"]["phase"] == "Running", "the first runs")
        uid = await create(world, "second", "7g.40gb")
        await released(world, "second")
        taken = pod(world, "first")["spec"]["nodeName"]
        world.server.bind(Binding("default", "second", uid, taken, {}))
        await eventually(lambda: pod(world, "second")["status"]["phase"] == "Failed", "the second is refused")
        assert _claimed_on(world, first) == taken
        await eventually(lambda: _claimed_on(world, uid) == "", "the second holds nothing")


@pytest.mark.parametrize("way", [QueueRelease.NOMINATE, QueueRelease.EXTENDER])
async def test_a_restarted_service_holds_the_places_of_released_pods(way: QueueRelease) -> None:
    """Nothing in the pod names the node for certain, but the GPU that it is promised does."""
    changes = {"queue": True, "queue_release": way}
    async with cluster(1, 1, changes=changes, scheduler_names=("raw",)) as world:
        uid = await create(world, "mine", "4g.20gb", "migsched")
        await released(world, "mine")
        await world.service.stop()
        await world.start_extender()
        await world.service.synced()
        await eventually(lambda: _claimed_on(world, uid) == "node-1", "its place is held again")
        await create(world, "other", "7g.40gb", "migsched")
        await eventually(lambda: world.service.has_no_place_for(_uid(world, "other")), "the other finds no place")
        await world.api.delete(api.POD, "mine", "default")
        await released(world, "other")
        await world.api.delete(api.POD, "other", "default")


def _uid(world: Embedded, name: str) -> str:
    return str(pod(world, name)["metadata"]["uid"])


def _claimed_on(world: Embedded, uid: str) -> str:
    claim = world.service.state.inventory.ledger.get(uid)
    return "" if claim is None else claim.node
