"""A GPU that a person takes out of service gets no new work, what runs on it goes on, and all are told."""

from dataclasses import replace
from pathlib import Path

import pytest

from allocator.claims import snapshot
from allocator.claims.inventory import Inventory
from allocator.mig.profile import WHOLE_GPU, GpuPlacement
from node_agent.allocation import AllocationError
from node_agent.gpu import selection
from node_agent.slices import device_ids
from tests.unit.node_agent.agent_on_node import OPTIONS, AgentOnNode

SEVEN = "nvidia.com/mig-7g.40gb"
ONE = "nvidia.com/mig-1g.5gb"


def out(directory: Path, text: str = "0", gpus: str = "a100-40gb:2") -> AgentOnNode:
    """A node whose annotation takes GPUs out of service."""
    node = AgentOnNode(directory, gpus)
    node.state.on_annotation(text)
    node.step()
    return node


def offered(node: AgentOnNode, resource: str) -> set[int]:
    """The indices of the GPUs on which places of a resource are healthy."""
    places = node.state.observe().offered
    devices = node.allocation.offers()[resource]
    return {node.gpus.index(places[id_].gpu) for id_, offer in devices.items() if offer.healthy}


def test_the_kubelet_and_the_scheduler_hear_of_it(tmp_path: Path) -> None:
    """Devices of the GPU are unhealthy, and MigNode, scheduler and `migsched top` say why."""
    node = out(tmp_path)
    assert offered(node, ONE) == {1}
    report = node.step().report
    assert [(gpu.usable, gpu.healthy) for gpu in report.gpus] == [(False, False), (True, True)]
    assert report.gpus[0].message == "out of service, by the node's annotation migsched.io/out-of-service"
    inventory = Inventory()
    inventory.nodes.add(report.node)
    inventory.observe(report)
    assert [gpu.problem for gpu in snapshot.take(inventory).gpus()] == [report.gpus[0].message, ""]


def test_it_ends_with_the_annotation(tmp_path: Path) -> None:
    """Without the annotation the GPU is as before."""
    node = out(tmp_path, "all")
    assert offered(node, ONE) == set()
    node.state.on_annotation("")
    assert all(gpu.healthy and gpu.message == "" for gpu in node.step().report.gpus)
    assert offered(node, ONE) == {0, 1}


def test_new_pods_get_places_elsewhere(tmp_path: Path) -> None:
    """A pod that was promised a place there before gets one on another GPU, as long as there is room."""
    node = AgentOnNode(tmp_path, "a100-40gb:2")
    pods = [node.bind(name, "7g.40gb", at=(node.place("7g.40gb", 0),)) for name in "ab"]
    node.state.on_annotation("0")
    node.step()
    assert node.instances(0) == []
    node.admit(pods[0])
    assert node.places_of(pods[0]) == [node.place("7g.40gb", 0, gpu=1)]
    with pytest.raises(AllocationError):
        node.admit(pods[1])
    node.step()
    assert node.instances(0) == []


@pytest.mark.parametrize(("text", "index"), [("0", 1), ("1", 0)])
def test_a_pod_without_a_promise_gets_a_place_in_service(text: str, index: int, tmp_path: Path) -> None:
    """The preferred places are on GPUs in service, whichever the policy would choose."""
    node = out(tmp_path, text)
    pods = [node.bind(f"p{number}", "1g.5gb") for number in range(7)]
    for pod in pods:
        node.step()
        node.admit(pod)
    assert {node.gpus.index(place.gpu) for pod in pods for place in node.places_of(pod)} == {index}


def test_the_kubelet_that_has_not_heard_yet_is_refused(tmp_path: Path) -> None:
    """An Allocate for a place there says what is the matter, and is not tried again."""
    node = out(tmp_path)
    with pytest.raises(AllocationError, match=r"is out of service, by the node's annotation") as caught:
        node.allocation.allocate(SEVEN, [device_ids.device_id(node.place("7g.40gb", 0))])
    assert not caught.value.retryable


def test_what_runs_goes_on(tmp_path: Path) -> None:
    """A container's slice stays and looks well, goes to its pod's next container, and comes back after a reboot."""
    node = AgentOnNode(tmp_path, "a100-40gb:2")
    place = node.place("3g.20gb", 0)
    pod = node.bind("a", "3g.20gb", at=(place,), init="prepare")
    node.step()
    node.admit(pod)
    node.state.on_annotation("0")
    node.step()
    id_ = device_ids.device_id(place)
    assert _healthy(node, place)
    node.allocation.allocate("nvidia.com/mig-3g.20gb", [id_])
    node.reboot()
    node.state.on_annotation("0")
    node.step()
    assert node.instances(0) == ["3g.20gb@0"]
    node.end(pod, gone=True)
    node.step(10.0)
    node.step()
    assert not _healthy(node, place)


def _healthy(node: AgentOnNode, place: GpuPlacement) -> bool:
    devices = node.allocation.offers()[device_ids.resource(place)]
    return devices[device_ids.device_id(place)].healthy


def test_a_whole_gpu_out_of_service_is_given_to_nobody_new(tmp_path: Path) -> None:
    """A GPU with MIG off is unhealthy at once, or, if a container has it, once that is over; its mode is left alone."""
    options = replace(OPTIONS, out_of_service_gpus=selection.parse("all"), manage_mig_mode=selection.parse("0"))
    node = AgentOnNode(tmp_path, "a100-40gb:2", options)
    for gpu in node.driver.gpus.values():
        gpu.mode.current = gpu.mode.pending = False
    pod = node.bind("whole")
    node.pods[pod.uid].devices["main", WHOLE_GPU] = (node.gpus[1],)
    report = node.step().report
    whole = {gpu: offer.healthy for gpu, offer in node.allocation.offers()[WHOLE_GPU].items()}
    assert whole == {node.gpus[1]: True}  # the other one is to be switched, and waits
    assert {gpu.message for gpu in report.gpus} == {"out of service, by the agent's setting out_of_service_gpus"}
    assert [node.devices.mode(gpu).current for gpu in node.gpus] == [False, False]
    with pytest.raises(AllocationError, match="is out of service, by the agent's setting"):
        node.allocation.allocate(WHOLE_GPU, [node.gpus[1]])
    node.end(pod, gone=True)
    node.step(10.0)
    assert not node.allocation.offers()[WHOLE_GPU][node.gpus[1]].healthy


def test_a_gpu_to_be_left_alone_takes_no_new_work_while_in_use(tmp_path: Path) -> None:
    """An excluded GPU of which a container still has a slice is out of service until then."""
    node = AgentOnNode(tmp_path, "a100-40gb:2")
    pod = node.bind("a", "3g.20gb", at=(node.place("3g.20gb", 0),))
    node.step()
    node.admit(pod)
    node.options = replace(OPTIONS, exclude_gpus=selection.parse("0"))
    node.restart()
    assert "exclude_gpus" in node.step().report.gpus[0].message
    assert offered(node, ONE) == {1}


def test_a_text_that_names_no_gpu_is_told_in_the_ready_condition(tmp_path: Path) -> None:
    """A mistyped annotation takes nothing out of service, and the MigNode says so beside being ready."""
    outcome = out(tmp_path, "7,GPU-x").step()
    assert outcome.ready
    assert "annotation migsched.io/out-of-service names no GPU of this node with 'GPU-x', '7'" in outcome.message
