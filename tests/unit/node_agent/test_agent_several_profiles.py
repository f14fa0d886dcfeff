"""A container that asks for slices of several profiles sees all of them, and never somebody else's."""

import json
from dataclasses import replace

import pytest

from allocator.mig.profile import GpuPlacement
from allocator.request import Request, SliceRequest
from kubeclient import objects
from node_agent.cluster import pods
from node_agent.cluster.pods import PodView
from node_agent.reconciler import Reconciler
from node_agent.slices import device_ids
from tests.unit.node_agent.world import World

SMALL, LARGE = "nvidia.com/mig-1g.5gb", "nvidia.com/mig-3g.20gb"


def seen(world: World, *places: GpuPlacement) -> set[str] | None:
    """The MIG UUIDs behind the CDI name of ids given in one go; None without a specification."""
    name = device_ids.set_name([device_ids.device_id(one) for one in places])
    path = world.specs.directory / f"migsched-slice-{name}.json"
    if not path.exists():
        return None
    (device,) = json.loads(path.read_text())["devices"]
    (variable,) = device["containerEdits"]["env"]
    return set(variable.removeprefix("NVIDIA_VISIBLE_DEVICES=").split(","))


def uuids(world: World, *places: GpuPlacement) -> set[str]:
    """The MIG UUIDs of slices that stand."""
    return {str(there.mig_uuid) for there in map(world.instance, places) if there is not None}


def places(world: World) -> tuple[GpuPlacement, GpuPlacement]:
    """A small and a large place on one GPU."""
    return world.place("1g.5gb", 0), world.place("3g.20gb", 4)


def mixed(world: World, name: str = "mixed") -> PodView:
    """A pod promised both, in one container."""
    return world.bind(name, "1g.5gb", "3g.20gb", at=places(world))


def test_every_name_of_the_container_shows_all_of_its_slices(world: World) -> None:
    """Both CDI names mean both slices, so that it does not matter which of the two the runtime applies last."""
    small, large = places(world)
    pod = mixed(world)
    world.step()
    world.admit(pod)
    world.step()
    assert seen(world, small) == seen(world, large) == uuids(world, small, large)
    assert len(uuids(world, small, large)) == 2


def test_slices_of_one_profile_and_one_of_another_are_seen_together(world: World) -> None:
    """The name of a set of ids shows what came under the other name, too."""
    ones, large = (world.place("1g.5gb", 0), world.place("1g.5gb", 1)), world.place("3g.20gb", 4)
    pod = world.bind("a", "1g.5gb", "1g.5gb", "3g.20gb", at=(*ones, large))
    world.step()
    world.admit(pod)
    world.step()
    assert seen(world, *ones) == seen(world, large) == uuids(world, *ones, large)


def test_a_name_means_nothing_while_its_container_is_not_known(world: World) -> None:
    """Until PodResources has named the container and all of its slices, the runtime finds no specification."""
    small, large = places(world)
    pod = mixed(world)
    world.step()
    world.allocation.allocate(SMALL, [device_ids.device_id(small)])
    assert seen(world, small) is None
    world.pods[pod.uid].devices["main", SMALL] = (device_ids.device_id(small),)
    assert world.step().urgent
    assert seen(world, small) is None
    world.allocation.allocate(LARGE, [device_ids.device_id(large)])
    world.pods[pod.uid].devices["main", LARGE] = (device_ids.device_id(large),)
    assert not world.step().urgent
    assert seen(world, small) == uuids(world, small, large)


def test_looking_often_ends_when_no_container_can_wait_any_more(world: World) -> None:
    """A name that stays without a container does not keep the agent busy."""
    mixed(world)
    world.step()
    world.allocation.allocate(SMALL, [device_ids.device_id(places(world)[0])])
    assert world.step().urgent
    assert not world.step(10.0).urgent


def test_a_container_of_one_profile_waits_for_nothing(world: World) -> None:
    """Where no pod that still waits asks for several profiles, Allocate itself writes the specification."""
    pod = world.bind("a", "1g.5gb", at=(world.place("1g.5gb", 2),))
    world.step()
    world.admit(pod)
    assert seen(world, *world.places_of(pod)) == uuids(world, *world.places_of(pod))


def test_a_running_container_of_several_profiles_holds_nobody_up(world: World) -> None:
    """Once it has all it asked for, others get their specification with Allocate again."""
    world.step()
    world.admit(mixed(world))
    world.step()
    other = world.bind("other", "1g.5gb")
    world.hear()
    world.admit(other)
    assert seen(world, *world.places_of(other)) == uuids(world, *world.places_of(other))


