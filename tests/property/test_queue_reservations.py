"""The queue with its real cache and cycle: who has waited long is next, and small pods go on elsewhere (ADR 0020)."""

from collections.abc import Iterator

import pytest

from allocator.placement.misfit import Misfit, Reason
from scheduler import explain
from scheduler.extender.binder import Binder
from scheduler.extender.extender import Extender
from scheduler.extender.nominations import Nominations
from scheduler.extender.preemptor import Preemptor
from scheduler.metrics import Metrics
from tests.property.queue_replica import PATIENCE_S
from tests.property.queued_cluster import NODES, QueuedCluster, pinned_to
from tests.unit.scheduler.extender_over_nodes import a_pod

FULL = "7g.40gb"


@pytest.fixture
def cluster() -> Iterator[QueuedCluster]:
    """Three nodes with one GPU each, a slice of each in use: on the first by p001, and so on."""
    made = QueuedCluster()
    for node in NODES:
        made.create("1g.5gb")
        rest = [other for other in NODES if other != node]
        for other in rest:
            made.cordon(other, value=True)
        turn(made)
        for other in rest:
            made.cordon(other, value=False)
    made.deliver()
    yield made
    made.close()


def turn(cluster: QueuedCluster) -> None:
    """Everybody hears of everything and does what there is to do."""
    cluster.deliver()
    cluster.step()
    cluster.deliver()
    cluster.kube_scheduler()
    cluster.deliver()


def wait(cluster: QueuedCluster) -> None:
    """Those who wait now have waited for long."""
    turn(cluster)
    cluster.now += PATIENCE_S
    turn(cluster)


def nodes_of(cluster: QueuedCluster) -> dict[str, str | None]:
    """By pod, the node it is pinned to."""
    return {pod["metadata"]["name"]: pinned_to(pod) for pod in cluster.pods()}


def reserved(cluster: QueuedCluster) -> set[str]:
    """The nodes with reserved places."""
    return {place.node for place in cluster.state.queue.reservations.kept()}


def extender_over(cluster: QueuedCluster) -> Extender:
    """An extender beside the queue, over the same state."""
    nominations = Nominations(nomination_ttl_s=60, tie_wait_s=0)
    binder = Binder(cluster.state, cluster.cluster, nominations, Metrics(), timeout_s=1)
    preemptor = Preemptor(cluster.state, cluster.cluster)
    return Extender(cluster.state, binder, preemptor, nominations, Metrics(), shortlist=10, slack=0)


def test_small_pods_go_on_elsewhere_and_the_large_one_starts(cluster: QueuedCluster) -> None:
    """Before its patience is over nothing is kept for it; then one node is, until the pod there has ended."""
    large = cluster.create(FULL)
    turn(cluster)
    assert reserved(cluster) == set()
    wait(cluster)
    (kept,) = reserved(cluster)
    small = [cluster.create("1g.5gb") for _ in range(14)]
    turn(cluster)
    where = nodes_of(cluster)
    assert [where[name] for name in small].count(None) == 2  # twelve found the rest of two GPUs
    assert kept not in {where[name] for name in small}
    cluster.delete(next(name for name, node in where.items() if node == kept))
    turn(cluster)
    assert nodes_of(cluster)[large] == kept
    assert reserved(cluster) == set()


def test_it_takes_another_place_that_is_free_first(cluster: QueuedCluster) -> None:
    """A reservation is no pin; what was kept is free for the others at once."""
    large = cluster.create(FULL)
    wait(cluster)
    (kept,) = reserved(cluster)
    other, node = next((name, node) for name, node in nodes_of(cluster).items() if node not in (kept, None))
    cluster.delete(other)
    turn(cluster)
    assert nodes_of(cluster)[large] == node
    small = cluster.create("4g.20gb")
    turn(cluster)
    assert nodes_of(cluster)[small] is not None


def test_who_is_gone_keeps_nothing(cluster: QueuedCluster) -> None:
    """With the pod its reservation goes, before any cycle."""
    large = cluster.create(FULL)
    wait(cluster)
    assert reserved(cluster)
    cluster.delete(large)
    cluster.deliver()
    assert reserved(cluster) == set()


