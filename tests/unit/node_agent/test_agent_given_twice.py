"""A kubelet that believes a device to be free that a living pod was given: no slice goes to two pods all the same."""

import pytest

from node_agent.allocation import AllocationError
from tests.unit.node_agent.agent_on_node import AgentOnNode


def test_what_a_living_pod_was_given_is_refused_to_another(node: AgentOnNode) -> None:
    """The only slice of the node stays with the first pod, as long as that pod has not ended."""
    place = node.place("7g.40gb", 0)
    first = node.bind("first", "7g.40gb", at=(place,))
    node.admit(first)
    node.forgotten.add(first.uid)
    second = node.bind("second", "7g.40gb", at=(place,))
    node.hear()
    with pytest.raises(AllocationError, match="given to a pod that has not ended") as refused:
        node.admit(second)
    assert refused.value.retryable  # the pod may be about to end: its end may be on its way to the agent


def test_what_a_pod_unknown_so_far_was_given_is_refused_to_another(node: AgentOnNode) -> None:
    """While the API server has told nothing of the pod that the kubelet names, its slice goes to no other one."""
    place = node.place("7g.40gb", 0)
    first = node.bind("first", "7g.40gb")
    node.api_up = False
    node.admit(first)
    node.step()
    node.forgotten.add(first.uid)
    second = node.bind("second", "7g.40gb")
    with pytest.raises(AllocationError, match="API server has not told"):
        node.admit(second)
    assert node.state.wants_pods
    assert node.places_of(first) == [place]


def test_an_agent_that_has_listed_no_pods_yet_refuses_what_its_journal_gives_to_one(node: AgentOnNode) -> None:
    """After a restart, with the API server away, the journal's owner counts as living."""
    place = node.place("7g.40gb", 0)
    first = node.bind("first", "7g.40gb", at=(place,))
    node.admit(first)
    node.step()
    node.api_up = False
    node.restart()
    node.forgotten.add(first.uid)
    with pytest.raises(AllocationError, match="API server has not told"):
        node.admit(node.bind("second", "7g.40gb", at=(place,)))


def test_what_a_pod_had_that_is_gone_is_handed_on(node: AgentOnNode) -> None:
    """A list of pods that is younger than the slice says that a pod which it lacks is no more."""
    first = node.bind("first", "7g.40gb")
    node.admit(first)
    (ids,) = node.pods[first.uid].devices.values()
    node.state.on_pods({}, node.now + 1.0)
    node.allocation.allocate("nvidia.com/mig-7g.40gb", ids)


def test_a_place_that_was_given_already_is_preferred_last(node: AgentOnNode) -> None:
    """Of two promised places, both free for the kubelet, the one that no pod was given is preferred."""
    given, free = node.place("3g.20gb", 0), node.place("3g.20gb", 4)
    first = node.bind("first", "3g.20gb", at=(given,))
    node.hear()
    node.admit(first)
    node.forgotten.add(first.uid)
    second = node.bind("second", "3g.20gb", at=(free,))
    node.hear()
    node.admit(second)
    assert [node.places_of(pod) for pod in (first, second)] == [[given], [free]]


def test_an_ended_pods_slice_is_handed_on_before_a_step(node: AgentOnNode) -> None:
    """The next pod gets the slice at once, where the agent has heard of the end but not made a step since."""
    place = node.place("7g.40gb", 0)
    first = node.bind("first", "7g.40gb", at=(place,))
    node.admit(first)
    node.step()
    node.end(first)
    second = node.bind("second", "7g.40gb", at=(place,))
    node.hear()
    node.admit(second)
    assert node.places_of(second) == [place]


def test_a_main_container_gets_its_init_containers_slice(node: AgentOnNode) -> None:
    """A pod with an ordinary init container asks for the same slice twice, until it has started; then it may not."""
    place = node.place("7g.40gb", 0)
    pod = node.bind("two-steps", "7g.40gb", at=(place,), init="compile")
    node.hear()
    node.admit(pod, "compile")
    (ids,) = node.pods[pod.uid].devices.values()
    node.allocation.allocate("nvidia.com/mig-7g.40gb", ids)
    node.started(pod)
    node.hear()
    with pytest.raises(AllocationError, match="has not ended"):
        node.allocation.allocate("nvidia.com/mig-7g.40gb", ids)
