"""Places on several nodes for a pod of which not everything can be judged: held, named, given back, taken up again.

The cluster is three nodes with one GPU each, in memory (tests/property/queued_cluster.py).
"""

from collections.abc import Iterator

import pytest

from allocator.claims import placement_annotation
from allocator.queueing import spare_places
from allocator.queueing.life import QueueState
from simulator.cluster import api
from tests.property.queue_replica import RETURN_AFTER_S
from tests.property.queued_cluster import REQUIRED, QueuedCluster, named_nodes, promises_of

CLAIM = [{"name": "nic", "resourceClaimName": "nic"}]


@pytest.fixture
def cluster() -> Iterator[QueuedCluster]:
    """Nobody in it."""
    made = QueuedCluster()
    yield made
    made.close()


def _cycle(cluster: QueuedCluster) -> None:
    cluster.deliver()
    cluster.step()
    cluster.deliver()
    cluster.check()


def _nodes(cluster: QueuedCluster) -> dict[str, list[str]]:
    """The nodes that each pod's affinity names."""
    return {pod["metadata"]["name"]: named_nodes(pod) for pod in cluster.pods()}


def _bound(cluster: QueuedCluster) -> dict[str, str]:
    return {pod["metadata"]["name"]: pod["spec"]["nodeName"] for pod in cluster.pods() if pod["spec"].get("nodeName")}


def _claims(cluster: QueuedCluster) -> int:
    return len(cluster.state.inventory.ledger)


def test_a_pod_of_which_not_all_is_judged_has_places_on_two_nodes(cluster: QueuedCluster) -> None:
    """Both are claimed and named; the rest of the fleet is left to others, who get nothing of either."""
    unjudged = cluster.create_unjudged("7g.40gb")
    others = [cluster.create("7g.40gb") for _ in range(2)]
    _cycle(cluster)
    assert _nodes(cluster) == {unjudged: ["n1", "n2"], others[0]: ["n3"], others[1]: []}


def test_a_pod_that_is_judged_has_one_place(cluster: QueuedCluster) -> None:
    """Where everything is judged, one node is enough."""
    cluster.create("7g.40gb", cpu="4")
    _cycle(cluster)
    assert list(_nodes(cluster).values()) == [["n1"]]
    assert _claims(cluster) == 1


def test_the_other_place_is_given_back_at_the_binding(cluster: QueuedCluster) -> None:
    """kube-scheduler refuses the first node and binds to the second: the pod has the place there, the first is free."""
    cluster.refusing = {"n1"}
    unjudged = cluster.create_unjudged("7g.40gb")
    _cycle(cluster)
    cluster.kube_scheduler()
    cluster.deliver()
    cluster.check()
    assert _bound(cluster) == {unjudged: "n2"}
    (pod,) = cluster.pods()
    (claim,) = cluster.state.inventory.ledger
    assert (claim.uid, claim.node) == (pod["metadata"]["uid"], "n2")
    assert [hold.gpu for hold in claim.holds] == [promise.gpu for promise in promises_of(pod)]
    next_one = cluster.create("7g.40gb")
    _cycle(cluster)
    assert _nodes(cluster)[next_one] == ["n1"]


def test_a_pod_that_none_of_its_nodes_takes_comes_back_and_avoids_all_of_them(cluster: QueuedCluster) -> None:
    """It is deleted once it was refused for long enough, both places are free, and its successor goes elsewhere."""
    cluster.refusing = {"n1", "n2"}
    cluster.create_unjudged("7g.40gb", owned=True)
    _cycle(cluster)
    cluster.kube_scheduler()
    _cycle(cluster)
    cluster.now += RETURN_AFTER_S + 1
    _cycle(cluster)
    assert cluster.pods() == []
    assert not _claims(cluster)
    successor = cluster.create_unjudged("7g.40gb", owned=True)
    _cycle(cluster)
    assert _nodes(cluster) == {successor: ["n3"]}


def test_a_pod_that_nobody_makes_anew_is_told_to_be_deleted(cluster: QueuedCluster) -> None:
    """It is unbindable, and holds no place any more."""
    cluster.refusing = {"n1", "n2"}
    cluster.create_unjudged("7g.40gb")
    _cycle(cluster)
    cluster.kube_scheduler()
    _cycle(cluster)
    cluster.now += RETURN_AFTER_S + 1
    _cycle(cluster)
    (pod,) = cluster.state.queue
    assert pod.state is QueueState.UNBINDABLE
    assert pod.spares == ()
    assert not _claims(cluster)