def test_it_follows_the_cluster(cluster: QueuedCluster) -> None:
    """A node that is cordoned, or whose agent is gone, keeps nothing: the reservation goes elsewhere."""
    cluster.create(FULL)
    wait(cluster)
    (kept,) = reserved(cluster)
    cluster.cordon(kept, value=True)
    turn(cluster)
    (second,) = reserved(cluster)
    assert second != kept
    cluster.state.inventory.forget_report(second)
    turn(cluster)
    assert reserved(cluster) == set(NODES) - {kept, second}


def test_where_nobody_leaves_it_goes_elsewhere(cluster: QueuedCluster) -> None:
    """After ten times the patience without a pod that left, it waits for others."""
    cluster.create(FULL)
    wait(cluster)
    (kept,) = reserved(cluster)
    cluster.now += 10 * PATIENCE_S
    turn(cluster)
    (second,) = reserved(cluster)
    assert second != kept


def test_what_fits_no_gpu_keeps_nothing_and_is_not_the_head(cluster: QueuedCluster) -> None:
    """A pod that no empty GPU could hold is passed over: the next one gets the reservation."""
    cluster.create("7g.80gb", priority=2)
    cluster.create(FULL, priority=1)
    wait(cluster)
    assert len(reserved(cluster)) == 1


def test_a_gang_has_a_reservation_as_a_whole(cluster: QueuedCluster) -> None:
    """Room is kept for each of its pods, and they start together when all of it is free."""
    gang = [cluster.create(FULL, gang="g", size=2) for _ in range(2)]
    wait(cluster)
    kept = reserved(cluster)
    assert len(kept) == 2
    for name, node in nodes_of(cluster).items():
        if node in kept:
            cluster.delete(name)
            cluster.create("1g.5gb")
            turn(cluster)
    where = nodes_of(cluster)
    assert {where[name] for name in gang} == kept


def test_the_extender_gives_reserved_room_to_nobody_behind(cluster: QueuedCluster) -> None:
    """A pod that comes by filter is refused the room and told why, at bind too; one of higher priority may have it."""
    cluster.create(FULL)
    wait(cluster)
    (kept,) = reserved(cluster)
    extender = extender_over(cluster)
    behind, urgent = a_pod("behind", "4g.20gb", priority=-1), a_pod("urgent", "4g.20gb", priority=1)
    answer = cluster.run(extender.filter(behind, [kept]))
    assert (answer.nodes, answer.failed) == ((), {kept: Misfit(Reason.RESERVATION, "4g.20gb").message})
    refusal = cluster.run(extender.bind("default", "behind", behind.metadata.uid, kept))
    assert refusal is not None
    assert refusal.message == Misfit(Reason.RESERVATION, "4g.20gb").message
    assert cluster.run(extender.filter(behind, list(NODES))).nodes
    assert cluster.run(extender.filter(urgent, [kept])).nodes == [kept]


def test_who_has_a_reservation_is_told_where_and_until_when(cluster: QueuedCluster) -> None:
    """The explanation of a pod with a reservation names the node, and how many pods have to end there."""
    cluster.create(FULL)
    wait(cluster)
    (node,) = reserved(cluster)
    (pod,) = [pod for pod in cluster.state.pods.values() if pod.name == "p004"]
    answer = explain.explain(cluster.state, pod)
    assert f"room is kept for it on {node} until a pod there has ended" in answer["reason"]


def test_who_is_kept_out_by_a_reservation_is_told(cluster: QueuedCluster) -> None:
    """A node whose room is kept for others does not count as one with room."""
    cluster.create(FULL)
    wait(cluster)
    for _ in range(14):
        cluster.create("1g.5gb")
    turn(cluster)
    claims = cluster.state.inventory.ledger
    small = [pod for pod in cluster.state.pods.values() if "1g.5gb" in str(pod.request)]
    answers = [explain.explain(cluster.state, pod) for pod in small if claims.get(pod.uid) is None]
    assert answers
    for answer in answers:
        assert answer["counts"] == {"full": 2, "reservation": 1}
        assert answer["code"] == "full"
