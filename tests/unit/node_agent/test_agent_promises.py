"""Which promises are still to be kept: none of a pod that the kubelet has started, and each place once."""

from dataclasses import replace
from pathlib import Path

import pytest

from allocator.claims.placement_annotation import Promise
from allocator.mig.profile import GpuPlacement
from node_agent.cluster.pods import PodView
from node_agent.slices import device_ids
from node_agent.slices.states import RecordState
from tests.unit.node_agent.agent_on_node import AgentOnNode


@pytest.fixture
def node(tmp_path: Path) -> AgentOnNode:
    """One A100."""
    return AgentOnNode(tmp_path)


def init_only(node: AgentOnNode, name: str, at: GpuPlacement) -> PodView:
    """A pod whose slice only an ordinary init container has, so that PodResources never lists it."""
    return node.bind(name, at.placement.profile, at=(at,), listed=False)


def outstanding(node: AgentOnNode) -> list[tuple[str, str]]:
    """Pods and the places that they are still to get."""
    node.hear()
    node.state.ingest()
    return [(promise.pod.name, str(promise.place.placement)) for promise in node.state.observe().promised]


def test_nothing_is_outstanding_for_a_started_pod(node: AgentOnNode) -> None:
    """A changed placement of a pod that has started makes the agent cut nothing, and steers no other pod."""
    pod = init_only(node, "init", node.place("1g.5gb", 0))
    node.step()
    node.admit(pod)
    node.started(pod)
    known = node.pods[pod.uid]
    known.view = replace(known.view, promises=(Promise("main", node.gpus[0], "1g.5gb", 5),))
    node.step()
    assert outstanding(node) == []
    assert node.instances() == ["1g.5gb@0"]
    victim = node.bind("victim", "3g.20gb", at=(node.place("3g.20gb", 4),))
    assert node.admit(victim)
    assert node.places_of(victim) == [node.place("3g.20gb", 4)]


def test_a_pod_inherits_the_place_that_an_unlisted_slice_left(node: AgentOnNode) -> None:
    """Where an init container got what another pod was promised, that one gets the place that is left."""
    late = node.bind("late", "1g.5gb", at=(node.place("1g.5gb", 0),))
    init = init_only(node, "init", node.place("1g.5gb", 3))
    node.step()
    node.admit(init)
    assert node.places_of(init) == [node.place("1g.5gb", 0)]
    node.started(init)
    assert outstanding(node) == [("late", "1g.5gb@3")]
    node.admit(late)
    assert node.places_of(late) == [node.place("1g.5gb", 3)]
    node.started(late)
    node.step(10.0)
    assert outstanding(node) == []
    assert node.instances() == ["1g.5gb@0", "1g.5gb@3"]


def test_a_place_that_was_left_goes_to_nobody_whose_promise_it_contradicts(node: AgentOnNode) -> None:
    """What a started pod left is not handed on where a larger slice was promised there meanwhile."""
    node.bind("late", "1g.5gb", at=(node.place("1g.5gb", 0),))
    init = init_only(node, "init", node.place("1g.5gb", 3))
    node.step()
    node.admit(init)
    node.started(init)
    node.bind("large", "2g.10gb", at=(node.place("2g.10gb", 2),))
    assert outstanding(node) == [("large", "2g.10gb@2")]


def test_a_promise_is_kept_although_an_ended_pods_slice_is_in_its_way(node: AgentOnNode) -> None:
    """A pod whose own place is not free yet gets none within another pod's, which is not free yet either."""
    gone = node.bind("gone", "1g.5gb", "3g.20gb", at=(node.place("1g.5gb", 0), node.place("3g.20gb", 4)))
    node.step()
    assert node.admit(gone)
    node.step()
    node.end(gone)
    node.bind("small", "1g.5gb", at=(node.place("1g.5gb", 6),))
    node.bind("large", "3g.20gb", at=(node.place("3g.20gb", 0),))
    node.hear()
    ids = node.allocation.offers()["nvidia.com/mig-1g.5gb"]
    chosen = node.allocation.prefer("nvidia.com/mig-1g.5gb", sorted(ids), [], 1)
    places = [node.state.observe().place(id_) for id_ in chosen]
    assert places
    assert not any(place.overlaps(node.place("3g.20gb", 0)) for place in places if place)


def test_a_promise_waits_for_an_ended_pods_slice_although_another_place_is_free(node: AgentOnNode) -> None:
    """A pod is not moved from where it was promised to a place that the scheduler may have promised meanwhile."""
    gone = node.bind("gone", "1g.5gb", at=(node.place("1g.5gb", 6),))
    node.step()
    assert node.admit(gone)
    node.step()
    node.end(gone)
    node.bind("large", "3g.20gb", at=(node.place("3g.20gb", 4),))
    node.hear()
    ids = node.allocation.offers()["nvidia.com/mig-3g.20gb"]
    chosen = node.allocation.prefer("nvidia.com/mig-3g.20gb", sorted(ids), [], 1)
    assert [node.state.observe().place(id_) for id_ in chosen] == [node.place("3g.20gb", 4)]


def given(node: AgentOnNode, pod: PodView, place: GpuPlacement) -> None:
    """The kubelet remembers which device it gave to a pod, and PodResources tells of it."""
    node.pods[pod.uid].devices["main", device_ids.resource(place)] = (device_ids.device_id(place),)


def test_a_slice_that_was_cut_for_nobody_costs_no_room(node: AgentOnNode) -> None:
    """A step between an Allocate of another place and its being named cuts the promised place too: idle, and the next
    pod's room.
    """
    promised, other = node.place("1g.5gb", 0), node.place("1g.5gb", 6)
    pod = node.bind("pod", "1g.5gb", at=(promised,))
    node.hear()
    node.allocation.allocate(device_ids.resource(other), [device_ids.device_id(other)])
    node.step()
    given(node, pod, other)
    node.step()
    assert {place: record.state for place, record in node.journal.records.items()} == {
        promised: RecordState.IDLE,
        other: RecordState.ALLOCATED,
    }
    node.bind("large", "3g.20gb", at=(node.place("3g.20gb", 0),))
    node.step()
    assert node.instances() == ["1g.5gb@6", "3g.20gb@0"]


def test_a_step_beside_an_allocate_may_cut_for_nobody_on_another_gpu(tmp_path: Path) -> None:
    """While an Allocate is at work on one GPU, a step cuts the promised place on another one; it stays idle."""
    node = AgentOnNode(tmp_path, "a100-40gb:2")
    promised, other = node.place("1g.5gb", 0), node.place("1g.5gb", 0, gpu=1)
    pod = node.bind("pod", "1g.5gb", at=(promised,))
    node.hear()

    def step_meanwhile(point: str) -> None:
        if point == "before create":
            node.devices.at = lambda _: None
            node.agent.step()

    node.devices.at = step_meanwhile
    node.allocation.allocate(device_ids.resource(other), [device_ids.device_id(other)])
    assert node.journal.records[promised].state is RecordState.IDLE
    given(node, pod, other)
    node.step()
    assert node.journal.records[promised].state is RecordState.IDLE
    assert [str(promise.place) for promise in node.state.observe().promised] == []
