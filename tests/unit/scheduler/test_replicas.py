"""Two replicas of the service with one lease: one decides, the other answers questions and takes over."""

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from typing import Any

import pytest

from allocator.claims import contract
from allocator.queueing.life import QueueState
from allocator.queueing.queued_pod import GATE
from scheduler import settings
from scheduler.service import Service
from simulator.cluster import api
from simulator.cluster.memory_cluster.client import MemoryCluster
from simulator.cluster.memory_cluster.faults import Fault
from simulator.cluster.memory_cluster.server import MemoryServer
from tests.builders import node as node_builder
from tests.waiting import eventually

_CHOSEN: dict[str, Any] = {
    "extender_port": 0,
    "api_port": 0,
    "api_host": "127.0.0.1",
    "queue": True,
    "queue_window_s": 0.0,
}


@pytest.fixture
def server() -> MemoryServer:
    """A node with one GPU."""
    made = MemoryServer()
    amounts = {"cpu": "64", "memory": "256Gi", "pods": "110", "ephemeral-storage": "1Ti"}
    status = {"allocatable": amounts, "conditions": [{"type": "Ready", "status": "True"}]}
    made.create(api.NODE, {"metadata": {"name": "n1"}, "spec": {}, "status": status})
    made.create(api.MIG_NODE, {"metadata": {"name": "n1"}})
    report = contract.encode_status(node_builder("n1").gpu("a100-40gb").report(), agent_version="1", mode="managed")
    made.patch_status(api.MIG_NODE, "n1", {"status": report})
    return made


@pytest.fixture
async def pair(server: MemoryServer) -> AsyncIterator[tuple[Service, Service]]:
    """The leader and the one that stands by."""
    first = await started(server)
    await eventually(lambda: leads(first), "the first leads")
    second = await started(server)
    yield first, second
    for service in (first, second):
        await service.stop()


async def started(server: MemoryServer, cluster: MemoryCluster | None = None) -> Service:
    chosen = settings.load(**_CHOSEN, leader_election=True, lease_retry_s=0.02, lease_renew_deadline_s=0.5)
    service = Service(chosen, cluster or MemoryCluster(server))
    await service.start()
    await service.synced()
    return service


def leads(service: Service) -> bool:
    return service.metrics.registry.get_sample_value("migsched_leader") == 1


def gated(server: MemoryServer, name: str) -> None:
    limits = {"nvidia.com/mig-1g.5gb": "1"}
    containers = [{"name": "main", "image": "none", "resources": {"limits": limits}}]
    spec = {"containers": containers, "schedulingGates": [{"name": GATE}]}
    server.create(api.POD, {"metadata": {"name": name, "namespace": "default"}, "spec": spec})


def is_released(server: MemoryServer, name: str) -> bool:
    return not server.get(api.POD, name, "default").document["spec"].get("schedulingGates")


def asked(url: str, body: bytes | None = None) -> tuple[int, Any]:
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


async def test_the_one_that_stands_by_answers_questions_and_decides_nothing(
    pair: tuple[Service, Service], server: MemoryServer
) -> None:
    """It is ready and says `standby`; it knows nodes and queue, and its extender refuses, naming the leader."""
    first, second = pair
    gated(server, "p1")
    await eventually(lambda: is_released(server, "p1"), "the leader releases it")
    assert await asyncio.to_thread(asked, f"{first.api_url}/readyz") == (200, {"status": "ok"})
    assert await asyncio.to_thread(asked, f"{second.api_url}/readyz") == (200, {"status": "standby"})
    assert (leads(first), leads(second)) == (True, False)
    await eventually(lambda: [pod.state for pod in second.state.queue] == [QueueState.RELEASED], "it has seen it")
    status, said = await asyncio.to_thread(asked, f"{second.extender_url}/v1/filter", b"{}")
    assert status == 503
    assert "stands by" in str(said)


async def test_a_clean_stop_hands_over_at_once(pair: tuple[Service, Service], server: MemoryServer) -> None:
    """The lease is given up last, and the other one goes on."""
    first, second = pair
    await first.stop()
    gated(server, "p1")
    await eventually(lambda: is_released(server, "p1"), "the second releases it")
    assert leads(second)


async def test_the_successor_lists_the_pods_before_it_decides(server: MemoryServer) -> None:
    """Whatever its watch has brought so far: it holds no place that the leader before has promised."""
    first = await started(server)
    await eventually(lambda: leads(first), "the first leads")
    cluster = MemoryCluster(server)
    second = await started(server, cluster)
    listed = cluster.faults.add(Fault("list", api.POD.plural, hold=asyncio.Event(), times=None))
    gated(server, "p1")
    await eventually(lambda: is_released(server, "p1"), "the leader releases it")
    await first.stop()
    await eventually(lambda: listed.met == 1, "a list of pods")
    gated(server, "p2")
    assert not leads(second)
    assert listed.hold is not None
    listed.hold.set()
    await eventually(lambda: is_released(server, "p2"), "the second goes on")
    await second.stop()


async def test_a_release_that_dies_of_a_defect_is_taken_up_again(server: MemoryServer) -> None:
    """A place that is held and that nobody is releasing any more is found, and its pod released."""
    cluster = MemoryCluster(server)
    cluster.faults.add(Fault("release", error=_DefectError("a defect")))  # type: ignore[arg-type]  # none of our own errors
    service = Service(settings.load(**_CHOSEN), cluster)
    await service.start()
    await service.synced()
    gated(server, "p1")
    await eventually(lambda: is_released(server, "p1"), "it is released", 10)
    await service.stop()


class _DefectError(Exception):
    """What nobody expects of the API server's client."""
