"""The whole agent over real Unix sockets: a kubelet that registers and allocates, a cluster in memory."""

import json
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import grpc.aio
import msgspec
import pytest

from allocator.claims import contract
from node_agent.allocation import Allocation
from node_agent.containers.cdi import Edits
from node_agent.gpu import selection
from node_agent.options import AgentOptions
from node_agent.service import observe
from simulator.gpu.devices import SimulatedDevices
from simulator.gpu.faults import Call, GpuFaults
from simulator.gpu.users import DeviceUser
from tests.unit.node_agent.agent_surroundings import AgentSurroundings
from tests.unit.node_agent.memory_cluster import pod

ONE = "nvidia.com/mig-1g.5gb"
THREE = "nvidia.com/mig-3g.20gb"
WHOLE = "nvidia.com/mig-7g.40gb"


@pytest.fixture
async def bench(short_path: Path) -> AsyncIterator[AgentSurroundings]:
    """One A100 and a running kubelet."""
    made = AgentSurroundings(short_path)
    await made.kubelet.start()
    yield made
    await made.kubelet.stop()


async def test_a_promised_slice_reaches_the_container(bench: AgentSurroundings) -> None:
    """The kubelet is steered to the promised place, and CDI names the MIG UUID of the slice that stands there."""
    async with bench.agent():
        await bench.kubelet.until(THREE)
        await bench.cluster.put(pod("a", "3g.20gb", promises=bench.promise("3g.20gb", 4)))
        given = await bench.kubelet.allocate("a", THREE)
        await bench.cluster.until(lambda: ("3g.20gb@4", "allocated", "a") in bench.cluster.slices())
    (made,) = bench.gpu.instances()
    assert (made.profile, made.start) == ("3g.20gb", 4)
    (name,) = [device.name for device in given.cdi_devices]
    assert not given.envs
    assert f"NVIDIA_VISIBLE_DEVICES={made.mig_uuid}" in json.dumps(bench.spec(name))
    assert "CUDA_VISIBLE_DEVICES" not in json.dumps(bench.spec(name)).replace("NVIDIA_VISIBLE_DEVICES", "")


async def test_a_pod_that_the_watch_has_not_shown_yet_gets_its_place(bench: AgentSurroundings) -> None:
    """Where the kubelet is ahead of the watch, the agent asks for pods, also while one with such a slice has it."""
    async with bench.agent(poll_s=60.0):
        await bench.kubelet.until(ONE)
        await bench.cluster.put(pod("a", "1g.5gb", promises=bench.promise("1g.5gb", 0)))
        await bench.kubelet.allocate("a", ONE)
        await bench.cluster.put(pod("b", "1g.5gb", promises=bench.promise("1g.5gb", 3)), seen=False)
        await bench.kubelet.allocate("b", ONE)
    assert [instance.start for instance in bench.gpu.instances() if instance.profile == "1g.5gb"] == [0, 3]


async def test_a_promise_that_cannot_be_kept_does_not_stand_for_one_not_heard_of(bench: AgentSurroundings) -> None:
    """The agent asks for pods also where the promises it knows are for places that somebody has."""
    async with bench.agent(poll_s=0.05):
        await bench.kubelet.until(ONE)
        for name in ("a", "late"):
            await bench.cluster.put(pod(name, "1g.5gb", promises=bench.promise("1g.5gb", 0)))
        await bench.kubelet.allocate("a", ONE)
        await bench.cluster.until(lambda: ("1g.5gb@0", "allocated", "a") in bench.cluster.slices())
        await bench.cluster.put(pod("b", "1g.5gb", promises=bench.promise("1g.5gb", 3)), seen=False)
        await bench.kubelet.allocate("b", ONE)
    assert 3 in [instance.start for instance in bench.gpu.instances() if instance.profile == "1g.5gb"]


async def test_a_pod_is_told_that_its_slice_is_ready(bench: AgentSurroundings) -> None:
    """An Event says which slice it is and how long it took."""
    async with bench.agent():
        await bench.kubelet.until(ONE)
        await bench.cluster.put(pod("a", "1g.5gb", promises=bench.promise("1g.5gb", 6)))
        await bench.kubelet.allocate("a", ONE)
        await bench.cluster.until(lambda: bool(bench.cluster.events))
    (event,) = bench.cluster.events
    assert (event.reason, event.type, event.pod) == ("SliceReady", "Normal", "a")
    assert "1g.5gb@6" in event.message


