"""The queue and rules that look at other pods: what is judged, what counts as being there, and when it is tried again.

The cluster is three nodes with one GPU each, in memory (tests/property/queued_cluster.py).
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from allocator.eligibility.constraints import VolumeTopology
from allocator.eligibility.node_selector import NodeSelectorRequirement, NodeSelectorTerm
from scheduler import explain
from scheduler.queueing.claimed_volumes import AGAIN_S
from simulator.cluster import api
from tests.property.queued_cluster import HOST, REQUIRED, QueuedCluster, pinned_to

Document = dict[str, Any]
APP = {"app": "x"}
SELECTED = {"matchLabels": APP}
APART = {"affinity": {"podAntiAffinity": {REQUIRED: [{"topologyKey": HOST, "labelSelector": SELECTED}]}}}
DATABASE = {"app": "db"}
NEAR = {"affinity": {"podAffinity": {REQUIRED: [{"topologyKey": HOST, "labelSelector": {"matchLabels": DATABASE}}]}}}


@pytest.fixture
def cluster() -> Iterator[QueuedCluster]:
    """Nobody in it."""
    made = QueuedCluster()
    yield made
    made.close()


def _placed(cluster: QueuedCluster) -> list[str]:
    """The nodes of those that have a place."""
    cluster.deliver()
    cluster.step()
    cluster.deliver()
    cluster.check()
    return [node for node in map(pinned_to, cluster.pods()) if node]


def _spread(**more: Any) -> Document:
    constraint = {"topologyKey": HOST, "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": SELECTED}
    return {"topologySpreadConstraints": [constraint | more]}


def _other(cluster: QueuedCluster, name: str, node: str, labels: Document, **spec: Any) -> None:
    """A pod without slices that runs somewhere."""
    spec = {"containers": [{"name": "main", "image": "none"}], "nodeName": node, **spec}
    cluster.server.create(api.POD, {"metadata": {"name": name, "namespace": "default", "labels": labels}, "spec": spec})


def test_pods_placed_in_one_cycle_keep_apart(cluster: QueuedCluster) -> None:
    """Pods with anti-affinity to each other get different nodes in one cycle, though none is bound yet."""
    for _ in range(4):
        cluster.create("1g.5gb", labels=APP, wishes=APART)
    assert sorted(_placed(cluster)) == ["n1", "n2", "n3"]


def test_pods_placed_in_one_cycle_are_spread(cluster: QueuedCluster) -> None:
    """Six pods with a skew of one go two to each node, where packing would put them on one."""
    for _ in range(6):
        cluster.create("1g.5gb", labels=APP, wishes=_spread())
    assert Counter(_placed(cluster)) == {"n1": 2, "n2": 2, "n3": 2}


def test_a_gang_keeps_apart(cluster: QueuedCluster) -> None:
    """The pods of a gang see each other's places before any of them is in the queue's books."""
    for _ in range(3):
        cluster.create("1g.5gb", gang="g", size=3, labels=APP, wishes=APART)
    assert sorted(_placed(cluster)) == ["n1", "n2", "n3"]


def test_a_gang_that_finds_no_places_leaves_none_behind(cluster: QueuedCluster) -> None:
    """Four pods that keep apart find three nodes: none is held, and no place of theirs keeps others away."""
    for _ in range(4):
        cluster.create("1g.5gb", gang="g", size=4, labels=APP, wishes=APART)
    assert _placed(cluster) == []
    cluster.state.used.placed.check()
    assert not len(cluster.state.used.placed)


def test_a_gang_shares_a_nodes_processors(cluster: QueuedCluster) -> None:
    """Pods of a gang that ask for 40 of a node's 64 CPUs go to nodes of their own."""
    large = {"containers": [_asking_for("40")]}
    for _ in range(3):
        cluster.create("1g.5gb", gang="g", size=3, wishes=large)
    assert sorted(_placed(cluster)) == ["n1", "n2", "n3"]


def _asking_for(cpu: str) -> Document:
    resources = {"limits": {"nvidia.com/mig-1g.5gb": "1"}, "requests": {"cpu": cpu}}
    return {"name": "main", "image": "none", "resources": resources}


def test_others_anti_affinity_keeps_a_pod_away(cluster: QueuedCluster) -> None:
    """A pod that asks for nothing of others is kept from nodes whose pods want it away."""
    for node in ("n1", "n2"):
        _other(cluster, f"shy-{node}", node, {}, **APART)
    cluster.create("7g.40gb", labels=APP)
    assert _placed(cluster) == ["n3"]


