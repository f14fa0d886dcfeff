"""SIGKILL of the agent's process at each point of a slice's life, on a real kubelet: the next agent makes it good.

The points come from the code: each state of the journal, before and after it is written, and each call that changes a
GPU, whose caller is killed in the middle of it. In-process, every transition of the table is passed by
tests/unit/node_agent/test_agent_crash.py.
"""

from collections.abc import Iterator
from contextlib import closing

import pytest

from node_agent.slices.states import RecordState
from simulator.gpu.faults import Call
from testbed.control_plane.control_plane import ControlPlane
from testbed.node.real_node import RealNode
from tests.e2e.real_node.agent_stack import AgentStack, Document, is_over, is_running, is_same_container, pod

pytestmark = pytest.mark.e2e

CALLS = {
    Call.CREATE_GPU_INSTANCE: ["2g.10gb"],
    Call.CREATE_COMPUTE_INSTANCE: ["2g.10gb"],  # the GPU instance stands, without its compute instance
    Call.DESTROY_COMPUTE_INSTANCE: ["4g.20gb"],
    Call.DESTROY_GPU_INSTANCE: ["4g.20gb"],  # its compute instance is gone
}


class AbandonedError(OSError):
    """The caller is dead: nobody hears how the call would have ended, and it does not go on."""


@pytest.fixture(scope="module")
def whole(cluster: ControlPlane, node: RealNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentStack]:
    """Everything running, on a node with one GPU: what is needed has to be made room for."""
    with closing(AgentStack(cluster, node, tmp_path_factory.mktemp("a"), gpus=1)) as started:
        yield started


@pytest.fixture
def bystander(stack: AgentStack) -> Document:
    """A pod that runs and must not notice, beside an idle slice of 3g.20gb, and nothing else."""
    (gpu,) = stack.hardware.driver.by_index()
    for warm in gpu.instances():
        gpu.destroy(warm.gi_id)
    stack.eventually(lambda: not stack.reported() and not stack.journal().records, "the GPU is empty")
    made, _ = stack.run(pod(stack, "bystander", ["1g.5gb"]), pod(stack, "before", ["3g.20gb"]))
    stack.delete("before")
    stack.eventually(lambda: stack.owners() == ["bystander"], "its slice is idle")
    assert sorted(placement.profile for _, placement in stack.hardware.slices().values()) == ["1g.5gb", "3g.20gb"]
    return made


def makes_good(stack: AgentStack, bystander: Document) -> None:
    """The next agent brings everything to rest: the pod runs or was refused, and the bystander has what it had."""
    seen = stack.visible("bystander")
    stack.agent.start()
    stack.eventually(stack.serves, "the devices are back")
    stack.eventually(
        lambda: all(is_running(one) or is_over(one) for one in stack.pods()), "every pod runs, or was refused"
    )
    for one in stack.pods():
        assert is_running(one) or one["status"]["reason"] == "UnexpectedAdmissionError", one["status"]
    assert is_same_container(bystander, stack.get("pod", "bystander"))
    assert stack.visible("bystander") == seen
    stack.eventually(
        lambda: {one.state for one in stack.journal().records.values()} <= {RecordState.IDLE, RecordState.ALLOCATED},
        "no intent is left",
    )
    stack.run(pod(stack, "after", ["1g.5gb"]))


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("state", [one for one in RecordState if one is not RecordState.RESTORING])
def test_it_dies_while_it_writes_its_journal(
    stack: AgentStack, bystander: Document, state: RecordState, when: str
) -> None:
    """Killed before or after a slice's state is written, the agent leaves an intent that the next one settles."""
    stack.agent.stop()
    stack.agent.start(state.value, when)
    stack.eventually(lambda: stack.agent.registered, "the kubelet knows the agent")
    profiles = ["4g.20gb"] if state is RecordState.DESTROYING else ["2g.10gb"]
    stack.create(pod(stack, "act", profiles))
    if state is RecordState.IDLE:  # that a new slice is idle is written with the next intent, or when a pod is over
        stack.eventually(lambda: stack.agent.killed or is_running(stack.get("pod", "act")), "it is cut")
        stack.delete("act")
    stack.eventually(lambda: stack.agent.killed, "the agent kills itself")
    makes_good(stack, bystander)


@pytest.mark.parametrize("when", ["before", "after"])
def test_it_dies_while_it_restores(stack: AgentStack, bystander: Document, when: str) -> None:
    """Killed while it cuts anew what a container has, it is followed by one that does: at the old place."""
    uuid, placement = stack.hardware.slices()[stack.visible("bystander")]
    stack.power_cut()
    stack.agent.start(RecordState.RESTORING.value, when)
    stack.eventually(lambda: stack.agent.killed, "the agent kills itself")
    stack.agent.start()
    stack.eventually(lambda: (uuid, placement) in stack.hardware.slices().values(), "the slice is cut anew")
    stack.eventually(lambda: stack.owners() == ["bystander"], "it is the bystander's")
    stack.eventually(stack.serves, "the devices are back")
    stack.delete("bystander")  # its mark went with the power


@pytest.mark.parametrize("call", CALLS)
def test_it_dies_in_the_middle_of_a_driver_call(stack: AgentStack, bystander: Document, call: Call) -> None:
    """Killed inside the library, the agent leaves a GPU as it was, half made or half destroyed; the next sees to it."""

    def die(_seconds: float) -> None:
        stack.during_call = lambda _: None
        stack.agent.kill()
        raise AbandonedError

    stack.during_call = die
    stack.hardware.driver.faults.latency_s[call] = 1.0
    stack.create(pod(stack, "act", CALLS[call]))
    stack.eventually(lambda: stack.agent.killed, "the agent is killed")
    stack.hardware.driver.faults.clear()
    makes_good(stack, bystander)
