"""Queued pods are told as much as those that ask through the extender, and those of one reason are one group."""

from collections.abc import Iterator

import pytest

from scheduler import explain
from scheduler.explain import pending
from simulator.cluster import api
from tests.property.queued_cluster import QueuedCluster


@pytest.fixture
def cluster() -> Iterator[QueuedCluster]:
    """Three nodes with one GPU each."""
    cluster = QueuedCluster()
    yield cluster
    cluster.close()


def test_pods_of_one_reason_are_one_group(cluster: QueuedCluster) -> None:
    """A full fleet is one reason for all that wait for it, wherever in the queue they stand."""
    for _ in range(10):
        cluster.create("7g.40gb")
    _settle(cluster)
    answer = cluster.run(pending.pending(cluster.state, limit=100))
    (group,) = answer["groups"]
    assert (group["code"], group["pods"]) == ("full", 7)
    assert [pod["queue_position"] for pod in answer["pods"]] == list(range(7))


def test_a_queued_pod_is_told_what_another_is_told(cluster: QueuedCluster) -> None:
    """Code, counts and nodes are those of the same pod without our gate; its position comes on top."""
    for _ in range(4):
        cluster.create("7g.40gb")
    asks = {"limits": {"nvidia.com/mig-7g.40gb": "1"}}
    spec = {"schedulerName": "migsched", "containers": [{"name": "main", "image": "none", "resources": asks}]}
    cluster.server.create(api.POD, {"metadata": {"name": "other", "namespace": "default"}, "spec": spec})
    _settle(cluster)
    by_name = {pod.name: explain.explain(cluster.state, pod) for pod in cluster.state.pods.values()}
    queued, other = by_name["p004"], by_name["other"]
    for field in ("phase", "code", "counts", "nodes", "nodes_looked_at", "ineligible", "not_looked_at", "profiles"):
        assert queued[field] == other[field], field
    assert queued["reason"] == f"{other['reason']}; in migsched's queue, no pods before it"
    assert queued["since"]


def test_the_api_servers_word_on_a_gate_is_not_kube_schedulers(cluster: QueuedCluster) -> None:
    """What the API server writes into the condition of a gated pod is not quoted as kube-scheduler's."""
    for _ in range(4):
        cluster.create("7g.40gb")
    said = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "message": "Scheduling is blocked"}
    cluster.server.patch_status(api.POD, "p004", {"status": {"conditions": [said]}}, "default")
    _settle(cluster)
    (answer,) = [explain.explain(cluster.state, pod) for pod in cluster.state.pods.values() if pod.name == "p004"]
    assert answer["kube_scheduler"] == ""


def _settle(cluster: QueuedCluster) -> None:
    for _ in range(2):
        cluster.deliver()
        cluster.step()
        cluster.kube_scheduler()
    cluster.deliver()
