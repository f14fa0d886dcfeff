"""Preemption for gangs: victims for all of a gang's pods at once, within budgets, or nobody (docs/queue.md)."""

import pytest

from allocator import errors
from simulator.cluster import api
from simulator.cluster.memory_cluster.faults import Fault
from tests.property.queued_cluster import KEEP_APART, NODES, QueuedCluster
from tests.unit.scheduler.queueing.test_preemption import cluster, outcome, running, told, turn, where

__all__ = ["cluster"]


def gang(cluster: QueuedCluster, *profiles: str, priority: int = 9) -> list[str]:
    """The pods of a gang, all of them."""
    size = len(profiles)
    return [cluster.create(profile, gang="g", size=size, owned=True, priority=priority) for profile in profiles]


def evicted(cluster: QueuedCluster) -> list[str]:
    """Who was, in order."""
    return [pod["metadata"]["name"] for pod, _ in cluster.evicted]


def test_the_least_important_go_for_all_pods_of_a_gang_together(cluster: QueuedCluster) -> None:
    """On a full cluster two go for a gang of two, and it gets their places; the third stays."""
    low = running(cluster, "7g.40gb", "7g.40gb", priority=1)
    (other,) = running(cluster, "7g.40gb", priority=2)
    members = gang(cluster, "7g.40gb", "7g.40gb")
    turn(cluster, 3)
    assert sorted(evicted(cluster)) == low
    assert all(where(cluster, name) in NODES for name in (*members, other))
    assert outcome(cluster, "evicted") == 1


def test_nobody_goes_for_a_gang_that_would_not_fit_all_the_same(cluster: QueuedCluster) -> None:
    """Two could get places by evictions, the third could not: everybody stays, and the gang is told."""
    stay = running(cluster, "7g.40gb", priority=9) + running(cluster, "7g.40gb", "7g.40gb")
    members = gang(cluster, "7g.40gb", "7g.40gb", "7g.40gb")
    turn(cluster, 3)
    assert evicted(cluster) == []
    assert all(where(cluster, name) in NODES for name in stay)
    assert "not proven" in told(cluster, members[0])["reason"]
    assert not cluster.state.nominated.by_node


def test_budgets_count_over_all_nodes_of_a_gang(cluster: QueuedCluster) -> None:
    """Each victim alone may go, both together may not: nobody goes until the budget allows two."""
    running(cluster, "7g.40gb", "7g.40gb", "7g.40gb", app="web")
    cluster.budget("web", 1)
    members = gang(cluster, "7g.40gb", "7g.40gb")
    turn(cluster, 3)
    assert evicted(cluster) == []
    assert told(cluster, members[0])["code"] == "protected"
    cluster.budget("web", 2)
    cluster.restart()  # which reads the budgets again
    turn(cluster, 3)
    assert len(evicted(cluster)) == 2
    assert all(where(cluster, name) in NODES for name in members)


def test_free_room_is_used_first(cluster: QueuedCluster) -> None:
    """Of a gang of three, two need no victims; one goes for the third."""
    running(cluster, "7g.40gb", priority=1)
    members = gang(cluster, "7g.40gb", "7g.40gb", "7g.40gb")
    turn(cluster, 3)
    assert len(evicted(cluster)) == 1
    assert all(where(cluster, name) in NODES for name in members)


def test_nobody_goes_who_could_stay(cluster: QueuedCluster) -> None:
    """Two small pods of a gang share what one victim leaves."""
    running(cluster, "7g.40gb", priority=1)
    running(cluster, "7g.40gb", "7g.40gb", priority=2)
    members = gang(cluster, "3g.20gb", "4g.20gb")
    turn(cluster, 3)
    assert evicted(cluster) == ["p001"]
    assert len({where(cluster, name) for name in members}) == 1


@pytest.mark.parametrize(("mode", "goes"), [("owned", 0), ("any", 2), ("off", 0)])
def test_pods_without_a_controller_go_only_if_any_may(mode: str, goes: int) -> None:
    """As for a single pod."""
    cluster = QueuedCluster(preemption=mode)
    try:
        running(cluster, "7g.40gb", "7g.40gb", "7g.40gb", owned=False)
        gang(cluster, "7g.40gb", "7g.40gb")
        turn(cluster, 2)
        assert len(evicted(cluster)) == goes
    finally:
        cluster.close()


