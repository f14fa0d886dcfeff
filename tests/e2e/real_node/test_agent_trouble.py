"""What goes wrong on GPUs, on a real kubelet: pods wait, or are told why; nothing is lost, and running ones go on."""

import pytest

from node_agent.gpu import device
from simulator.gpu.driver import SimulatedDriver
from simulator.gpu.faults import Call
from simulator.gpu.gpu import SimulatedGpu
from simulator.gpu.users import DeviceUser
from tests.e2e.real_node.agent_stack import (
    GPUS,
    AgentStack,
    Document,
    is_over,
    is_running,
    is_same_container,
    pod,
    promises,
)

pytestmark = pytest.mark.e2e

PID = 4_194_000  # no process of this machine; the simulated driver only reports it


def gpu_of(stack: AgentStack, name: str) -> tuple[SimulatedGpu, int]:
    """The GPU and the GPU instance of a pod's only slice."""
    uuid, placement = stack.hardware.slices()[stack.visible(name)]
    gpu = stack.hardware.driver.find(uuid)
    (gi_id,) = [one.gi_id for one in gpu.instances() if one.placement == placement]
    return gpu, gi_id


def struck(stack: AgentStack) -> int:
    """How often an injected fault has struck, as the agent's log says."""
    return stack.agent.log.read_text().count("injected fault")


def fill(stack: AgentStack, prefix: str) -> list[Document]:
    """A pod on each whole GPU, running."""
    return stack.run(*(pod(stack, f"{prefix}-{n}", ["7g.40gb"]) for n in range(GPUS)))


def test_slices_that_the_driver_will_not_destroy_yet_delay_pods_only(stack: AgentStack) -> None:
    """Where destroying idle slices meets IN_USE, the pods that need their room get it a little later."""
    stack.run(*(pod(stack, f"small-{n}", ["1g.5gb"]) for n in range(4)))
    stack.clear()
    assert stack.hardware.slices()
    before = struck(stack)
    stack.hardware.driver.faults.fail(Call.DESTROY_COMPUTE_INSTANCE, device.DeviceBusyError)
    stack.hardware.driver.faults.fail(Call.DESTROY_GPU_INSTANCE, device.DeviceBusyError)
    fill(stack, "large")
    assert struck(stack) == before + 2
    assert [placement.profile for _, placement in stack.hardware.slices().values()] == ["7g.40gb"] * GPUS


def test_a_slice_that_a_process_still_uses_is_not_given_on(stack: AgentStack) -> None:
    """A process that outlives its pod keeps its slice from being freed and destroyed, and is named."""
    stack.run(pod(stack, "leaky", ["3g.20gb"]))
    seen = stack.visible("leaky")
    gpu, gi_id = gpu_of(stack, "leaky")
    gpu.start_process(gi_id, PID)
    stack.delete("leaky")
    stack.eventually(lambda: f"process {PID} still runs" in stack.agent.log.read_text(), "the leak is named")
    stack.run(*(pod(stack, f"other-{n}", ["7g.40gb"]) for n in range(GPUS - 1)))
    stack.create(pod(stack, "waits", ["7g.40gb"]))
    stack.eventually(lambda: refused_by_scheduler(stack, "waits"), "there is no room for the eighth")
    assert stack.reported()[seen] == ("allocated", "leaky")
    assert seen in stack.hardware.slices()
    gpu.end_process(PID)
    stack.eventually(lambda: is_running(stack.get("pod", "waits")), "its room is given on")
    assert seen not in stack.hardware.slices()


def refused_by_scheduler(stack: AgentStack, name: str) -> bool:
    """Whether kube-scheduler has said that there is no node for a pod."""
    conditions = stack.get("pod", name)["status"].get("conditions", ())
    return any(one.get("reason") == "Unschedulable" for one in conditions)


def test_a_hidden_holder_keeps_its_slice_and_one_pod_only(stack: AgentStack) -> None:
    """Of pods on all GPUs the one whose room a monitoring daemon holds is refused, saying where, and the others run."""
    stack.run(pod(stack, "gone", ["2g.10gb"]))
    seen = stack.visible("gone")
    gpu, gi_id = gpu_of(stack, "gone")
    holder = DeviceUser("dcgm", gi_id, 0)
    stack.clear()
    gpu.hold(holder)
    stack.agent.stop()
    stack.agent.start(allocate_timeout_s="3")  # the kubelet admits no other pod meanwhile
    try:
        stack.eventually(stack.serves, "the agent serves")
        stack.create(*(pod(stack, f"large-{n}", ["7g.40gb"]) for n in range(GPUS)))
        stack.eventually(lambda: sum(is_running(one) for one in stack.pods()) == GPUS - 1, "seven run")
        (refused,) = [one for one in stack.pods() if is_over(one)]
        assert "2g.10gb@" in refused["status"]["message"]
        assert seen in stack.hardware.slices()
        gpu.release(holder)
        stack.run(pod(stack, "again", ["7g.40gb"]))
        assert seen not in stack.hardware.slices()
    finally:
        gpu.release(holder)
        stack.agent.stop()
        stack.agent.start()
        stack.eventually(stack.serves, "the agent serves as before")


