"""Preemption by the queue: for whom, who goes, and what becomes of the room meanwhile (docs/queue.md)."""

from collections.abc import Iterator
from typing import Any

import pytest

from allocator import errors
from scheduler.explain import explanation
from simulator.cluster import api
from simulator.cluster.memory_cluster.faults import Fault
from tests.property.queued_cluster import NODES, QueuedCluster


@pytest.fixture
def cluster() -> Iterator[QueuedCluster]:
    """Three nodes with one GPU each."""
    made = QueuedCluster()
    yield made
    made.close()


def turn(cluster: QueuedCluster, times: int = 1) -> None:
    """The watches bring what happened, the queue is looked at, and kube-scheduler binds."""
    for _ in range(times):
        cluster.deliver()
        cluster.step()
        cluster.deliver()
        cluster.kube_scheduler()
    cluster.deliver()


def running(cluster: QueuedCluster, *profiles: str, **changes: Any) -> list[str]:
    """Pods that run, owned unless something else is said."""
    names = [cluster.create(profile, **{"owned": True, **changes}) for profile in profiles]
    turn(cluster)
    assert all(where(cluster, name) for name in names)
    return names


def where(cluster: QueuedCluster, name: str) -> str:
    """The node of a pod; empty if it has none, `gone` if it does not exist or is on its way out."""
    for pod in cluster.pods():
        if pod["metadata"]["name"] == name:
            return "gone" if "deletionTimestamp" in pod["metadata"] else pod["spec"].get("nodeName", "")
    return "gone"


def told(cluster: QueuedCluster, name: str) -> dict[str, Any]:
    """What explain says of a pod."""
    (known,) = (pod for pod in cluster.state.pods.values() if pod.name == name)
    return explanation.explain(cluster.state, known)


def outcome(cluster: QueuedCluster, name: str) -> float:
    """How often attempts to make room ended so."""
    return cluster.metrics.registry.get_sample_value("migsched_queue_preemptions_total", {"outcome": name}) or 0.0


def test_the_least_important_go_for_a_more_important_pod(cluster: QueuedCluster) -> None:
    """On a full cluster the pod of the lowest priority goes, and the preemptor gets its place."""
    low, *others = running(cluster, "7g.40gb", priority=1) + running(cluster, "7g.40gb", "7g.40gb", priority=2)
    urgent = cluster.create("7g.40gb", priority=9)
    turn(cluster, 2)
    assert where(cluster, low) == "gone"
    assert where(cluster, urgent)
    assert all(where(cluster, name) in NODES for name in others)
    assert outcome(cluster, "evicted") == 1


@pytest.mark.parametrize("priority", [3, 2])
def test_nobody_of_equal_or_higher_priority_goes(cluster: QueuedCluster, priority: int) -> None:
    """A pod whose priority is not higher waits."""
    running(cluster, "7g.40gb", "7g.40gb", "7g.40gb", priority=3)
    cluster.create("7g.40gb", priority=priority)
    turn(cluster, 3)
    assert not cluster.evicted


def test_a_pod_that_never_preempts_waits(cluster: QueuedCluster) -> None:
    """`preemptionPolicy: Never` is kept."""
    running(cluster, "7g.40gb", "7g.40gb", "7g.40gb")
    cluster.create("7g.40gb", priority=9, preemptionPolicy="Never")
    turn(cluster, 3)
    assert not cluster.evicted


@pytest.mark.parametrize(("mode", "goes"), [("owned", False), ("any", True), ("off", False)])
def test_a_pod_without_a_controller_goes_only_if_any_may(mode: str, goes: bool) -> None:
    """Nobody makes it anew, so it stays unless `queue_preemption: any`; and explain says so."""
    cluster = QueuedCluster(preemption=mode)
    try:
        running(cluster, "7g.40gb", "7g.40gb", "7g.40gb", owned=False)
        urgent = cluster.create("7g.40gb", priority=9)
        turn(cluster, 2)
        assert bool(cluster.evicted) is goes
        assert (told(cluster, urgent)["code"] == "protected") is (mode == "owned")
    finally:
        cluster.close()


def test_a_budget_is_never_broken(cluster: QueuedCluster) -> None:
    """With a budget that allows nothing the pod waits, and is told why; when it allows one, one goes."""
    running(cluster, "7g.40gb", "7g.40gb", "7g.40gb", app="web")
    cluster.budget("web", 0)
    urgent = cluster.create("7g.40gb", priority=9)
    turn(cluster, 2)
    assert not cluster.evicted
    assert told(cluster, urgent)["code"] == "protected"
    assert "PodDisruptionBudget" in told(cluster, urgent)["reason"]


def test_a_node_without_a_budget_is_found_behind_many_with_one() -> None:
    """However many nodes that cost less are protected, the one where victims may go is preempted on."""
    cluster = QueuedCluster(nodes=14)
    try:
        for _ in range(13):
            running(cluster, "7g.40gb", app="web")
        free = running(cluster, "7g.40gb", priority=5)[0]
        cluster.budget("web", 0)
        cluster.create("7g.40gb", priority=9)
        turn(cluster, 2)
        assert [pod["metadata"]["name"] for pod, _ in cluster.evicted] == [free]
    finally:
        cluster.close()


def test_nobody_goes_for_a_pod_that_has_not_enough_of_something_else(cluster: QueuedCluster) -> None:
    """Processors count together with slices: those of the victims are free then, those of others are not."""
    cpu = {"resources": {"requests": {"cpu": "60"}}}
    running(cluster, "7g.40gb", "7g.40gb", "7g.40gb", cpu="60")
    other = {"containers": [{"name": "main", "image": "none", **cpu}], "nodeName": "n1"}
    cluster.server.create(api.POD, {"metadata": {"name": "other", "namespace": "default"}, "spec": other})
    too_much = cluster.create("7g.40gb", priority=9, cpu="65")
    turn(cluster, 2)
    assert not cluster.evicted
    cluster.delete(too_much)
    urgent = cluster.create("7g.40gb", priority=9, cpu="30")
    turn(cluster, 2)
    assert where(cluster, urgent) in ("n2", "n3")


