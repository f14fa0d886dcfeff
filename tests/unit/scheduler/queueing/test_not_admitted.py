"""Pods that a kubelet has failed because an agent did not answer it: where their successors go.

The cluster is three nodes with one GPU each, in memory (tests/property/queued_cluster.py).
"""

from collections.abc import Iterator

import pytest

from scheduler.queueing.returns import NOT_ADMITTED_S
from simulator.cluster import api
from tests.property.queued_cluster import QueuedCluster, pinned_to


@pytest.fixture
def cluster() -> Iterator[QueuedCluster]:
    """Nobody in it."""
    made = QueuedCluster()
    yield made
    made.close()


def place(cluster: QueuedCluster, *, owned: bool = True) -> str:
    """A pod of a whole GPU is released and bound; its node."""
    name = cluster.create("7g.40gb", owned=owned)
    cluster.deliver()
    cluster.step()
    cluster.deliver()
    cluster.kube_scheduler()
    cluster.deliver()
    (node,) = [pinned_to(pod) for pod in cluster.pods() if pod["metadata"]["name"] == name]
    return node or ""


def fail(cluster: QueuedCluster, reason: str) -> None:
    """The youngest pod fails."""
    name = f"p{cluster.made:03}"
    cluster.server.patch_status(api.POD, name, {"status": {"phase": "Failed", "reason": reason}}, "default")
    cluster.deliver()


def test_successors_avoid_the_node_for_a_while(cluster: QueuedCluster) -> None:
    """They go elsewhere, one refusal after the other, and back once the time is over."""
    assert place(cluster) == "n1"
    fail(cluster, "UnexpectedAdmissionError")
    assert place(cluster) == "n2"
    fail(cluster, "UnexpectedAdmissionError")
    assert place(cluster) == "n3"
    fail(cluster, "Evicted")
    cluster.now += NOT_ADMITTED_S + 1
    assert place(cluster) == "n1"


def test_where_there_is_no_other_node_it_is_tried_again(cluster: QueuedCluster) -> None:
    """A node is avoided only by those who can go elsewhere: nobody waits although its place is free."""
    for node in ("n2", "n3"):
        cluster.cordon(node, value=True)
    for _ in range(2):
        assert place(cluster) == "n1"
        fail(cluster, "UnexpectedAdmissionError")
    assert place(cluster) == "n1"


@pytest.mark.parametrize(
    ("owned", "reason"), [(False, "UnexpectedAdmissionError"), (True, "Evicted"), (True, "NodeAffinity")]
)
def test_other_failures_say_nothing_of_the_node(cluster: QueuedCluster, owned: bool, reason: str) -> None:
    """A pod without a controller has no successor, and other reasons are no agent's."""
    assert place(cluster, owned=owned) == "n1"
    fail(cluster, reason)
    assert place(cluster) == "n1"
