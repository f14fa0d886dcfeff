"""SIGKILL of the agent's process on a real kubelet: the next agent makes it good.

Three deaths of which the kubelet knows something that a test in one process cannot: an Allocate that is never
answered, a slice that is half destroyed while a pod waits for its room, and a reboot under running containers. That
the agent may die at every other point is shown in-process by tests/unit/node_agent/test_agent_crash.py, which passes
each transition of a slice's life; docs/testing.md lists the points.
"""

import time

import pytest

from node_agent.slices.states import RecordState
from simulator.gpu.faults import Call
from tests.e2e.real_node.agent_stack import GPUS, AgentStack, Document, is_over, is_running, is_same_container, pod

pytestmark = pytest.mark.e2e


class AbandonedError(OSError):
    """The caller is dead: the end of the call reaches nobody, and it does not go on."""


@pytest.fixture
def bystander(stack: AgentStack) -> Document:
    """A pod that runs and must not notice, beside an idle slice of 3g.20gb, and nothing else."""
    stack.empty()
    return run_bystander(stack)


@pytest.fixture
def full(stack: AgentStack) -> Document:
    """The same where all other GPUs are full: what does not fit beside them takes the idle slice's room."""
    stack.empty()
    stack.run(*(pod(stack, f"filler-{n}", ["7g.40gb"]) for n in range(GPUS - 1)))
    return run_bystander(stack)


def run_bystander(stack: AgentStack) -> Document:
    """Start the bystander, and leave the idle slice beside it."""
    made, _ = stack.run(pod(stack, "bystander", ["1g.5gb"]), pod(stack, "before", ["3g.20gb"]))
    stack.delete("before")
    stack.eventually(lambda: "before" not in stack.owners(), "its slice is idle")
    profiles = sorted(placement.profile for _, placement in stack.hardware.slices().values())
    assert profiles[:2] == ["1g.5gb", "3g.20gb"]
    assert set(profiles[2:]) <= {"7g.40gb"}
    return made


def makes_good(stack: AgentStack, bystander: Document) -> None:
    """The next agent brings everything to rest: the pod runs or was refused, and the bystander has what it had."""
    uuid = stack.visible("bystander")
    stack.agent.start()
    stack.eventually(stack.serves, "the devices are back")
    stack.eventually(
        lambda: all(is_running(pod) or is_over(pod) for pod in stack.pods()), "every pod runs, or was refused"
    )
    for started in stack.pods():
        assert is_running(started) or started["status"]["reason"] == "UnexpectedAdmissionError", started["status"]
    assert is_same_container(bystander, stack.get("pod", "bystander"))
    assert stack.visible("bystander") == uuid
    stack.eventually(
        lambda: (
            {slice_.state for slice_ in stack.journal().records.values()} <= {RecordState.IDLE, RecordState.ALLOCATED}
        ),
        "no intent is left",
    )
    stack.run(pod(stack, "after", ["1g.5gb"]))


def test_it_dies_before_it_answers_the_kubelet(stack: AgentStack, bystander: Document) -> None:
    """Killed between the journal's entry and its answer to the kubelet, the agent leaves what the next one settles."""
    stack.agent.stop()
    stack.agent.start(RecordState.ALLOCATED.value, "after")
    stack.eventually(lambda: stack.agent.registered, "the kubelet knows the agent")
    stack.create(pod(stack, "act", ["2g.10gb"]))
    stack.eventually(lambda: stack.agent.killed, "the agent kills itself")
    makes_good(stack, bystander)


def test_it_dies_while_it_restores(stack: AgentStack, bystander: Document) -> None:
    """Killed while it cuts again what a container has, it is followed by one that does: at the old place."""
    gpu, placement = stack.hardware.slices()[stack.visible("bystander")]
    stack.power_cut()
    stack.agent.start(RecordState.RESTORING.value, "before")
    stack.eventually(lambda: stack.agent.killed, "the agent kills itself")
    stack.agent.start()
    stack.eventually(lambda: (gpu, placement) in stack.hardware.slices().values(), "the slice is cut again")
    stack.eventually(lambda: stack.owners() == ["bystander"], "it is the bystander's")
    stack.eventually(stack.serves, "the devices are back")
    stack.delete("bystander")  # its mark went with the power


def test_it_dies_in_the_middle_of_a_driver_call(stack: AgentStack, full: Document) -> None:
    """Killed inside the library, the agent leaves a slice half destroyed, and the next one sees to it."""

    def die(_seconds: float) -> None:
        stack.during_call = lambda _: None
        stack.agent.kill()
        raise AbandonedError

    stack.during_call = die
    stack.hardware.driver.faults.latency_s[Call.DESTROY_GPU_INSTANCE] = 1.0  # its compute instance is gone
    stack.create(pod(stack, "act", ["4g.20gb"]))
    stack.eventually(lambda: stack.agent.killed, "the agent is killed")
    stack.hardware.driver.faults.clear()
    stack.during_call = time.sleep
    makes_good(stack, full)
