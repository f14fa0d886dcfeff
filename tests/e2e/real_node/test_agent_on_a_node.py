"""The node agent on a real kubelet, containerd and runc, behind kube-scheduler and our extender, on simulated GPUs."""

from collections.abc import Iterator

import pytest

from simulator.control_plane.control_plane import ControlPlane
from simulator.real_node.real_node import RealNode
from tests.e2e.real_node.agent_stack import AgentStack, pod, promises

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def whole(cluster: ControlPlane, node: RealNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentStack]:
    """Everything running, shared by the tests of this module."""
    started = AgentStack(cluster, node, tmp_path_factory.mktemp("a"))
    yield started
    started.close()


@pytest.fixture
def stack(whole: AgentStack) -> Iterator[AgentStack]:
    """The running stack without pods; what a test leaves is cleared and checked."""
    yield whole
    whole.clear()


def test_a_pod_gets_the_slice_that_its_annotation_names(stack: AgentStack) -> None:
    """A pod's process sees the MIG UUID of the very slice that kube-scheduler and extender chose and the GPU holds."""
    (made,) = stack.run(pod(stack, "first", ["3g.20gb"]))
    (promise,) = promises(made)
    seen = stack.visible("first")
    gpu, placement = stack.hardware.slices()[seen]
    assert (promise.gpu, promise.profile, promise.start) == (gpu, placement.profile, placement.start)
    assert placement.profile == "3g.20gb"
    stack.eventually(lambda: stack.reported() == {seen: ("allocated", "first")}, "the owner in the MigNode")
    assert stack.hardware.used() == {seen}
    assert len(stack.specs()) == len(stack.journal().grants) == 1
    events = stack.get("events", "--field-selector=involvedObject.name=first,reason=SliceReady")["items"]
    assert [seen in one["message"] for one in events] == [True]

    stack.clear()
    assert stack.hardware.slices() == {seen: (gpu, placement)}  # kept warm for the next pod
