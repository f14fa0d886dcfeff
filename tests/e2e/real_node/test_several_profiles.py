"""A container that asks for slices of two profiles, on a real kubelet and containerd: it sees both, whatever dies."""

import pytest

from tests.e2e.real_node.agent_stack import AgentStack, is_restarted, is_running, pod

pytestmark = pytest.mark.e2e

BOTH = ["1g.5gb", "3g.20gb"]
PODS = 8


def profiles(stack: AgentStack, name: str) -> list[str]:
    """The profiles of the slices that a pod's process sees; all of them stand."""
    slices = stack.hardware.slices()
    return sorted(slices[one][1].profile for one in stack.visible(name).split(","))


def test_containers_see_slices_of_both_profiles(stack: AgentStack) -> None:
    """Every one of many pods that start at once, beside pods of one profile, sees its own slices and all of them."""
    names = [f"both-{n}" for n in range(PODS)]
    others = [f"one-{n}" for n in range(PODS)]
    stack.create(*(pod(stack, name, BOTH) for name in names), *(pod(stack, name, ["1g.5gb"]) for name in others))
    stack.eventually(
        lambda: all(is_running(one) for one in stack.pods()) and len(stack.pods()) == 2 * PODS, "all pods run", 120
    )
    assert [profiles(stack, name) for name in names] == [BOTH] * PODS
    assert [profiles(stack, name) for name in others] == [["1g.5gb"]] * PODS
    seen = [one for name in (*names, *others) for one in stack.visible(name).split(",")]
    assert len(seen) == len(set(seen)) == 3 * PODS


def test_a_container_started_again_still_sees_both(stack: AgentStack) -> None:
    """A container that ends is started again without an Allocate, with the agent dead, and sees the same slices."""
    (before,) = stack.run(pod(stack, "again", BOTH, restart="Always"))
    seen = stack.visible("again")
    stack.agent.kill()
    stack.node.exec_in_pod("again", "sh", "-c", "kill -TERM 1")
    stack.eventually(lambda: is_restarted(before, stack.get("pod", "again")), "it runs again")
    assert stack.visible("again") == seen
    assert profiles(stack, "again") == BOTH
    stack.agent.start()
    stack.eventually(lambda: stack.agent_ready() and stack.owners() == ["again", "again"], "both are its own")
