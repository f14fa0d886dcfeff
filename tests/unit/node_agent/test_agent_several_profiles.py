"""A container that asks for slices of several profiles sees all of them, and never somebody else's."""

import json
from dataclasses import replace

import pytest

from allocator.mig.profile import GpuPlacement
from allocator.request import Request, SliceRequest
from kubeclient import objects
from node_agent.cluster import pods
from node_agent.cluster.node_pod import NodePod, NodePodSpec
from node_agent.cluster.pods import PodView
from node_agent.reconciler import Reconciler
from node_agent.slices import device_ids
from tests.unit.node_agent.agent_on_node import AgentOnNode

SMALL, LARGE = "nvidia.com/mig-1g.5gb", "nvidia.com/mig-3g.20gb"


def seen(node: AgentOnNode, *places: GpuPlacement) -> set[str] | None:
    """The MIG UUIDs behind the CDI name of ids given in one go; None without a specification."""
    name = device_ids.set_name([device_ids.device_id(place) for place in places])
    path = node.specs.directory / f"migsched-slice-{name}.json"
    if not path.exists():
        return None
    (device,) = json.loads(path.read_text())["devices"]
    variables = dict(variable.split("=", 1) for variable in device["containerEdits"]["env"])
    assert variables["NVIDIA_VISIBLE_DEVICES"] == variables["MIGSCHED_VISIBLE_DEVICES"]
    return set(variables["MIGSCHED_VISIBLE_DEVICES"].split(","))


def uuids(node: AgentOnNode, *places: GpuPlacement) -> set[str]:
    """The MIG UUIDs of slices that stand."""
    return {str(there.mig_uuid) for there in map(node.instance, places) if there is not None}


def places(node: AgentOnNode) -> tuple[GpuPlacement, GpuPlacement]:
    """A small and a large place on one GPU."""
    return node.place("1g.5gb", 0), node.place("3g.20gb", 4)


def mixed(node: AgentOnNode, name: str = "mixed") -> PodView:
    """A pod promised both, in one container."""
    return node.bind(name, "1g.5gb", "3g.20gb", at=places(node))


def test_every_name_of_the_container_shows_all_of_its_slices(node: AgentOnNode) -> None:
    """Both CDI names mean both slices, so that it does not matter which of the two the runtime applies last."""
    small, large = places(node)
    pod = mixed(node)
    node.step()
    node.admit(pod)
    node.step()
    assert seen(node, small) == seen(node, large) == uuids(node, small, large)
    assert len(uuids(node, small, large)) == 2


def test_slices_of_one_profile_and_one_of_another_are_seen_together(node: AgentOnNode) -> None:
    """The name of a set of ids shows what came under the other name, too."""
    ones, large = (node.place("1g.5gb", 0), node.place("1g.5gb", 1)), node.place("3g.20gb", 4)
    pod = node.bind("a", "1g.5gb", "1g.5gb", "3g.20gb", at=(*ones, large))
    node.step()
    node.admit(pod)
    node.step()
    assert seen(node, *ones) == seen(node, large) == uuids(node, *ones, large)


def test_a_name_means_nothing_while_its_container_is_not_known(node: AgentOnNode) -> None:
    """Until PodResources has named the container and all of its slices, the runtime finds no specification."""
    small, large = places(node)
    pod = mixed(node)
    node.step()
    node.allocation.allocate(SMALL, [device_ids.device_id(small)])
    assert seen(node, small) is None
    node.pods[pod.uid].devices["main", SMALL] = (device_ids.device_id(small),)
    assert node.step().urgent
    assert seen(node, small) is None
    node.allocation.allocate(LARGE, [device_ids.device_id(large)])
    node.pods[pod.uid].devices["main", LARGE] = (device_ids.device_id(large),)
    assert not node.step().urgent
    assert seen(node, small) == uuids(node, small, large)


def test_looking_often_ends_when_no_container_can_wait_any_more(node: AgentOnNode) -> None:
    """A name that stays without a container does not keep the agent busy."""
    mixed(node)
    node.step()
    node.allocation.allocate(SMALL, [device_ids.device_id(places(node)[0])])
    assert node.step().urgent
    assert not node.step(10.0).urgent


def test_a_container_of_one_profile_waits_for_nothing(node: AgentOnNode) -> None:
    """Where no pod that still waits asks for several profiles, Allocate itself writes the specification."""
    pod = node.bind("a", "1g.5gb", at=(node.place("1g.5gb", 2),))
    node.step()
    node.admit(pod)
    assert seen(node, *node.places_of(pod)) == uuids(node, *node.places_of(pod))


def test_a_running_container_of_several_profiles_holds_nobody_up(node: AgentOnNode) -> None:
    """Once it has all it asked for, others get their specification with Allocate again."""
    node.step()
    node.admit(mixed(node))
    node.step()
    other = node.bind("other", "1g.5gb")
    node.hear()
    node.admit(other)
    assert seen(node, *node.places_of(other)) == uuids(node, *node.places_of(other))