def test_a_taken_port_keeps_a_pod_away(cluster: QueuedCluster) -> None:
    """Two pods that want one port of the host get two nodes, neither of them where it is taken."""
    port = {"ports": [{"containerPort": 1, "hostPort": 9000, "protocol": "TCP"}]}
    _other(cluster, "server", "n1", {}, containers=[{"name": "main", "image": "none", **port}])
    for _ in range(2):
        cluster.create("1g.5gb", wishes={"containers": [_asking_for("1") | port]})
    assert sorted(_placed(cluster)) == ["n2", "n3"]


def test_a_pod_is_tried_again_when_another_comes(cluster: QueuedCluster) -> None:
    """A pod that waits for a neighbour is placed beside it when it comes, although no room arose."""
    cluster.create("1g.5gb", wishes=NEAR)
    assert _placed(cluster) == []
    _other(cluster, "db", "n2", DATABASE)
    assert _placed(cluster) == ["n2"]


def test_a_place_given_back_keeps_nobody_away(cluster: QueuedCluster) -> None:
    """A held pod that is deleted is not a neighbour any more."""
    first = cluster.create("1g.5gb", labels=APP, wishes=APART)
    assert len(_placed(cluster)) == 1
    cluster.delete(first)
    cluster.deliver()
    assert not len(cluster.state.used.placed)


def test_a_restarted_service_knows_whom_it_released(cluster: QueuedCluster) -> None:
    """Pods that a process before released and nobody has bound yet are neighbours still."""
    for _ in range(2):
        cluster.create("1g.5gb", labels=APP, wishes=APART)
    before = _placed(cluster)
    cluster.restart()
    cluster.create("1g.5gb", labels=APP, wishes=APART)
    assert sorted(_placed(cluster)) == ["n1", "n2", "n3"]
    assert len(before) == 2


def test_a_pin_that_kube_scheduler_would_refuse_is_not_made(cluster: QueuedCluster) -> None:
    """With minDomains and node affinity honoured, kube-scheduler counts a pinned pod's node as the only domain: a node
    that has one of the pods already is not taken.
    """
    for _ in range(4):
        cluster.create("1g.5gb", labels=APP, wishes=_spread(minDomains=2))
    assert sorted(_placed(cluster)) == ["n1", "n2", "n3"]


DATA: Document = {"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]}


def _read_claims(cluster: QueuedCluster) -> list[str]:
    _placed(cluster)  # it asks for the claims
    return _placed(cluster)


def test_a_missing_claim_is_named_and_waited_for(cluster: QueuedCluster) -> None:
    """A pod whose claim does not exist gets no place; explain says which, and it is placed when the claim is there."""
    cluster.create("1g.5gb", wishes=DATA)
    assert _read_claims(cluster) == []
    (pod,) = cluster.state.pods.values()
    explanation = explain.explain(cluster.state, pod)
    assert explanation["ineligible"] == {"VolumeBinding": 3}
    assert "there is no PersistentVolumeClaim data" in explanation["reason"]
    cluster.cluster.volumes["default/data"] = VolumeTopology("data")
    cluster.now += AGAIN_S
    assert len(_read_claims(cluster)) == 1


def test_a_volume_is_made_where_its_class_allows(cluster: QueuedCluster) -> None:
    """A claim that waits for its pod: only nodes of its class's topologies do."""
    here = NodeSelectorTerm((NodeSelectorRequirement(HOST, "In", ("n2",)),))
    cluster.cluster.volumes["default/data"] = VolumeTopology("data", (here,), bound=False)
    cluster.create("1g.5gb", wishes=DATA)
    assert _read_claims(cluster) == ["n2"]


def test_a_claim_for_one_pod_has_one_pod(cluster: QueuedCluster) -> None:
    """Of two pods with the same ReadWriteOncePod claim the second waits, until the first is gone."""
    cluster.cluster.volumes["default/data"] = VolumeTopology("data", claim="default/data")
    first = cluster.create("1g.5gb", wishes=DATA)
    cluster.create("1g.5gb", wishes=DATA)
    assert len(_read_claims(cluster)) == 1
    cluster.delete(first)
    assert len(_placed(cluster)) == 1
