"""Faults whose remedy is a reset: the whole GPU is ill, until it was reset."""

from pathlib import Path

import pytest

from allocator.mig.profile import WHOLE_GPU
from node_agent.allocation import AllocationError
from node_agent.cluster.pod_events import FAILED_EVENT
from node_agent.gpu.device import NotSupportedError
from node_agent.slices import device_ids
from simulator.gpu.faults import Call
from tests.unit.node_agent.agent_on_node import AgentOnNode
from tests.unit.node_agent.fault_scenes import running, shown, shown_slice, told, xid

RESET_XIDS = (48, 62, 64, 79, 95, 109, 119)  # whose action is a reset of the GPU


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
    node.allocation.allocate(WHOLE_GPU, [gpu.uuid])
    node.pods[pod.uid].devices["main", WHOLE_GPU] = (gpu.uuid,)
    node.step()
    xid(node, 94)
    node.step()
    assert not shown(node).healthy
    assert any("XID 94" in message for message in told(node, pod))
    assert [offer.healthy for offer in node.allocation.offers()[WHOLE_GPU].values()] == [False]
    node.step(60.0)
    assert not shown(node).healthy
    node.end(pod, gone=True)
    node.step(10.0)
    node.step()
    assert shown(node).healthy
    assert [offer.healthy for offer in node.allocation.offers()[WHOLE_GPU].values()] == [True]


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
