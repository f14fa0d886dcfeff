"""A Binding is carried to a definite end, whatever happens to its replies."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from allocator import errors
from allocator.claims import contract
from allocator.claims.ledger import ClaimState
from allocator.claims.refusal import Refusal
from scheduler import settings
from scheduler.cache.port import Binding
from scheduler.extender.binder import Binder
from scheduler.extender.nominations import Nominations
from scheduler.service import Service
from simulator.cluster import api
from simulator.cluster.memory_cluster.client import MemoryCluster
from simulator.cluster.memory_cluster.faults import Fault
from simulator.cluster.memory_cluster.server import MemoryServer
from tests.builders import node
from tests.waiting import eventually


class BinderOnOneGpu:
    """A binder over the cache of a service with one node and one GPU, and pods to bind."""

    def __init__(self, server: MemoryServer, cluster: MemoryCluster, service: Service) -> None:
        self.server = server
        self.cluster = cluster
        self.service = service
        self.binder = self.binder_with(timeout_s=0.2)
        self.ledger = service.state.inventory.ledger

    def pod(self, name: str, profile: str = "3g.20gb") -> str:
        """Create a pending pod; its UID."""
        made = self.server.create(
            api.POD,
            {
                "metadata": {"name": name, "namespace": "default"},
                "spec": {"containers": [{"name": "main", "resources": {"limits": {f"nvidia.com/mig-{profile}": "1"}}}]},
            },
        )
        return str(made.document["metadata"]["uid"])

    def binder_with(self, *, timeout_s: float) -> Binder:
        """A binder that waits so long for the API server, and asks it again at once."""
        nominations = Nominations(nomination_ttl_s=1, tie_wait_s=0)
        state, metrics = self.service.state, self.service.metrics
        return Binder(state, self.cluster, nominations, metrics, timeout_s=timeout_s, first_retry_s=0.001)

    async def bind(self, name: str, uid: str, where: str = "node-1") -> Refusal | None:
        """One bind call."""
        return await self.binder.bind("default", name, uid, where)

    async def refused(self, name: str, uid: str, where: str = "node-1") -> str:
        """Why one bind call is refused."""
        refusal = await self.bind(name, uid, where)
        assert refusal is not None
        return refusal.message

    def bound_to(self, name: str) -> str:
        """The node that the API server has for a pod."""
        return str(self.server.get(api.POD, name, "default").document["spec"].get("nodeName", ""))


@pytest.fixture
async def bench() -> AsyncIterator[BinderOnOneGpu]:
    """See BinderOnOneGpu."""
    server = MemoryServer()
    server.create(api.NODE, {"metadata": {"name": "node-1"}})
    server.create(api.MIG_NODE, {"metadata": {"name": "node-1"}})
    status = contract.encode_status(node("node-1").gpu("a100-40gb").report(), agent_version="test", mode="simulated")
    server.patch_status(api.MIG_NODE, "node-1", {"status": status})
    cluster = MemoryCluster(server)
    service = Service(settings.load(extender_port=0, api_port=0, api_host="127.0.0.1", shutdown_s=1), cluster)
    await service.start()
    await service.synced()
    yield BinderOnOneGpu(server, cluster, service)
    cluster.faults.clear()
    await service.stop()


@pytest.mark.parametrize("lost", [1, 2])
async def test_a_lost_reply_is_asked_again_and_found_to_be_our_own_success(bench: BinderOnOneGpu, lost: int) -> None:
    """The Binding was done and its replies lost: the one call succeeds, with the pod bound and the claim confirmed."""
    bench.binder = bench.binder_with(timeout_s=30)
    uid = bench.pod("p")
    fault = bench.cluster.faults.add(Fault("bind", error=errors.UnreachableError("lost"), done=True, times=lost))
    assert await bench.bind("p", uid) is None
    assert fault.met == lost
    assert bench.bound_to("p") == "node-1"
    claim = bench.ledger.get(uid)
    assert claim is not None
    assert claim.state is ClaimState.BOUND


async def test_without_an_answer_the_place_stays_reserved_and_the_next_call_joins(bench: BinderOnOneGpu) -> None:
    """While the API server is away bind answers in time, nobody else gets the place, and one attempt goes on."""
    uid = bench.pod("p", "7g.40gb")
    gate = asyncio.Event()
    fault = bench.cluster.faults.add(Fault("bind", hold=gate))
    assert "its place stays reserved" in await bench.refused("p", uid)
    claim = bench.ledger.get(uid)
    assert claim is not None
    assert claim.state is ClaimState.RESERVED
    rival = bench.pod("rival", "7g.40gb")
    assert await bench.refused("rival", rival) == "no free 7g.40gb placement on any GPU"
    again = asyncio.create_task(bench.bind("p", uid))
    gate.set()
    assert await again is None
    assert fault.met == 1
    assert bench.bound_to("p") == "node-1"


async def test_a_busy_server_is_asked_again_when_it_says(bench: BinderOnOneGpu) -> None:
    """HTTP 429 is certainly not done: the Binding is sent again after the time that the server names."""
    uid = bench.pod("p")
    busy = bench.cluster.faults.add(Fault("bind", error=errors.TooManyRequestsError("busy", 0.06), times=2))
    clock = asyncio.get_running_loop().time
    begun = clock()
    assert await bench.bind("p", uid) is None
    assert clock() - begun >= 0.1
    assert busy.met == 2
    assert bench.bound_to("p") == "node-1"


async def test_a_server_that_stays_busy_refuses_and_the_place_is_given_back(bench: BinderOnOneGpu) -> None:
    """Where the next try would come after bind's time limit, the pod is refused at once and its room is free."""
    uid = bench.pod("p", "7g.40gb")
    busy = bench.cluster.faults.add(Fault("bind", error=errors.TooManyRequestsError("busy", 20), times=None))
    assert await bench.refused("p", uid) == "busy"
    assert busy.met == 1
    assert len(bench.ledger) == 0
    assert bench.bound_to("p") == ""