async def test_a_fault_is_told_and_its_slice_goes_with_its_pod(bench: AgentSurroundings) -> None:
    """The driver's event reaches the pod as an Event, an ignored one does not, and the slice goes with the pod."""
    async with bench.agent(ignored_xids="31"):
        await bench.kubelet.until(ONE)
        first = pod("a", "1g.5gb", promises=bench.promise("1g.5gb", 6))
        await bench.cluster.put(first)
        await bench.kubelet.allocate("a", ONE)
        await bench.cluster.until(lambda: ("1g.5gb@6", "allocated", "a") in bench.cluster.slices())
        (made,) = bench.gpu.instances()
        bench.driver.xid(bench.gpu.uuid, 31, made.gi_id, 0)
        bench.driver.xid(bench.gpu.uuid, 94, made.gi_id, 0)
        await bench.cluster.until(lambda: any(event.reason == "SliceIll" for event in bench.cluster.events))
        bench.kubelet.held.clear()
        await bench.cluster.delete(first)
        await bench.cluster.until(lambda: bench.cluster.slices() == [] and not bench.gpu.instances())
    (told,) = [event for event in bench.cluster.events if event.reason == "SliceIll"]
    assert (told.type, told.pod) == ("Warning", "a")
    assert "XID 94" in told.message
    assert "XID 31" not in told.message


async def test_a_slice_is_kept_warm_after_its_pod_and_destroyed_when_its_room_is_wanted(
    bench: AgentSurroundings,
) -> None:
    """An ended pod's slice turns idle, stays, and makes room for a larger one; its CDI name goes with it."""
    async with bench.agent():
        await bench.kubelet.until(ONE, "nvidia.com/mig-7g.40gb")
        first = pod("a", "1g.5gb", promises=bench.promise("1g.5gb", 0))
        await bench.cluster.put(first)
        await bench.kubelet.allocate("a", ONE)
        await bench.cluster.until(lambda: ("1g.5gb@0", "allocated", "a") in bench.cluster.slices())
        bench.kubelet.held.clear()
        await bench.cluster.delete(first)
        await bench.cluster.until(lambda: ("1g.5gb@0", "idle", "") in bench.cluster.slices())
        assert list((bench.root / "cdi").iterdir()) == []
        await bench.kubelet.allocate("b", "nvidia.com/mig-7g.40gb")
    assert [instance.profile for instance in bench.gpu.instances()] == ["7g.40gb"]


async def test_plugins_register_again_when_the_kubelet_restarts(bench: AgentSurroundings) -> None:
    """A kubelet that starts anew removes sockets and forgets plugins; it gets the same ids again."""
    async with bench.agent():
        await bench.kubelet.until(*(profile.resource for profile in bench.gpu.catalogue.profiles))
        before = {name: set(endpoint.devices) for name, endpoint in bench.kubelet.endpoints.items()}
        await bench.kubelet.stop()
        await bench.kubelet.start()
        await bench.kubelet.until(*before)
        assert {name: set(endpoint.devices) for name, endpoint in bench.kubelet.endpoints.items()} == before


async def test_a_restarted_agent_finds_its_slices_again(bench: AgentSurroundings) -> None:
    """After a restart the running pod's slice is the very same, allocated and named."""
    async with bench.agent():
        await bench.kubelet.until(ONE)
        await bench.cluster.put(pod("a", "1g.5gb", promises=bench.promise("1g.5gb", 2)))
        await bench.kubelet.allocate("a", ONE)
        await bench.cluster.until(lambda: ("1g.5gb@2", "allocated", "a") in bench.cluster.slices())
    (made,) = bench.gpu.instances()
    serial = bench.gpu.serial(made.gi_id)
    bench.cluster.status = {}
    async with bench.agent():
        await bench.cluster.until(lambda: ("1g.5gb@2", "allocated", "a") in bench.cluster.slices())
        await bench.kubelet.until(ONE)
    assert bench.gpu.serial(made.gi_id) == serial
    assert len(bench.cluster.events) == 1


async def test_allocate_goes_on_without_the_api_server(bench: AgentSurroundings) -> None:
    """A lost API server stops neither Allocate nor the slices."""
    async with bench.agent():
        await bench.kubelet.until(ONE)
        bench.cluster.down = True
        given = await bench.kubelet.allocate("a", ONE)
        assert given.cdi_devices
    assert len(bench.gpu.instances()) == 1


async def test_a_refused_allocate_says_why(bench: AgentSurroundings) -> None:
    """Where foreign slices fill the GPU, the kubelet's error names what is in the way, and the pod hears of it."""
    bench.gpu.create("7g.40gb", 0)
    async with bench.agent():
        await bench.kubelet.until(ONE)
        await bench.cluster.put(pod("a", "1g.5gb"))
        with pytest.raises(grpc.aio.AioRpcError, match="migsched did not make"):
            await bench.kubelet.allocate("a", ONE)
        await bench.cluster.until(lambda: bool(bench.cluster.events))
    assert bench.cluster.events[0].reason == "SliceFailed"
    assert [instance.profile for instance in bench.gpu.instances()] == ["7g.40gb"]


async def test_allocate_has_a_deadline_of_its_own(short_path: Path) -> None:
    """The kubelet sets none: with a driver that takes too long it gets an error, and the slice is taken back later."""
    bench = AgentSurroundings(short_path)
    slow = threading.Event()

    def pause(_: float) -> None:
        slow.wait()

    bench.driver.faults = GpuFaults(pause)
    await bench.kubelet.start()
    async with bench.agent(allocate_timeout_s=0.2):
        await bench.kubelet.until(ONE)
        bench.driver.faults.latency_s[Call.CREATE_GPU_INSTANCE] = 10.0
        try:
            with pytest.raises(grpc.aio.AioRpcError, match=r"not ready within 0\.2 s"):
                await bench.kubelet.allocate("a", ONE)
        finally:
            slow.set()
        await bench.cluster.until(lambda: [state for _, state, _ in bench.cluster.slices()] == ["idle"])
    await bench.kubelet.stop()