def test_of_two_pods_that_start_together_each_sees_its_own(node: AgentOnNode) -> None:
    """A pod of one profile that gets a place promised to another does not show up there, nor that one here."""
    pod = mixed(node)
    single = node.bind("single", "1g.5gb", at=(node.place("1g.5gb", 1),))
    node.step()
    node.admit(single)  # the oldest promise of the profile is the other pod's
    assert node.places_of(single) == [places(node)[0]]
    node.admit(pod)
    node.step()
    assert seen(node, *node.places_of(single)) == uuids(node, *node.places_of(single))
    for place in node.places_of(pod):
        assert seen(node, place) == uuids(node, *node.places_of(pod))


def test_what_was_listed_before_a_slice_changed_hands_is_not_believed(node: AgentOnNode) -> None:
    """A listing asked before Allocate does not show the next container a slice of the one before."""
    small, _ = places(node)
    before = mixed(node, "before")
    node.step()
    node.admit(before)
    node.step()
    stale = node.listing()
    node.end(before)
    after = node.bind("after", "1g.5gb", at=(small,))
    node.now += 1.0
    node.state.on_pods({uid: pod.view for uid, pod in node.pods.items()})
    node.allocation.allocate(SMALL, [device_ids.device_id(small)])
    node.state.on_listing(stale)
    node.agent.step()
    assert seen(node, small) == uuids(node, small)
    node.pods[after.uid].devices["main", SMALL] = (device_ids.device_id(small),)
    node.step()
    assert seen(node, small) == uuids(node, small)


def test_a_name_handed_on_loses_its_old_meaning_at_once(node: AgentOnNode) -> None:
    """Where the next container may ask for several profiles, Allocate removes what the name meant to the last one."""
    small, _ = places(node)
    first = node.bind("first", "1g.5gb", at=(small,))
    node.step()
    node.admit(first)
    node.step()
    assert seen(node, small)
    node.end(first)
    mixed(node)
    node.hear()
    node.allocation.allocate(SMALL, [device_ids.device_id(small)])
    assert seen(node, small) is None


@pytest.mark.parametrize("reboot", [False, True])
def test_a_new_agent_shows_them_together_before_the_kubelet_answers(node: AgentOnNode, reboot: bool) -> None:
    """Restarted, also after a reboot that changed the UUIDs, it knows from the journal what belongs together."""
    small, large = places(node)
    pod = mixed(node)
    node.step()
    node.admit(pod)
    node.step()
    for name in node.specs.names():
        node.specs.drop(name)
    node.kubelet_up = node.api_up = False
    if reboot:
        node.reboot()
    else:
        node.restart()
    node.step()
    assert seen(node, small) == seen(node, large) == uuids(node, small, large)
    assert len(uuids(node, small, large)) == 2


def test_containers_of_one_pod_see_their_own(node: AgentOnNode) -> None:
    """Two containers, each of one profile, are not shown each other's slices."""
    small, large = places(node)
    pod = node.bind("a", "1g.5gb", "3g.20gb", at=(small, large))
    apart = replace(pod, asks=Request((SliceRequest("one", "1g.5gb"), SliceRequest("two", "3g.20gb"))), promises=())
    node.pods[pod.uid].view = apart
    node.hear()
    for container, resource, place in (("one", SMALL, small), ("two", LARGE, large)):
        node.allocation.allocate(resource, [device_ids.device_id(place)])
        node.pods[pod.uid].devices[container, resource] = (device_ids.device_id(place),)
    node.step()
    assert seen(node, small) == uuids(node, small)
    assert seen(node, large) == uuids(node, large)


def test_an_init_container_is_not_waited_for(node: AgentOnNode) -> None:
    """PodResources never lists ordinary init containers: each of their names shows what it was given for."""
    limits = {SMALL: "1", LARGE: "1"}
    spec = NodePodSpec(
        containers=(objects.Container("main", objects.Resources({SMALL: "1"})),),
        init_containers=(objects.Container("prepare", objects.Resources(dict(limits))),),
    )
    pod = pods.view(NodePod(objects.Meta("a", "default", "uid-a"), spec))
    assert pod is not None
    node.state.on_pods({pod.uid: pod})
    small, large = places(node)
    for resource, place in ((SMALL, small), (LARGE, large)):
        node.allocation.allocate(resource, [device_ids.device_id(place)])
        assert seen(node, place) == uuids(node, place)


def test_without_cdi_the_pod_is_told_what_it_will_not_see(node: AgentOnNode) -> None:
    """With environment variables the kubelet keeps one of several values: an Event says so."""
    mixed(node)
    node.hear()
    told = Reconciler(node.state, node.executor, None, node.metrics).step().events
    assert [(event.pod, event.reason) for event in told if event.reason == "SliceHidden"] == [("mixed", "SliceHidden")]


def test_names_without_a_specification_are_told(node: AgentOnNode) -> None:
    """Specifications that are asked to stay as they are, but are not there, are named."""
    node.specs.put("there", node.allocation.allocate(SMALL, [device_ids.device_id(places(node)[0])]))
    assert node.specs.sync({"there": None, "missing": None}) == {"missing"}
