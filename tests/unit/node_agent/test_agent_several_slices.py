"""Several slices of one container that no scheduler of ours has placed: on different GPUs first."""

from pathlib import Path

import pytest

from allocator.mig.profile import GpuPlacement
from node_agent.cluster.pods import PodView
from node_agent.slices import device_ids
from tests.unit.node_agent.agent_on_node import AgentOnNode

RESOURCE = "nvidia.com/mig-3g.40gb"


@pytest.fixture
def node(tmp_path: Path) -> AgentOnNode:
    """A node with two empty H100s, and its agent after the first step."""
    node = AgentOnNode(tmp_path, "h100-80gb:2")
    node.step()
    return node


def _gpus(node: AgentOnNode, pod: PodView) -> list[int]:
    """The GPUs, by index, of a pod's slices."""
    return sorted(node.gpus.index(place.gpu) for place in node.places_of(pod))


def _ids(*places: GpuPlacement) -> list[str]:
    return [device_ids.device_id(place) for place in places]


def test_slices_of_an_unpromised_container_are_on_different_gpus(node: AgentOnNode) -> None:
    """A pod that another scheduler bound gets its two slices where one process sees both."""
    pod = node.bind("elsewhere", "3g.40gb", "3g.40gb")
    node.step()
    node.admit(pod)
    assert _gpus(node, pod) == [0, 1]


def test_they_share_a_gpu_where_there_is_no_other(node: AgentOnNode) -> None:
    """Room decides first: beside a full GPU both lie on the other one."""
    full = node.bind("full", "7g.80gb", at=(node.place("7g.80gb", 0, gpu=0),))
    node.step()
    node.admit(full)
    pod = node.bind("elsewhere", "3g.40gb", "3g.40gb")
    node.step()
    node.admit(pod)
    assert _gpus(node, pod) == [1, 1]


@pytest.mark.parametrize("held", [0, 1])
def test_a_slice_goes_where_the_container_has_none(node: AgentOnNode, held: int) -> None:
    """Beside an init container's slice, which the kubelet hands on, the other one is on the other GPU."""
    node.step()
    free = list(node.allocation.offers()[RESOURCE])
    (handed_on,) = _ids(node.place("3g.40gb", 0, gpu=held))
    chosen = node.allocation.prefer(RESOURCE, free, [handed_on], 2)
    assert handed_on in chosen
    places = [node.state.observe().place(id_) for id_ in chosen]
    assert {place.gpu for place in places if place} == set(node.gpus)


def test_a_promise_to_pack_is_kept(node: AgentOnNode) -> None:
    """Where the scheduler placed both on one GPU, as the pod asked, the agent hands out those."""
    at = (node.place("3g.40gb", 0), node.place("3g.40gb", 4))
    pod = node.bind("packed", "3g.40gb", "3g.40gb", at=at)
    node.step()
    node.admit(pod)
    assert _gpus(node, pod) == [0, 0]