def test_the_room_is_held_for_the_whole_gang(cluster: QueuedCluster) -> None:
    """While one victim takes its time, nobody behind the gang gets the room that the other has left, and is
    told for whom it is kept.
    """
    quick, slow = (running(cluster, "7g.40gb", priority=1, terminationGracePeriodSeconds=grace)[0] for grace in (0, 30))
    running(cluster, "7g.40gb", priority=9)
    members = gang(cluster, "7g.40gb", "7g.40gb")
    turn(cluster, 2)
    assert sorted(evicted(cluster)) == [quick, slow]
    thief = cluster.create("7g.40gb", priority=8)
    turn(cluster, 2)
    assert where(cluster, thief) == ""
    assert [where(cluster, name) for name in members] == ["", ""]
    assert told(cluster, thief)["counts"] == {"full": 2, "room_kept": 1}
    assert told(cluster, thief)["notes"] in [[f"room is kept for pod default/{member}"] for member in members]
    for name in members:
        assert told(cluster, name)["code"] == "making_room"
        assert f"default/{slow} have to end first" in told(cluster, name)["reason"]
    cluster.end_terminating()
    turn(cluster, 2)
    assert all(where(cluster, name) in NODES for name in members)
    assert not cluster.state.nominated.by_node


def test_a_restart_holds_the_room_of_those_on_their_way_out(cluster: QueuedCluster) -> None:
    """The next process waits for them, for the same gang, and evicts nobody besides."""
    running(cluster, "7g.40gb", "7g.40gb", priority=1, terminationGracePeriodSeconds=30)
    running(cluster, "7g.40gb", priority=9)
    members = gang(cluster, "7g.40gb", "7g.40gb")
    turn(cluster, 2)
    cluster.evicted.clear()
    cluster.restart()
    thief = cluster.create("7g.40gb", priority=8)
    turn(cluster, 2)
    cluster.end_terminating()
    turn(cluster, 2)
    assert evicted(cluster) == []
    assert all(where(cluster, name) in NODES for name in members)
    assert where(cluster, thief) == ""


def test_a_refused_eviction_ends_all_of_it(cluster: QueuedCluster) -> None:
    """One of two stays, so the other does not go, and no room is held."""
    running(cluster, "7g.40gb", "7g.40gb", "7g.40gb")
    cluster.cluster.faults.add(Fault("evict", error=errors.RefusedError("HTTP 403")))
    members = gang(cluster, "7g.40gb", "7g.40gb")
    turn(cluster, 2)
    assert evicted(cluster) == []
    assert not cluster.state.nominated.by_node
    assert told(cluster, members[1])["code"] == "eviction_refused"


def test_the_room_ends_with_a_member(cluster: QueuedCluster) -> None:
    """A gang that is not complete any more waits for its pods, not for room."""
    running(cluster, "7g.40gb", "7g.40gb", "7g.40gb", terminationGracePeriodSeconds=30)
    members = gang(cluster, "7g.40gb", "7g.40gb")
    turn(cluster, 2)
    assert cluster.state.nominated.by_node
    cluster.delete(members[0])
    turn(cluster, 2)
    assert not cluster.state.nominated.by_node


def test_pods_of_a_gang_that_keep_apart_get_nodes_of_their_own(cluster: QueuedCluster) -> None:
    """Small pods that would share a GPU are planned on as many nodes as there are pods."""
    running(cluster, "7g.40gb", "7g.40gb", "7g.40gb")
    wishes = {"affinity": KEEP_APART}
    members = [
        cluster.create("1g.5gb", gang="g", size=2, owned=True, priority=9, labels={"app": "shy"}, wishes=wishes)
        for _ in range(2)
    ]
    turn(cluster, 3)
    assert len(evicted(cluster)) == 2
    assert len({where(cluster, name) for name in members} - {""}) == 2


def test_processors_of_a_gang_count_together(cluster: QueuedCluster) -> None:
    """Two pods that ask for 40 of a node's 64 CPUs do not share a node, whatever slices are free there then."""
    running(cluster, "7g.40gb", priority=1)
    running(cluster, "7g.40gb", "7g.40gb", priority=2)
    for name in NODES:
        assert cluster.server.get(api.NODE, name).document["status"]["allocatable"]["cpu"] == "64"
    members = [cluster.create("1g.5gb", gang="g", size=2, owned=True, priority=9, cpu="40") for _ in range(2)]
    turn(cluster, 3)
    assert len(evicted(cluster)) == 2
    assert len({where(cluster, name) for name in members} - {""}) == 2