def test_a_restart_claims_all_places_again(cluster: QueuedCluster) -> None:
    """Affinity and annotation of a released pod say which; nobody else gets one before it is bound."""
    cluster.create_unjudged("7g.40gb")
    _cycle(cluster)
    before = {(claim.uid, claim.node, claim.holds) for claim in cluster.state.inventory.ledger}
    cluster.restart()
    others = [cluster.create("7g.40gb") for _ in range(2)]
    _cycle(cluster)
    after = {(claim.uid, claim.node, claim.holds) for claim in cluster.state.inventory.ledger}
    assert before < after
    assert [_nodes(cluster)[name] for name in others] == [["n3"], []]
    cluster.refusing = {"n1"}
    cluster.kube_scheduler()
    _cycle(cluster)
    assert _nodes(cluster)[others[1]] == ["n1"]


def test_nodes_that_the_affinity_does_not_name_count_for_nothing(cluster: QueuedCluster) -> None:
    """An annotation is anybody's text: a place on a node that its pod cannot go to is not claimed."""
    cluster.create_unjudged("7g.40gb")
    _cycle(cluster)
    (pod,) = cluster.pods()
    affinity = pod["spec"]["affinity"]
    affinity["nodeAffinity"][REQUIRED]["nodeSelectorTerms"].pop()
    meta = {"name": "forged", "namespace": "default", "annotations": pod["metadata"]["annotations"]}
    cluster.delete(pod["metadata"]["name"])
    spec = {"containers": pod["spec"]["containers"], "affinity": affinity, "resourceClaims": CLAIM}
    cluster.server.create(api.POD, {"metadata": meta, "spec": spec})
    cluster.restart()
    assert [claim.node for claim in cluster.state.inventory.ledger] == ["n1"]


def test_a_pod_with_terms_of_its_own_has_one_place(cluster: QueuedCluster) -> None:
    """No term may be added to those of a pod, and a field of a term names one node."""
    term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "Exists"}]}
    affinity = {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [term]}}}
    name = cluster.create("7g.40gb", resourceClaims=CLAIM, affinity=affinity)
    _cycle(cluster)
    assert _nodes(cluster) == {name: ["n1"]}


def test_a_pod_of_a_gang_has_one_place(cluster: QueuedCluster) -> None:
    """A gang takes much at once; twice as much would be kept from others."""
    for _ in range(2):
        cluster.create("1g.5gb", gang="g", size=2, resourceClaims=CLAIM)
    _cycle(cluster)
    assert [len(nodes) for nodes in _nodes(cluster).values()] == [1, 1]


def test_a_pod_whose_scheduler_asks_the_extender_has_one_place(cluster: QueuedCluster) -> None:
    """Its scheduler is offered one node by filter, whatever the affinity says."""
    cluster.state.waiting.learn("migsched")
    name = cluster.create_unjudged("7g.40gb", schedulerName="migsched")
    _cycle(cluster)
    assert _nodes(cluster) == {name: ["n1"]}


def test_processors_count_on_each_node(cluster: QueuedCluster) -> None:
    """What a pod asks for of CPU is kept on all nodes that it may be bound to."""
    cluster.create_unjudged("1g.5gb", cpu="40")
    other = cluster.create("1g.5gb", cpu="40")
    _cycle(cluster)
    assert sorted(map(tuple, _nodes(cluster).values())) == [("n1", "n2"), ("n3",)]
    assert _nodes(cluster)[other] == ["n3"]


def test_a_refused_release_gives_both_places_back(cluster: QueuedCluster) -> None:
    """A gate that was certainly not removed leaves nothing behind."""
    cluster.create_unjudged("7g.40gb")
    cluster.deliver()
    (pod,) = cluster.pods()
    cluster.server.patch(api.POD, pod["metadata"]["name"], {"metadata": {"labels": {"a": "b"}}}, "default")
    cluster.step()  # at a version that is not the pod's any more
    cluster.check()
    assert not _claims(cluster)


def test_the_name_of_a_spare_claim_tells_its_pod() -> None:
    """It is no UID, and says whose it is."""
    name = spare_places.claim_of("uid-1", "n2")
    assert spare_places.is_spare(name)
    assert not spare_places.is_spare("uid-1")
    assert spare_places.pod_of(name) == spare_places.pod_of("uid-1") == "uid-1"


def test_a_placement_with_spare_nodes_is_read_by_node() -> None:
    """Whoever knows no spare nodes reads the first place; the others count on their nodes alone."""
    first, second = (placement_annotation.Promise("main", gpu, "7g.40gb", 0) for gpu in ("GPU-1", "GPU-2"))
    text = placement_annotation.encode([first], {"n2": [second]})
    assert placement_annotation.decode(text) == placement_annotation.decode(text, "n1") == (first,)
    assert placement_annotation.decode(text, "n2") == (second,)
    assert placement_annotation.decode_spares(text) == {"n2": (second,)}
    assert "spares" not in placement_annotation.encode([first])
