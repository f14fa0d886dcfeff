"""Several slices of one container that no scheduler of ours has placed: on different GPUs first."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from allocator.claims import contract
from allocator.mig.profile import GpuPlacement
from node_agent.cluster import pods
from node_agent.cluster.node_pod import NodePod
from node_agent.cluster.pods import PodView
from node_agent.slices import device_ids
from tests.unit.node_agent.agent_on_node import AgentOnNode, KubeletPod

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


def _told(node: AgentOnNode, reason: str) -> list[str]:
    """What pods were told for a reason by the last step."""
    assert node.outcome is not None
    return [event.message for event in node.outcome.events if event.reason == reason]


def _annotated(node: AgentOnNode, value: str | None, number: int = 2) -> PodView:
    """What the agent reads of a pod that asks for so many slices, with this value of the annotation."""
    document: dict[str, Any] = {
        "metadata": {"name": "p", "namespace": "default", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"containers": [{"name": "main", "resources": {"limits": {RESOURCE: str(number)}}}]},
    }
    if value is not None:
        document["metadata"]["annotations"] = {contract.SLICES_ANNOTATION: value}
    pod = pods.view(msgspec.convert(document, NodePod))
    assert pod is not None
    node.pods[pod.uid] = KubeletPod(pod)
    return pod


@pytest.mark.parametrize(("value", "told"), [(None, 1), ("spread", 1), ("pack", 0)])
def test_a_pod_is_told_once_that_slices_share_a_gpu(node: AgentOnNode, value: str | None, told: int) -> None:
    """An Event names container and GPU once all slices are there, unless the pod asked for it; a restart adds none."""
    full = node.bind("full", "7g.80gb", at=(node.place("7g.80gb", 0, gpu=0),))
    node.step()
    node.admit(full)
    pod = _annotated(node, value)
    node.step()
    node.admit(pod)
    messages = [message for _ in range(3) for message in (node.step(), *_told(node, "SlicesOnOneGpu"))[1:]]
    expected = f"container main has 2 slices on GPU {node.gpus[1]}: a CUDA process sees at most one slice of a GPU"
    assert messages == [expected] * told
    node.restart()
    node.step()
    assert _told(node, "SlicesOnOneGpu") == []


def test_a_pod_whose_slices_are_apart_is_told_nothing(node: AgentOnNode) -> None:
    """No Event where one process sees all."""
    pod = _annotated(node, None)
    node.step()
    node.admit(pod)
    node.step()
    assert len(_told(node, "SliceReady")) == 2
    assert _told(node, "SlicesOnOneGpu") == []


def test_a_value_that_is_not_understood_is_named(node: AgentOnNode) -> None:
    """It counts as `spread`, and the pod is told what to write, in a bounded sentence."""
    pod = _annotated(node, "Packed\n" * 100_000)
    node.step()
    (message,) = _told(node, "SlicesAnnotation")
    assert message.startswith("annotation migsched.io/slices is 'Packed\\nPacked\\n")
    assert message.endswith("write spread or pack; it counts as spread")
    assert len(message) < 300
    assert not pod.asks.packed
    node.step()
    assert _told(node, "SlicesAnnotation") == []
