"""What the driver reports against a GPU: what the agent makes of it, who is told, and how it ends."""

from pathlib import Path

import pytest

from allocator.claims.report import GpuReport, Slice, SliceState
from allocator.mig.profile import GpuPlacement
from node_agent.allocation import AllocationError
from node_agent.cluster.pod_events import FAILED_EVENT, ILL_EVENT
from node_agent.cluster.pods import PodView
from node_agent.gpu.device import MemoryFault, NotSupportedError
from node_agent.slices import device_ids
from simulator.gpu.faults import Call
from tests.unit.node_agent.agent_on_node import AgentOnNode

RESET_XIDS = (48, 62, 64, 79, 95, 109, 119)  # whose action is a reset of the GPU


def running(node: AgentOnNode, name: str, profile: str, start: int, gpu: int = 0) -> PodView:
    """A pod that runs on a slice."""
    pod = node.bind(name, profile, at=(node.place(profile, start, gpu),))
    node.step()
    node.admit(pod)
    node.started(pod)
    node.run(pod)
    node.step()
    return pod


def xid(node: AgentOnNode, number: int, place: GpuPlacement | None = None, gpu: int = 0) -> None:
    """The driver reports an XID, attributed to the slice at a place or not."""
    instance = None if place is None else node.instance(place)
    gi_id = None if instance is None else instance.gi_id
    node.driver.xid(node.gpus[gpu], number, gi_id, None if gi_id is None else 0)


def serial(node: AgentOnNode, place: GpuPlacement) -> int:
    """Which creation the slice at a place is of."""
    instance = node.instance(place)
    assert instance is not None
    return node.driver.find(place.gpu).serial(instance.gi_id) or 0


def shown(node: AgentOnNode, gpu: int = 0) -> GpuReport:
    """What the MigNode says of a GPU."""
    assert node.outcome is not None
    return node.outcome.report.gpus[gpu]


def shown_slice(node: AgentOnNode, place: GpuPlacement) -> Slice:
    """What the MigNode says of a slice."""
    gpu = next(gpu for gpu in node.outcome.report.gpus if gpu.uuid == place.gpu) if node.outcome else None
    assert gpu is not None
    return next(slice_ for slice_ in gpu.slices if slice_.placement == place.placement)


def told(node: AgentOnNode, pod: PodView, reason: str = ILL_EVENT) -> list[str]:
    """The Events of the last step on a pod."""
    events = node.outcome.events if node.outcome else ()
    return [event.message for event in events if event.uid == pod.uid and event.reason == reason]


def counted(node: AgentOnNode, code: str, fault_class: str) -> float:
    """How many XIDs of a number and class were counted."""
    labels = {"xid": code, "class": fault_class}
    return node.metrics.registry.get_sample_value("migsched_agent_xids_total", labels) or 0.0


def test_an_application_fault_does_not_outlive_its_slice(node: AgentOnNode) -> None:
    """XID 94, not attributed, with a pod running: the GPU stays in use, and after the pod's end nothing is ill."""
    pod, place = running(node, "a", "1g.5gb", 0), node.place("1g.5gb", 0)
    xid(node, 94)
    node.step()
    assert shown(node).healthy
    assert shown_slice(node, place).illness is not None
    node.end(pod, gone=True)
    node.step(10.0)
    node.step()
    assert shown(node).healthy
    assert shown(node).slices == ()


@pytest.mark.parametrize("number", RESET_XIDS)
@pytest.mark.parametrize("attributed", [False, True])
def test_a_reset_ends_what_asks_for_a_reset(node: AgentOnNode, number: int, attributed: bool) -> None:
    """An XID whose action is a reset makes the whole GPU ill, whatever it is attributed to, until the reset."""
    pod, place = running(node, "a", "1g.5gb", 0), node.place("1g.5gb", 0)
    xid(node, number, place if attributed else None)
    node.step()
    gpu = shown(node)
    assert not gpu.healthy
    assert gpu.illness is not None
    assert f"XID {number}" in gpu.message
    assert "until the GPU was reset" in gpu.message
    assert any(f"XID {number}" in message for message in told(node, pod))
    for _ in range(300):
        node.step(10.0)
    assert not shown(node).healthy
    node.end(pod, gone=True)
    node.step(10.0)
    assert not shown(node).healthy
    node.driver.restart()
    node.step()
    assert shown(node).healthy
    assert shown(node).illness is None