def test_of_two_pods_that_start_together_each_sees_its_own(world: World) -> None:
    """A pod of one profile that gets a place promised to another does not show up there, nor that one here."""
    pod = mixed(world)
    single = world.bind("single", "1g.5gb", at=(world.place("1g.5gb", 1),))
    world.step()
    world.admit(single)  # the oldest promise of the profile is the other pod's
    assert world.places_of(single) == [places(world)[0]]
    world.admit(pod)
    world.step()
    assert seen(world, *world.places_of(single)) == uuids(world, *world.places_of(single))
    for one in world.places_of(pod):
        assert seen(world, one) == uuids(world, *world.places_of(pod))


def test_what_was_listed_before_a_slice_changed_hands_is_not_believed(world: World) -> None:
    """A listing asked before Allocate does not show the next container a slice of the one before."""
    small, _ = places(world)
    before = mixed(world, "before")
    world.step()
    world.admit(before)
    world.step()
    stale = world.listing()
    world.end(before)
    after = world.bind("after", "1g.5gb", at=(small,))
    world.now += 1.0
    world.state.on_pods({uid: pod.view for uid, pod in world.pods.items()})
    world.allocation.allocate(SMALL, [device_ids.device_id(small)])
    world.state.on_listing(stale)
    world.agent.step()
    assert seen(world, small) == uuids(world, small)
    world.pods[after.uid].devices["main", SMALL] = (device_ids.device_id(small),)
    world.step()
    assert seen(world, small) == uuids(world, small)


def test_a_name_handed_on_loses_its_old_meaning_at_once(world: World) -> None:
    """Where the next container may ask for several profiles, Allocate removes what the name meant to the last one."""
    small, _ = places(world)
    first = world.bind("first", "1g.5gb", at=(small,))
    world.step()
    world.admit(first)
    world.step()
    assert seen(world, small)
    world.end(first)
    mixed(world)
    world.hear()
    world.allocation.allocate(SMALL, [device_ids.device_id(small)])
    assert seen(world, small) is None


@pytest.mark.parametrize("reboot", [False, True])
def test_a_new_agent_shows_them_together_before_the_kubelet_answers(world: World, reboot: bool) -> None:
    """Restarted, also after a reboot that changed the UUIDs, it knows from the journal what belongs together."""
    small, large = places(world)
    pod = mixed(world)
    world.step()
    world.admit(pod)
    world.step()
    for name in world.specs.names():
        world.specs.drop(name)
    world.kubelet_up = world.api_up = False
    if reboot:
        world.reboot()
    else:
        world.restart()
    world.step()
    assert seen(world, small) == seen(world, large) == uuids(world, small, large)
    assert len(uuids(world, small, large)) == 2


def test_containers_of_one_pod_see_their_own(world: World) -> None:
    """Two containers, each of one profile, are not shown each other's slices."""
    small, large = places(world)
    pod = world.bind("a", "1g.5gb", "3g.20gb", at=(small, large))
    apart = replace(pod, asks=Request((SliceRequest("one", "1g.5gb"), SliceRequest("two", "3g.20gb"))), promises=())
    world.pods[pod.uid].view = apart
    world.hear()
    for container, resource, place in (("one", SMALL, small), ("two", LARGE, large)):
        world.allocation.allocate(resource, [device_ids.device_id(place)])
        world.pods[pod.uid].devices[container, resource] = (device_ids.device_id(place),)
    world.step()
    assert seen(world, small) == uuids(world, small)
    assert seen(world, large) == uuids(world, large)


def test_an_init_container_is_not_waited_for(world: World) -> None:
    """PodResources never lists ordinary init containers: each of their names shows what it was given for."""
    limits = {SMALL: "1", LARGE: "1"}
    spec = objects.PodSpec(
        containers=(objects.Container("main", objects.Resources({SMALL: "1"})),),
        init_containers=(objects.Container("prepare", objects.Resources(dict(limits))),),
    )
    pod = pods.view(objects.Pod(objects.Meta("a", "default", "uid-a"), spec))
    assert pod is not None
    world.state.on_pods({pod.uid: pod})
    small, large = places(world)
    for resource, place in ((SMALL, small), (LARGE, large)):
        world.allocation.allocate(resource, [device_ids.device_id(place)])
        assert seen(world, place) == uuids(world, place)


def test_without_cdi_the_pod_is_told_what_it_will_not_see(world: World) -> None:
    """With environment variables the kubelet keeps one of several values: an Event says so."""
    mixed(world)
    world.hear()
    told = Reconciler(world.state, world.executor, None, world.metrics).step().events
    assert [(one.pod, one.reason) for one in told if one.reason == "SliceHidden"] == [("mixed", "SliceHidden")]


def test_names_without_a_specification_are_told(world: World) -> None:
    """Specifications that are asked to stay as they are, but are not there, are named."""
    world.specs.put("there", world.allocation.allocate(SMALL, [device_ids.device_id(places(world)[0])]))
    assert world.specs.sync({"there": None, "missing": None}) == {"missing"}
