"""Faults of an application: its slice is ill, its pod is told, and the slice is handed to no other."""

import dataclasses
from pathlib import Path

import pytest

from allocator.claims.report import SliceState
from node_agent.allocation import AllocationError
from node_agent.gpu.device import MemoryFault
from node_agent.health.policy import Effect, HealthPolicy, UnknownFaults
from node_agent.slices import device_ids
from tests.unit.node_agent.agent_on_node import OPTIONS, AgentOnNode
from tests.unit.node_agent.fault_scenes import counted, running, serial, shown, shown_slice, told, xid


def node_with(root: Path, policy: HealthPolicy) -> AgentOnNode:
    """A node whose agent has other settings."""
    return AgentOnNode(root, options=dataclasses.replace(OPTIONS, health=policy))


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


def test_a_slice_that_is_only_marked_stays_warm(tmp_path: Path) -> None:
    """With `application_xid: mark` it is shown while its pod has it, then kept, and handed on."""
    node = node_with(tmp_path, HealthPolicy(application=Effect.MARK))
    pod, place = running(node, "a", "1g.5gb", 0), node.place("1g.5gb", 0)
    before = serial(node, place)
    xid(node, 94, place)
    node.step()
    assert shown_slice(node, place).illness is not None
    assert len(told(node, pod)) == 1
    node.end(pod, gone=True)
    node.step(10.0)
    assert shown_slice(node, place).illness is None
    running(node, "b", "1g.5gb", 0)
    assert serial(node, place) == before


def test_a_warm_slice_that_is_only_marked_is_room_again(tmp_path: Path) -> None:
    """With `application_xid: mark` a fault of a slice that no container has is over at once."""
    node = node_with(tmp_path, HealthPolicy(application=Effect.MARK))
    pod, place = running(node, "a", "1g.5gb", 0), node.place("1g.5gb", 0)
    node.end(pod, gone=True)
    node.step(10.0)
    xid(node, 94, place)
    node.step()
    assert shown_slice(node, place).free


def test_a_gpu_that_is_only_marked_gets_new_work(tmp_path: Path) -> None:
    """With `gpu_reset_xid: mark` it is shown until its reset, and used meanwhile."""
    node = node_with(tmp_path, HealthPolicy(gpu_reset=Effect.MARK))
    node.step()
    xid(node, 79)
    node.step()
    assert shown(node).healthy
    assert shown(node).illness is not None
    running(node, "a", "1g.5gb", 0)
    node.driver.reset(node.gpus[0])
    node.step()
    assert shown(node).illness is None


def test_settings_say_what_is_ignored_and_what_unknown_counts_as(tmp_path: Path) -> None:
    """An ignored XID is counted as ignored; one that is not known as what is set."""
    node = node_with(tmp_path, HealthPolicy(frozenset({79}), unknown=UnknownFaults.IGNORED))
    node.step()
    xid(node, 79)
    xid(node, 999)
    node.step()
    assert shown(node).healthy
    assert shown(node).illness is None
    assert counted(node, "79", "ignored") == counted(node, "other", "ignored") == 1


def test_a_restart_with_an_ignored_xid_takes_its_mark_away(node: AgentOnNode) -> None:
    """How a person overrules the agent: its causes are ignored from then on."""
    node.step()
    xid(node, 95)
    node.step()
    node.options = dataclasses.replace(OPTIONS, health=HealthPolicy(frozenset({95})))
    node.restart()
    node.step()
    assert shown(node).healthy
    node.options = OPTIONS
    node.restart()
    node.step()
    assert shown(node).healthy