async def test_a_waiting_allocate_leaves_the_driver_in_peace(
    bench: AgentSurroundings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While what is in the way goes on for long, it is tried about ten times a second, not without a pause."""
    attempts: list[object] = []
    allocate = Allocation.allocate

    def counted(self: Allocation, resource: str, ids: Sequence[str]) -> Edits:
        attempts.append(ids)
        return allocate(self, resource, ids)

    monkeypatch.setattr(Allocation, "allocate", counted)
    async with bench.agent(allocate_timeout_s=1.0):
        await bench.kubelet.until(ONE, WHOLE)
        await bench.kubelet.allocate("a", WHOLE)
        (made,) = bench.gpu.instances()
        bench.gpu.hold(DeviceUser("left", made.gi_id, 0))
        bench.kubelet.held.clear()
        attempts.clear()
        with pytest.raises(grpc.aio.AioRpcError):
            await bench.kubelet.allocate("b", ONE)
    assert 2 <= len(attempts) <= 20


async def test_runtimes_without_cdi_get_an_environment_variable(bench: AgentSurroundings) -> None:
    """With inject=env the UUIDs of all slices of a container come in NVIDIA_VISIBLE_DEVICES."""
    async with bench.agent(inject="env"):
        await bench.kubelet.until(ONE)
        given = await bench.kubelet.allocate("a", ONE, 2)
    uuids = {instance.mig_uuid for instance in bench.gpu.instances()}
    assert set(given.envs["NVIDIA_VISIBLE_DEVICES"].split(",")) == uuids
    assert not given.cdi_devices


async def test_gpus_without_mig_mode_are_served_whole(short_path: Path) -> None:
    """GPUs with MIG off are offered as nvidia.com/gpu by UUID."""
    bench = AgentSurroundings(short_path, "a100-40gb:2", mig=False)
    await bench.kubelet.start()
    async with bench.agent():
        await bench.kubelet.until("nvidia.com/gpu")
        assert set(bench.kubelet.endpoints["nvidia.com/gpu"].devices) == set(bench.driver.gpus)
        given = await bench.kubelet.allocate("a", "nvidia.com/gpu")
    await bench.kubelet.stop()
    assert given.envs["NVIDIA_VISIBLE_DEVICES"] in bench.driver.gpus


async def test_the_operators_labels_are_set_back(bench: AgentSurroundings) -> None:
    """With the opt-in, a node whose labels were rewritten gets them back."""
    bench.cluster.labels["nvidia.com/gpu.deploy.device-plugin"] = "true"
    async with bench.agent(manage_operator_labels=True):
        await bench.cluster.until(lambda: bench.cluster.labels.get("nvidia.com/gpu.deploy.device-plugin") == "false")
    assert bench.cluster.labels["nvidia.com/gpu.deploy.mig-manager"] == "false"


async def test_the_nodes_annotation_takes_a_gpu_out_of_service(bench: AgentSurroundings) -> None:
    """A person annotates the node and the MigNode says it, without a restart; the same with the way back."""

    def message() -> str:
        return next((str(gpu.get("message", "")) for gpu in bench.cluster.status.get("gpus", ())), "")

    async with bench.agent():
        await bench.kubelet.until(ONE)
        await bench.cluster.annotate({"migsched.io/out-of-service": bench.gpu.uuid})
        await bench.cluster.until(lambda: message().startswith("out of service"))
        await bench.cluster.annotate({})
        await bench.cluster.until(lambda: message() == "")


async def test_an_unchanged_node_is_not_reported_again(bench: AgentSurroundings) -> None:
    """However many steps find the same, one status is written."""
    async with bench.agent() as (service, _):
        await bench.cluster.until(lambda: bool(bench.cluster.status))
        for _ in range(20):
            await service.loop.step()
        await bench.cluster.put(pod("x", "1g.5gb", annotation="{"))
        await bench.cluster.until(lambda: bool(bench.cluster.events))
    assert bench.cluster.writes <= 2  # not ready until PodResources answered, then ready
    assert "annotation" in bench.cluster.events[0].message


def test_the_status_is_what_the_contract_reads(bench: AgentSurroundings) -> None:
    """What the agent writes decodes to a report without a problem."""
    status = observe(SimulatedDevices(bench.driver), "n1")
    assert not contract.decode_status(msgspec.json.encode(status), "n1").problem


def test_one_look_leaves_the_excluded_gpus_alone(bench: AgentSurroundings) -> None:
    """`--observe --once` shows an excluded GPU as the agent with the same settings would: left alone, and why."""
    options = AgentOptions(exclude_gpus=selection.parse("0"))
    (gpu,) = observe(SimulatedDevices(bench.driver), "n1", options)["gpus"]
    assert "exclude_gpus" in gpu["message"]
