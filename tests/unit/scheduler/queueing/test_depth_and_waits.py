"""The queue's metrics: bounded label sets, and waits that are measured from the right moment."""

import pytest

from allocator.eligibility.constraints import PodConstraints
from allocator.queueing.gang import Gang
from allocator.queueing.life import QueueEvent
from allocator.queueing.pod_queue import PodQueue
from allocator.queueing.queued_pod import QueuedPod
from scheduler.metrics import Metrics
from scheduler.queueing import depth
from scheduler.queueing.waits import Waits
from tests.builders import request
from tests.property.queued_cluster import QueuedCluster


def pod(name: str, namespace: str = "default", *, priority: int = 0, gang: Gang | None = None) -> QueuedPod:
    created = "2026-01-01T00:00:00Z"
    return QueuedPod(name, namespace, name, "1", priority, created, request("1g.5gb"), PodConstraints(), gang=gang)


def values(metrics: Metrics, name: str) -> dict[str, float]:
    """A metric's samples by their one label."""
    (family,) = (family for family in metrics.registry.collect() if family.name == name)
    return {next(iter(sample.labels.values()), ""): sample.value for sample in family.samples}


def test_the_largest_namespaces_have_labels_and_the_rest_one() -> None:
    """Of 30 namespaces 20 are shown; no pod is lost, and one whose pods are gone is shown no more."""
    queue, metrics = PodQueue(), Metrics()
    for at in range(30):
        for number in range(at + 1):
            queue.add(pod(f"{at}-{number}", f"ns{at}", priority=at))
    depth.show(queue, metrics)
    shown = values(metrics, "migsched_queued_pods_by_namespace")
    assert len(shown) == depth.MAX_NAMESPACES + 1
    assert (shown["ns29"], shown[depth.OTHER], sum(shown.values())) == (30, 55, 465)
    priorities = values(metrics, "migsched_queued_pods_by_priority")
    assert len(priorities) == depth.MAX_PRIORITIES + 1
    assert (priorities["29"], sum(priorities.values())) == (30, 465)
    for number in range(30):
        queue.end(f"29-{number}")
    depth.show(queue, metrics)
    assert "ns29" not in values(metrics, "migsched_queued_pods_by_namespace")


def test_gangs_and_states_are_counted() -> None:
    """A gang counts while one of its pods has no place; a pod with a place counts by its state alone."""
    queue, metrics = PodQueue(), Metrics()
    whole, part = Gang("default", "whole", 1), Gang("default", "part", 2)
    for queued in (pod("a", gang=whole), pod("b", gang=part), pod("c")):
        queue.add(queued)
    queue.apply("c", QueueEvent.HOLD, node="n")
    depth.show(queue, metrics)
    assert values(metrics, "migsched_queue_gangs") == {"incomplete": 1, "complete": 1}
    assert values(metrics, "migsched_queued_pods") == {
        "queued": 2,
        "held": 1,
        "released": 0,
        "unbindable": 0,
        "bound": 0,
    }
    assert values(metrics, "migsched_queued_pods_by_namespace") == {"default": 2}


def test_waits_are_from_creation_to_release_and_from_there_to_the_binding() -> None:
    """The first wait is by the pod's creation, the second by our own clock; what is bound waits no more."""
    now, metrics = [0.0], Metrics()
    waits = Waits(metrics, clock=lambda: now[0], wall_clock=lambda: 1_767_225_600.0 + 90)
    waits.released(pod("a"))
    waits.released(pod("b"))
    now[0] = 3.0
    waits.bound("a")
    waits.bound("unknown")
    sample = metrics.registry.get_sample_value
    assert sample("migsched_queue_wait_seconds_sum") == pytest.approx(180)
    assert (sample("migsched_queue_bind_seconds_count"), sample("migsched_queue_bind_seconds_sum")) == (1, 3)
    assert waits.oldest_s() == 3
    waits.keep(lambda uid: uid != "b")
    assert waits.oldest_s() == 0


def test_a_pod_that_is_bound_is_measured() -> None:
    """From cycle to watch: each released pod is observed once in both waits."""
    cluster = QueuedCluster()
    cluster.create("1g.5gb")
    cluster.deliver()
    cluster.step()
    cluster.deliver()
    cluster.kube_scheduler()
    cluster.deliver()
    cluster.deliver()
    sample = cluster.metrics.registry.get_sample_value
    assert sample("migsched_queue_wait_seconds_count") == 1
    assert sample("migsched_queue_bind_seconds_count") == 1
    cluster.close()