def test_destroying_every_instance_is_no_reset(node: AgentOnNode) -> None:
    """A GPU that is ill stays ill although somebody destroys, and cuts, all its instances."""
    made = node.foreign("3g.20gb", 4)
    node.step()
    xid(node, 95)
    node.step()
    node.driver.find(node.gpus[0]).destroy(made.gi_id)
    node.step()
    assert not shown(node).healthy
    node.foreign("3g.20gb", 4)
    node.step()
    assert not shown(node).healthy
    node.driver.reset(node.gpus[0])
    node.step()
    assert shown(node).healthy


def test_a_counter_that_went_back_beside_old_instances_is_no_reset(node: AgentOnNode) -> None:
    """No instance survives a reset: while one stands that stood before, the GPU was not reset."""
    running(node, "a", "1g.5gb", 0)
    xid(node, 95)
    node.step()
    node.driver.find(node.gpus[0]).forget_energy()
    node.step()
    assert not shown(node).healthy


def test_the_reset_of_one_gpu_says_nothing_of_another(tmp_path: Path) -> None:
    """Of two ill GPUs the one that was reset is well again."""
    node = AgentOnNode(tmp_path, "a100-40gb:2")
    node.step()
    xid(node, 79, gpu=0)
    xid(node, 79, gpu=1)
    node.step()
    node.driver.reset(node.gpus[1])
    node.step()
    assert [gpu.healthy for gpu in node.outcome.report.gpus] == [False, True]  # type: ignore[union-attr]  # just made


def test_a_gpu_that_was_lost_and_is_back_was_reset(node: AgentOnNode) -> None:
    """A GPU that fell off the bus before anything of it could be noted is well once it answers again."""
    node.step()
    xid(node, 79)
    node.driver.lose(node.gpus[0])
    node.step()
    node.restart()
    node.step()
    assert not shown(node).healthy
    node.driver.reset(node.gpus[0])
    node.step()
    assert shown(node).healthy


def test_a_fault_after_a_reset_that_nobody_saw_counts(node: AgentOnNode) -> None:
    """A GPU that falls ill right after its reset is ill: the reset before says nothing."""
    running(node, "a", "1g.5gb", 0)
    xid(node, 13)
    node.step()
    node.driver.reset(node.gpus[0])
    xid(node, 79)
    node.step()
    node.step()
    assert not shown(node).healthy


def test_a_gpu_that_hangs_with_its_fault_is_well_after_the_reset(node: AgentOnNode) -> None:
    """Nothing can be read of it once it is ill: its counter of before tells."""
    running(node, "a", "1g.5gb", 0)
    gate = node.driver.faults.hold(Call.DESCRIBE, gpu=node.gpus[0])
    xid(node, 119)
    node.step()
    node.step()
    assert not shown(node).healthy
    node.restart()
    gate.open()
    node.step()
    assert "XID 119" in shown(node).message
    node.driver.reset(node.gpus[0])
    node.step()
    assert shown(node).healthy


def test_a_gpu_that_counts_no_energy_is_well_after_a_reboot(node: AgentOnNode) -> None:
    """Where a reset cannot be told from destroyed instances, the GPU stays ill until the node rebooted."""
    node.driver.faults.fail(Call.ENERGY, NotSupportedError, times=1000)
    node.step()
    xid(node, 95)
    node.step()
    node.driver.reset(node.gpus[0])
    node.step()
    assert not shown(node).healthy
    node.reboot()
    node.step()
    assert shown(node).healthy


def test_a_reboot_ends_everything(node: AgentOnNode) -> None:
    """After a reboot nothing is ill."""
    pod, place = running(node, "a", "1g.5gb", 0), node.place("1g.5gb", 0)
    xid(node, 79)
    xid(node, 94, place)
    node.step()
    node.reboot()
    node.step()
    assert shown(node).healthy
    assert shown_slice(node, place).illness is None
    assert not pod.over