async def test_a_busy_server_after_a_lost_reply_settles_nothing(bench: BinderOnOneGpu) -> None:
    """A Binding whose first reply was lost may have been done: a later 429 does not void its reservation."""
    uid = bench.pod("p", "7g.40gb")
    bench.cluster.faults.add(Fault("bind", error=errors.UnreachableError("lost"), done=True))
    busy = bench.cluster.faults.add(Fault("bind", error=errors.TooManyRequestsError("busy", 0.0)))
    async with asyncio.timeout(10):
        while await bench.bind("p", uid) is not None:
            pass
    assert busy.met == 1
    claim = bench.ledger.get(uid)
    assert claim is not None
    assert claim.state is ClaimState.BOUND


async def test_a_conflict_that_a_busy_server_does_not_explain_stays_open(bench: BinderOnOneGpu) -> None:
    """A conflict may be our own success: if the server is too busy to show the pod, the Binding is sent again."""
    uid = bench.pod("p")
    bench.cluster.faults.add(Fault("bind", error=errors.ConflictError("already assigned"), done=True))
    busy = bench.cluster.faults.add(Fault("get", error=errors.TooManyRequestsError("busy", 20)))
    async with asyncio.timeout(10):
        while await bench.bind("p", uid) is not None:
            pass
    assert busy.met == 1
    assert bench.bound_to("p") == "node-1"


async def test_a_refused_binding_gives_its_place_back(bench: BinderOnOneGpu) -> None:
    """A pod that is gone, or another one by now, is refused, and its reservation is void."""
    uid = bench.pod("p", "7g.40gb")
    bench.server.delete(api.POD, "p", "default", grace_seconds=0)
    assert "p" in await bench.refused("p", uid)
    assert len(bench.ledger) == 0
    reborn = bench.pod("p", "7g.40gb")
    assert "is another pod by now" in await bench.refused("p", uid)
    assert await bench.bind("p", reborn) is None


async def test_room_that_a_refused_binding_leaves_requeues_refused_pods(bench: BinderOnOneGpu) -> None:
    """A pod that was refused while another's Binding had no answer is requeued once that one is void."""
    uid, gate = bench.pod("p", "7g.40gb"), asyncio.Event()
    bench.cluster.faults.add(Fault("bind", hold=gate, error=errors.RefusedError("a webhook says no")))
    assert "its place stays reserved" in await bench.refused("p", uid)
    bench.service.state.waiting.refused.add(bench.pod("rival", "7g.40gb"))
    gate.set()
    async with asyncio.timeout(10):
        while not bench.server.get(api.NODE, "node-1").document["metadata"].get("annotations"):
            await asyncio.sleep(0.005)
    assert len(bench.ledger) == 0


async def test_a_pod_bound_by_another_scheduler_is_not_ours(bench: BinderOnOneGpu) -> None:
    """If another scheduler bound the pod first, our Binding is refused and the place is free again."""
    bench.server.create(api.NODE, {"metadata": {"name": "elsewhere"}})
    uid = bench.pod("p", "7g.40gb")
    gate = asyncio.Event()
    bench.cluster.faults.add(Fault("bind", hold=gate))
    first = asyncio.create_task(bench.bind("p", uid))
    while bench.ledger.get(uid) is None:
        await asyncio.sleep(0)
    bench.server.bind(Binding("default", "p", uid, "elsewhere", {}))
    gate.set()
    refusal = await first
    assert refusal is not None
    assert "assigned" in refusal.message.lower()
    async with asyncio.timeout(5):
        while len(bench.ledger):
            await asyncio.sleep(0.005)
    assert await bench.bind("rival", bench.pod("rival", "7g.40gb")) is None


async def test_stopping_finishes_bindings_in_flight(bench: BinderOnOneGpu) -> None:
    """Drain waits for an attempt that still gets its answer, and counts those that do not."""
    uid = bench.pod("p")
    gate = asyncio.Event()
    bench.cluster.faults.add(Fault("bind", hold=gate))
    call = asyncio.create_task(bench.bind("p", uid))
    while bench.ledger.get(uid) is None:
        await asyncio.sleep(0)
    drained = asyncio.create_task(bench.binder.drain(5))
    gate.set()
    assert await drained == 0
    assert await call is None
    assert bench.bound_to("p") == "node-1"


async def test_one_that_does_not_lead_any_more_cuts_its_bindings_off(bench: BinderOnOneGpu) -> None:
    """Their calls are answered, and what they reserved is another leader's to give."""
    uid = bench.pod("train")
    held = bench.cluster.faults.add(Fault("bind", hold=asyncio.Event()))
    binder = bench.binder_with(timeout_s=30)
    call = asyncio.create_task(binder.bind("default", "train", uid, "node-1"))
    await eventually(lambda: held.met == 1, "a Binding on its way")
    assert bench.ledger.get(uid) is not None
    await binder.step_down()
    refusal = await call
    assert refusal is not None
    assert "another replica" in refusal.message
    assert bench.ledger.get(uid) is None
    assert bench.bound_to("train") == ""
