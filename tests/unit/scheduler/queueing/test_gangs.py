"""Gangs in the queue's cycle, on an API server in memory: whole or not at all, and what is kept for them."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from allocator import errors
from allocator.queueing.life import QueueState
from scheduler.cache import gang_sources
from scheduler.explain import queue_standing
from scheduler.extender.nominated_room import NominatedRoom
from simulator.cluster import api
from simulator.cluster.memory_cluster.faults import Fault
from tests.property.queue_replica import GANG_KEEP_S, GANG_LIMIT_S
from tests.property.queued_cluster import QueuedCluster, pinned_to

GROUP = {gang_sources.POD_GROUP_LABEL: "group"}
LWS = {gang_sources.LWS_GROUP_LABEL: "5d1f"}


@pytest.fixture
def cluster() -> Iterator[QueuedCluster]:
    """Three nodes with one A100 each."""
    with closing(QueuedCluster()) as made:
        yield made
        made.check()


def go(cluster: QueuedCluster, cycles: int = 2) -> None:
    """The service hears of everything and looks at its queue; pods that are released are bound."""
    for _ in range(cycles):
        cluster.deliver()
        cluster.step()
        cluster.deliver()
        cluster.kube_scheduler()
    cluster.deliver()


def bound(cluster: QueuedCluster) -> dict[str, str]:
    """The bound pods and their nodes."""
    names = ((pod["metadata"]["name"], pod["spec"].get("nodeName")) for pod in cluster.pods())
    return {name: node for name, node in names if node}


def why(cluster: QueuedCluster, name: str) -> str:
    """What people are told of a queued pod."""
    (pod,) = (pod for pod in cluster.state.queue if pod.name == name)
    return queue_standing.of(cluster.state, pod)[1]


def pod_group(cluster: QueuedCluster, size: int) -> None:
    meta = {"name": "group", "namespace": "default"}
    cluster.server.create(api.COSCHEDULING_POD_GROUP, {"metadata": meta, "spec": {"minMember": size}})


def test_pods_beyond_the_size_are_placed_one_by_one(cluster: QueuedCluster) -> None:
    """Two of four pods start together; of the others one finds room, and its neighbour waits alone."""
    members = [cluster.create("7g.40gb", gang="g", size=2) for _ in range(4)]
    go(cluster, 4)
    assert len(bound(cluster)) == 3
    (left,) = set(members) - bound(cluster).keys()
    assert "its gang g of 2 is placed as a whole" in why(cluster, left)


def test_a_pod_group_says_how_many_start_together(cluster: QueuedCluster) -> None:
    """Pods that name a PodGroup wait until it is there and as many of them are."""
    first = cluster.create("3g.20gb", labels=GROUP)
    go(cluster)
    assert "no PodGroup of scheduling.x-k8s.io of that name" in why(cluster, first)
    pod_group(cluster, 2)
    cluster.now += 6
    go(cluster)
    assert not bound(cluster)
    assert "its gang group of 2 is placed as a whole, and 1 of its pods are missing" in why(cluster, first)
    second = cluster.create("3g.20gb", labels=GROUP)
    go(cluster)
    assert bound(cluster).keys() == {first, second}


def test_a_pod_group_that_may_not_be_read_is_said_so(cluster: QueuedCluster) -> None:
    """Without the right to read it its pods wait, and people are told."""
    cluster.cluster.faults.add(Fault("get", error=errors.RefusedError("HTTP 403"), done=False))
    name = cluster.create("3g.20gb", labels=GROUP)
    go(cluster)
    assert "cannot be read: HTTP 403" in why(cluster, name)


def test_a_leader_whose_workers_do_not_come_is_not_held_for_ever(cluster: QueuedCluster) -> None:
    """With `startupPolicy: LeaderReady` the workers are made only once the leader runs."""
    leader = cluster.create("3g.20gb", labels=LWS, annotations={gang_sources.LWS_SIZE_ANNOTATION: "3"})
    go(cluster)
    assert not bound(cluster)
    cluster.now += GANG_LIMIT_S + 1
    go(cluster)
    assert bound(cluster).keys() == {leader}


def test_a_pod_of_the_extender_does_not_get_the_place_of_a_member_that_died(cluster: QueuedCluster) -> None:
    """Filter and bind keep it for the successor, as the queue does; once it is given up, anybody may have it."""
    members = [cluster.create("7g.40gb", gang="g", size=3, owned=True) for _ in range(3)]
    go(cluster)
    lost = bound(cluster)[members[0]]
    cluster.delete(members[0])
    stranger = cluster.create("1g.5gb", wishes={"schedulingGates": []}, schedulerName="migsched")
    go(cluster)
    (known,) = (pod for pod in cluster.state.pods.values() if pod.name == stranger)
    room = NominatedRoom(cluster.state)
    assert room.refusing(known, "", [lost]) == {lost}
    assert known.request is not None
    assert not room.has_room(known, known.request, lost)
    cluster.now += GANG_KEEP_S + 1
    go(cluster)
    assert room.refusing(known, "", [lost]) == frozenset()


def test_the_place_of_a_member_that_died_is_for_its_successor(cluster: QueuedCluster) -> None:
    """Another pod, though older, does not get it; the successor does, and after a time anybody."""
    members = [cluster.create("7g.40gb", gang="g", size=3, owned=True) for _ in range(3)]
    go(cluster)
    lost = bound(cluster)[members[0]]
    cluster.delete(members[0])
    stranger = cluster.create("1g.5gb")
    go(cluster)
    assert bound(cluster).keys() == set(members[1:])
    successor = cluster.create("7g.40gb", gang="g", size=3, owned=True)
    go(cluster)
    assert bound(cluster)[successor] == lost
    cluster.delete(successor)
    go(cluster)
    assert stranger not in bound(cluster)
    cluster.now += GANG_KEEP_S + 1
    go(cluster)
    assert bound(cluster)[stranger] == lost


def test_that_others_like_it_find_no_place_does_not_keep_a_successor_waiting(cluster: QueuedCluster) -> None:
    """A pod of the same controller and size, of no gang, was refused since the place is kept: the successor is not."""
    members = [cluster.create("7g.40gb", gang="g", size=3, owned=True) for _ in range(3)]
    go(cluster)
    cluster.delete(members[0])
    cluster.create("7g.40gb", owned=True)
    go(cluster)
    successor = cluster.create("7g.40gb", gang="g", size=3, owned=True)
    go(cluster)
    assert bound(cluster).keys() == {successor, *members[1:]}


def test_a_member_whose_release_is_refused_keeps_its_place(cluster: QueuedCluster) -> None:
    """Another pod does not get it; the member does, as soon as it is another than the one that was refused."""
    cluster.cluster.faults.add(Fault("release", error=errors.RefusedError("HTTP 403"), done=False))
    members = [cluster.create("7g.40gb", gang="g", size=3) for _ in range(3)]
    stranger = cluster.create("1g.5gb")
    go(cluster)
    (left,) = set(members) - bound(cluster).keys()
    assert stranger not in bound(cluster)
    cluster.server.patch(api.POD, left, {"metadata": {"labels": {"a": "b"}}}, "default")
    go(cluster)
    assert bound(cluster).keys() == set(members)


def test_a_gang_that_was_not_released_whole_is_given_up_after_a_time(cluster: QueuedCluster) -> None:
    """The kept place goes back, and what is left of the gang stands behind others for a while."""
    cluster.cluster.faults.add(Fault("release", error=errors.RefusedError("HTTP 403"), done=False))
    members = [cluster.create("7g.40gb", gang="g", size=3) for _ in range(3)]
    go(cluster)
    (left,) = set(members) - bound(cluster).keys()
    stranger = cluster.create("7g.40gb")
    cluster.now += GANG_LIMIT_S + 1
    cluster.server.patch(api.POD, left, {"metadata": {"labels": {"a": "b"}}}, "default")
    go(cluster)
    assert bound(cluster).keys() == {*members, stranger} - {left}
    assert len(set(bound(cluster).values())) == 3


def test_a_gang_without_room_is_told_so_with_what_is_known(cluster: QueuedCluster) -> None:
    """It is proven that it does not fit, and it holds nothing back from others."""
    members = [cluster.create("7g.40gb", gang="g", size=4) for _ in range(4)]
    singles = [cluster.create("7g.40gb") for _ in range(3)]
    go(cluster)
    assert bound(cluster).keys() == set(singles)
    assert "there is no room for all of it at once" in why(cluster, members[0])
    for name in singles:
        cluster.delete(name)
    cluster.delete(members[3])
    go(cluster)
    assert all(pod.state is QueueState.QUEUED for pod in cluster.state.queue)
    assert "1 of its pods are missing" in why(cluster, members[0])


def test_a_gang_one_of_whose_pods_finds_no_place_alone_is_told_so(cluster: QueuedCluster) -> None:
    """What a pod like one of them was told before it is known of the gang as well."""
    for _ in range(4):
        cluster.create("7g.40gb")
    member, _ = (cluster.create("7g.40gb", gang="g", size=2) for _ in range(2))
    go(cluster)
    assert "there is no room for all of it at once" in why(cluster, member)


def test_nobody_is_asked_about_again_because_a_gang_was_tried(cluster: QueuedCluster) -> None:
    """What an attempt gives back is no room that arose: the queue comes to rest, however many gangs were tried."""
    for _ in range(4):
        for gang in ("f", "g", "h"):
            cluster.create("7g.40gb", gang=gang, size=4)
    go(cluster)
    before = cluster.state.inventory.room_generation
    for _ in range(3):
        cluster.step()
    assert cluster.state.inventory.room_generation == before


def test_a_successor_of_a_succeeded_member_has_no_claim_on_its_place(cluster: QueuedCluster) -> None:
    """Who has succeeded is not made anew: the place is free at once."""
    members = [cluster.create("7g.40gb", gang="g", size=3, owned=True) for _ in range(3)]
    go(cluster)
    stranger = cluster.create("7g.40gb")
    cluster.server.patch_status(api.POD, members[0], {"status": {"phase": "Succeeded"}}, "default")
    go(cluster)
    assert stranger in bound(cluster)
    assert all(pinned_to(pod) for pod in cluster.pods() if pod["spec"].get("nodeName"))