def test_two_pods_of_one_budget_do_not_both_go(cluster: QueuedCluster) -> None:
    """Budgets are counted over all victims together: where one may go and two would have to, nobody goes."""
    for _ in NODES:
        running(cluster, "3g.20gb", "3g.20gb", app="web")
    cluster.budget("web", 1)
    cluster.create("7g.40gb", priority=9)
    turn(cluster, 2)
    assert not cluster.evicted


def test_room_that_is_on_its_way_is_waited_for(cluster: QueuedCluster) -> None:
    """Where a pod is being deleted already, nobody is evicted, and nobody else gets its room."""
    first, *_ = running(cluster, "7g.40gb", "7g.40gb", "7g.40gb", terminationGracePeriodSeconds=30)
    cluster.server.delete(api.POD, first, "default")
    urgent = cluster.create("7g.40gb", priority=9)
    turn(cluster, 2)
    assert not cluster.evicted
    assert told(cluster, urgent)["code"] == "making_room"
    small = cluster.create("1g.5gb")
    cluster.delete(first)
    cluster.deliver()
    turn(cluster, 2)
    assert where(cluster, urgent) in NODES
    assert not where(cluster, small)


def test_the_room_is_held_until_the_victims_are_gone(cluster: QueuedCluster) -> None:
    """A pod of lower priority gets neither what is free beside the victim nor what the victim leaves."""
    for _ in NODES:
        running(cluster, "4g.20gb", terminationGracePeriodSeconds=30)
    urgent = cluster.create("7g.40gb", priority=9)
    turn(cluster, 2)
    ((victim, _),) = cluster.evicted
    kept_on = victim["spec"]["nodeName"]
    for _ in NODES:
        cluster.create("3g.20gb")
    turn(cluster, 2)
    assert sum(pod["spec"].get("nodeName") == kept_on for pod in cluster.pods()) == 1
    cluster.delete(victim["metadata"]["name"])
    turn(cluster, 2)
    assert where(cluster, urgent) == kept_on


def test_nobody_goes_for_a_pod_that_may_not_run_there(cluster: QueuedCluster) -> None:
    """Nodes that are cordoned, or too small even without the victims, are not preempted on."""
    running(cluster, "7g.40gb", "7g.40gb", "7g.40gb")
    for node in NODES:
        cluster.cordon(node, value=True)
    cluster.create("7g.40gb", priority=9)
    turn(cluster, 2)
    assert not cluster.evicted


def test_a_refused_eviction_frees_the_room(cluster: QueuedCluster) -> None:
    """Where the API server refuses the second of two victims, no more go, the hold ends, and the reason is told."""
    for _ in NODES:
        running(cluster, "3g.20gb", "3g.20gb", terminationGracePeriodSeconds=30)
    cluster.cluster.faults.add(Fault("evict"))  # the first goes well
    cluster.cluster.faults.add(Fault("evict", error=errors.RefusedError("HTTP 403: no"), times=None))
    urgent = cluster.create("7g.40gb", priority=9)
    turn(cluster)
    assert len(cluster.evicted) == 1
    assert told(cluster, urgent)["code"] == "eviction_refused"
    assert not cluster.state.nominated.by_node
    (victim, _), *_ = cluster.evicted
    cluster.delete(victim["metadata"]["name"])
    small = cluster.create("1g.5gb")
    turn(cluster, 2)
    assert where(cluster, small) == victim["spec"]["nodeName"]


def test_another_process_evicts_nobody_again(cluster: QueuedCluster) -> None:
    """After a restart in the middle the victims on their way out are waited for, and their room is held anew."""
    for _ in NODES:
        running(cluster, "3g.20gb", "4g.20gb", terminationGracePeriodSeconds=30)
    urgent = cluster.create("7g.40gb", priority=9)
    turn(cluster)
    assert len(cluster.evicted) == 2
    cluster.restart()
    small = cluster.create("1g.5gb")
    turn(cluster, 2)
    for victim, _ in cluster.evicted:
        cluster.delete(victim["metadata"]["name"])
    turn(cluster, 2)
    assert len(cluster.evicted) == 2
    assert where(cluster, urgent) in NODES
    assert not where(cluster, small)


def test_a_place_elsewhere_ends_it(cluster: QueuedCluster) -> None:
    """A preemptor for which another place became free takes that, and its room is everybody's again."""
    running(cluster, "7g.40gb", "7g.40gb", terminationGracePeriodSeconds=30)
    free = running(cluster, "7g.40gb", priority=5)[0]
    urgent = cluster.create("7g.40gb", priority=9)
    turn(cluster)
    assert len(cluster.evicted) == 1
    cluster.delete(free)
    turn(cluster, 2)
    assert where(cluster, urgent) in NODES
    assert not cluster.state.nominated.by_node


def test_room_made_in_vain_is_given_up(cluster: QueuedCluster) -> None:
    """Where the node is cordoned meanwhile, the room is kept no longer than until the victims are gone."""
    running(cluster, "7g.40gb", "7g.40gb", "7g.40gb", terminationGracePeriodSeconds=30)
    cluster.create("7g.40gb", priority=9)
    turn(cluster)
    ((victim, _),) = cluster.evicted
    cluster.cordon(victim["spec"]["nodeName"], value=True)
    cluster.delete(victim["metadata"]["name"])
    turn(cluster, 2)
    assert outcome(cluster, "in_vain") == 1
    assert not cluster.state.nominated.by_node