@pytest.mark.parametrize("number", [94, 31, 13, 999])
def test_an_ill_slice_is_told_and_not_handed_on(node: AgentOnNode, number: int) -> None:
    """An attributed fault of an application: its pod is told, and the next pod there gets a slice cut anew."""
    ill, place = running(node, "ill", "1g.5gb", 0), node.place("1g.5gb", 0)
    well, other = running(node, "well", "1g.5gb", 1), node.place("1g.5gb", 1)
    before = serial(node, place), serial(node, other)
    xid(node, number, place)
    node.step()
    assert any(f"XID {number}" in message and "restart the application" in message for message in told(node, ill))
    assert told(node, well) == []
    assert shown(node).healthy
    assert shown_slice(node, place).illness is not None
    assert shown_slice(node, other).illness is None
    node.end(ill, gone=True)
    node.end(well, gone=True)
    node.step(10.0)
    again = [running(node, "b", "1g.5gb", 0), running(node, "c", "1g.5gb", 1)]
    assert [node.places_of(pod) for pod in again] == [[place], [other]]
    assert serial(node, place) != before[0]
    assert serial(node, other) == before[1]
    assert shown_slice(node, place).illness is None


def test_an_ill_idle_slice_is_destroyed(node: AgentOnNode) -> None:
    """A warm slice that falls ill goes with the next step."""
    pod, place = running(node, "a", "1g.5gb", 0), node.place("1g.5gb", 0)
    node.end(pod, gone=True)
    node.step(10.0)
    assert shown_slice(node, place).state is SliceState.IDLE
    xid(node, 94, place)
    node.step()
    assert node.instances() == []


def test_allocate_cuts_an_ill_warm_slice_anew(node: AgentOnNode) -> None:
    """The kubelet may ask for a warm slice in the moment in which it fell ill."""
    pod, place = running(node, "a", "1g.5gb", 0), node.place("1g.5gb", 0)
    node.end(pod, gone=True)
    node.step(10.0)
    before = serial(node, place)
    xid(node, 94, place)
    node.hear()
    node.allocation.allocate(device_ids.resource(place), [device_ids.device_id(place)])
    assert serial(node, place) != before


def test_the_slice_of_an_ended_pod_is_not_handed_on_ill(node: AgentOnNode) -> None:
    """The kubelet may give an ended pod's slice to the next before the agent noticed the end: not an ill one."""
    pod, place = running(node, "a", "1g.5gb", 0), node.place("1g.5gb", 0)
    before = serial(node, place)
    xid(node, 94, place)
    node.step()
    node.end(pod, gone=True)
    node.hear()
    with pytest.raises(AllocationError) as refused:
        node.allocation.allocate(device_ids.resource(place), [device_ids.device_id(place)])
    assert refused.value.retryable
    node.step(10.0)
    node.allocation.allocate(device_ids.resource(place), [device_ids.device_id(place)])
    assert serial(node, place) != before


def test_an_ill_slice_with_a_process_stays(node: AgentOnNode) -> None:
    """A process on an ill slice is never disturbed, and nothing goes there meanwhile."""
    pod, place = running(node, "a", "1g.5gb", 0), node.place("1g.5gb", 0)
    xid(node, 94, place)
    node.end(pod, phase_only=True)
    node.step(10.0)
    before = serial(node, place)
    node.step(10.0)
    assert serial(node, place) == before
    with pytest.raises(AllocationError):
        node.allocation.allocate(device_ids.resource(place), [device_ids.device_id(place)])


def test_an_ill_gpu_gets_no_new_work(tmp_path: Path) -> None:
    """Allocate is refused, the kubelet sees the devices unhealthy, promises there fail, and others are preferred."""
    node = AgentOnNode(tmp_path, "a100-40gb:2")
    node.step()
    xid(node, 119)
    node.step()
    ill, well = node.place("1g.5gb", 0, 0), node.place("1g.5gb", 0, 1)
    offers = node.allocation.offers()["nvidia.com/mig-1g.5gb"]
    assert not offers[device_ids.device_id(ill)].healthy
    assert offers[device_ids.device_id(well)].healthy
    with pytest.raises(AllocationError, match="XID 119") as refused:
        node.allocation.allocate(device_ids.resource(ill), [device_ids.device_id(ill)])
    assert not refused.value.retryable
    preferred = node.allocation.prefer("nvidia.com/mig-1g.5gb", sorted(offers), [], 1)
    assert preferred[0] in device_ids.offered({node.gpus[1]: node.driver.find(node.gpus[1]).catalogue})
    pod = node.bind("a", "7g.40gb", at=(node.place("7g.40gb", 0, 0),))
    running(node, "b", "7g.40gb", 0, 1)
    node.step(10.0)
    assert node.instances(0) == []
    late = node.bind("c", "7g.40gb", at=(node.place("7g.40gb", 0, 0),))
    node.step()
    assert any("XID 119" in message for message in told(node, late, FAILED_EVENT))
    assert not pod.over