def test_a_cut_that_can_never_succeed_is_refused_and_leaves_nothing(stack: AgentStack) -> None:
    """Where the compute instance is refused for good, the pod fails with the reason, and its GPU instance is undone."""
    stack.hardware.driver.faults.fail(Call.CREATE_COMPUTE_INSTANCE, device.NoPermissionError, times=1000)
    try:
        stack.create(pod(stack, "never", ["4g.20gb"]))
        stack.eventually(lambda: is_over(stack.get("pod", "never")), "it is refused")
    finally:
        stack.hardware.driver.faults.clear()
    status = stack.get("pod", "never")["status"]
    assert status["reason"] == "UnexpectedAdmissionError"
    assert "injected fault in nvmlGpuInstanceCreateComputeInstance" in status["message"]
    (promise,) = promises(stack.get("pod", "never"))
    assert "4g.20gb" not in [one.profile for one in stack.hardware.driver.find(promise.gpu).placements()]
    stack.run(pod(stack, "next", ["4g.20gb"]))


def test_a_driver_of_ten_seconds_delays_its_pod_only(stack: AgentStack) -> None:
    """A cut that takes 10 s ends within Allocate's deadline, and running containers do not notice."""
    (stays,) = stack.run(pod(stack, "stays", ["1g.5gb"]))
    before = cuts_of_ten_seconds(stack)
    stack.hardware.driver.faults.latency_s[Call.CREATE_GPU_INSTANCE] = 10.0
    try:
        stack.run(pod(stack, "slow", ["1g.10gb"]))
    finally:
        stack.hardware.driver.faults.clear()
    assert cuts_of_ten_seconds(stack) == before + 1
    assert is_same_container(stays, stack.get("pod", "stays"))
    assert stack.hardware.slices()[stack.visible("slow")][1].profile == "1g.10gb"


def cuts_of_ten_seconds(stack: AgentStack) -> int:
    """How many cuts took so long, as the agent's log says."""
    return stack.agent.log.read_text().count('"seconds":10.')


def test_lost_events_are_made_up_for(stack: AgentStack) -> None:
    """What somebody else cuts is found without an event from the driver, reported as foreign, and left alone."""
    driver: SimulatedDriver = stack.hardware.driver
    driver.faults.events_lost = True
    gpu = driver.by_index()[GPUS - 1]
    for there in gpu.instances():
        gpu.destroy(there.gi_id)
    foreign = gpu.create("3g.20gb", 4)
    try:
        assert foreign.mig_uuid is not None
        stack.eventually(lambda: stack.reported().get(foreign.mig_uuid or "") == ("foreign", ""), "it is reported")
        stack.run(*(pod(stack, f"large-{n}", ["7g.40gb"]) for n in range(GPUS - 1)), pod(stack, "beside", ["3g.20gb"]))
        assert foreign.mig_uuid in stack.hardware.slices()
    finally:
        driver.faults.clear()
        gpu.destroy(foreign.gi_id)


def test_a_gpu_that_falls_off_the_bus_takes_no_new_pods(stack: AgentStack) -> None:
    """Its containers are not touched, it is reported with the reason, and the next pods go to other GPUs."""
    (stays,) = stack.run(pod(stack, "stays", ["2g.10gb"]))
    gpu, _ = gpu_of(stack, "stays")
    gpu.lost = True
    try:

        def told() -> list[str]:
            gpus = stack.get("mignode", stack.node.name)["status"]["gpus"]
            return [one["message"] for one in gpus if one["uuid"] == gpu.uuid and not one.get("healthy", True)]

        stack.eventually(lambda: bool(told()), "it is reported")
        assert "fallen off the bus" in told()[0]
        made = stack.run(*(pod(stack, f"next-{n}", ["1g.5gb"]) for n in range(3)))
        assert gpu.uuid not in {promise.gpu for one in made for promise in promises(one)}
        assert is_same_container(stays, stack.get("pod", "stays"))
    finally:
        gpu.lost = False
    stack.eventually(lambda: not told(), "it is well again")