def test_a_whole_gpu_is_ill_as_long_as_a_container_has_it(tmp_path: Path) -> None:
    """Out of MIG mode an application's fault concerns the GPU, and ends with the container that had it."""
    node = AgentOnNode(tmp_path)
    gpu = node.driver.find(node.gpus[0])
    gpu.mode.current = gpu.mode.pending = False
    node.step()
    pod = node.bind("a")
    node.allocation.allocate(device_ids.WHOLE_GPU, [gpu.uuid])
    node.pods[pod.uid].devices["main", device_ids.WHOLE_GPU] = (gpu.uuid,)
    node.step()
    xid(node, 94)
    node.step()
    assert not shown(node).healthy
    assert [offer.healthy for offer in node.allocation.offers()[device_ids.WHOLE_GPU].values()] == [False]
    node.step(60.0)
    assert not shown(node).healthy
    node.end(pod, gone=True)
    node.step(10.0)
    node.step()
    assert shown(node).healthy
    assert [offer.healthy for offer in node.allocation.offers()[device_ids.WHOLE_GPU].values()] == [True]


@pytest.mark.parametrize("number", [43, 45, 63, 154])
def test_what_the_catalogue_ignores_is_only_counted(node: AgentOnNode, number: int) -> None:
    """A notice makes nothing ill."""
    place = node.place("1g.5gb", 0)
    pod = running(node, "a", "1g.5gb", 0)
    xid(node, number)
    xid(node, number, place)
    node.step()
    assert shown(node).healthy
    assert shown_slice(node, place).illness is None
    assert told(node, pod) == []
    assert counted(node, str(number), "ignored") == 2


def test_every_fault_is_counted(node: AgentOnNode) -> None:
    """XIDs are counted by number and class; those that nobody published share a label."""
    node.step()
    for number in (94, 94, 31, 79, 1234, 4321):
        xid(node, number)
    node.step()
    assert counted(node, "94", "application") == 2
    assert counted(node, "31", "application") == 1
    assert counted(node, "79", "gpu_reset") == 1
    assert counted(node, "other", "gpu_reset") == 2


@pytest.mark.parametrize(
    ("fault", "healthy"),
    [
        (MemoryFault.DOUBLE_BIT, True),
        (MemoryFault.CONTAINED, True),
        (MemoryFault.UNCONTAINED, False),
        (MemoryFault.RETIREMENT_FAILED, False),
    ],
)
def test_a_memory_fault_is_like_its_xid(node: AgentOnNode, fault: MemoryFault, healthy: bool) -> None:
    """Contained: every slice is ill, as nobody knows which; otherwise the GPU."""
    pod, place = running(node, "a", "1g.5gb", 0), node.place("1g.5gb", 0)
    node.driver.memory_fault(node.gpus[0], fault)
    node.step()
    assert shown(node).healthy is healthy
    assert (shown_slice(node, place).illness is not None) is healthy
    assert len(told(node, pod)) == 1


def test_marks_survive_a_restart_of_the_agent(node: AgentOnNode) -> None:
    """The driver reports a fault once: what was ill is ill for the next agent, since the same time."""
    pod, place = running(node, "a", "1g.5gb", 0), node.place("1g.5gb", 0)
    xid(node, 94, place)
    xid(node, 95)
    node.step()
    before = shown(node)
    node.restart()
    node.step()
    assert shown(node).illness == before.illness
    assert shown(node).slices == before.slices
    node.driver.reset(node.gpus[0])
    node.restart()
    node.step()
    assert shown(node).healthy
    assert shown_slice(node, place).illness is None
    assert not pod.over


def test_a_lost_pod_is_told_after_its_name_is_known(node: AgentOnNode) -> None:
    """A fault may come before it is known whose the slice is."""
    place = node.place("1g.5gb", 0)
    node.kubelet_up = False
    pod = node.bind("a", "1g.5gb", at=(place,))
    node.step()
    node.admit(pod)
    xid(node, 94, place)
    node.step()
    assert told(node, pod) == []
    node.kubelet_up = True
    node.step()
    assert len(told(node, pod)) == 1
    node.step()
    assert told(node, pod) == []
