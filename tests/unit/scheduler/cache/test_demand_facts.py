"""What the cache knows of where pods may run, and which of them count as demand."""

from typing import Any

import msgspec
import pytest

from allocator.claims import snapshot_file
from allocator.claims.snapshot_file import WaitingFacts
from allocator.eligibility.amounts import Amounts
from allocator.eligibility.node import Taint
from allocator.placement import policy
from allocator.request import Request
from kubeclient.changes import Change, ChangeType, Listing
from kubeclient.objects import Meta
from scheduler import explain
from scheduler.cache import pod_decoding
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.known_pod import KnownPod
from scheduler.cache.port import Object, WatchedKind, WatchedNode
from scheduler.metrics import Metrics
from scheduler.snapshots import Snapshots
from simulator.cluster.memory_cluster.client import MemoryCluster
from simulator.cluster.memory_cluster.server import MemoryServer
from tests.unit.scheduler.cache.test_cluster_cache import mig_node, status_of

SLICES = ("migsched_free_memory_slices", "migsched_closed_memory_slices")
OFFERED = {"cpu": "8", "memory": "1Gi", "ephemeral-storage": "1Gi", "pods": "110"}


def _pod(name: str = "p", spec: dict[str, Any] | None = None, **meta: Any) -> Object:
    container = {"name": "main", "resources": {"limits": {"nvidia.com/mig-1g.5gb": "1"}, "requests": {"cpu": "2"}}}
    metadata = {"name": name, "namespace": "default", "uid": f"uid-{name}", **meta}
    whole = {"metadata": metadata, "spec": {"schedulerName": "migsched", "containers": [container], **(spec or {})}}
    return pod_decoding.decode(msgspec.json.encode(whole))


def _node(name: str, labels: dict[str, str] | None = None, **spec: Any) -> WatchedNode:
    status = {"allocatable": OFFERED, "conditions": [{"type": "Ready", "status": "True"}]}
    raw = (msgspec.Raw(msgspec.json.encode(part)) for part in (spec, status))
    return WatchedNode(Meta(name, labels=labels), *raw)


def _cache(*items: Object) -> ClusterCache:
    state = ClusterCache(policy.DEFAULT, lambda: None)
    for item in items:
        kind = WatchedKind.NODE if isinstance(item, WatchedNode) else WatchedKind.POD
        state.apply(kind, Change(ChangeType.ADDED, item, "1"))
    return state


def _known(item: Object) -> KnownPod:
    (known,) = _cache(item).pods.values()
    return known


def test_a_pods_constraints_are_read() -> None:
    """Selector, tolerations, requests and what is not judged are known of a pod that asks for slices."""
    spec = {
        "nodeSelector": {"pool": "a"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "zone"}]}},
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
    }
    constraints = _known(_pod(spec=spec)).constraints
    assert constraints is not None
    assert (constraints.node_selector, constraints.tolerations[0].key) == ((("pool", "a"),), "gpu")
    assert constraints.requests == Amounts(cpu_milli=2000, pods=1)
    assert (constraints.unjudged, constraints.beside_others) == (("volumes",), ("inter-pod anti-affinity",))


@pytest.mark.parametrize(
    "spec",
    [
        {"tolerations": "none"},
        {"nodeSelector": {"pool": "a" * 20_000}},
        {"affinity": {"podAffinity": {"filler": "x" * 40_000}}},
        {"affinity": [[[[1]]]]},
    ],
)
def test_constraints_that_cannot_be_read_are_named(spec: dict[str, Any]) -> None:
    """A pod whose constraints are absurd or too large stays known, and what is not known of it is said."""
    constraints = _known(_pod(spec=spec)).constraints
    assert constraints is not None
    assert "scheduling constraints" in constraints.unjudged[0]


def test_pods_of_one_template_share_their_constraints() -> None:
    """Pods with the same constraints hold one object of them, so that 10,000 pods cost little."""
    first, second = _cache(
        _pod("a", {"nodeSelector": {"pool": "a"}}), _pod("b", {"nodeSelector": {"pool": "a"}})
    ).pods.values()
    assert first.constraints is second.constraints


def test_a_nodes_facts_are_read_and_go_with_it() -> None:
    """Cordon, taints, labels and allocatable of a node are known until it is deleted."""
    taint = {"key": "gpu", "effect": "NoSchedule"}
    state = _cache(_node("n", {"pool": "a"}, unschedulable=True, taints=[taint]))
    facts = state.nodes["n"]
    assert (facts.unschedulable, facts.taints, facts.labels) == (True, (Taint("gpu", "NoSchedule"),), {"pool": "a"})
    assert facts.allocatable == Amounts(8000, 1 << 30, 1 << 30, 110)
    state.apply(WatchedKind.NODE, Change(ChangeType.DELETED, _node("n"), "2"))
    assert state.nodes == {}


def test_only_pods_that_run_or_wait_for_us_are_demand() -> None:
    """Terminating and gated pods and those of other schedulers are no demand, until a scheduler turns out to ask us."""
    gated = _pod("gated", {"schedulingGates": [{"name": "example.com/hold"}]})
    other = _pod("other", {"schedulerName": "default-scheduler"})
    leaving = _pod("leaving", deletionTimestamp="2026-01-31T12:00:00Z")
    state = _cache(gated, other, leaving)
    assert set(state.demanded()) == set()
    assert (state.pods["uid-gated"].gated, state.pods["uid-leaving"].terminating) == (True, True)
    state.lookup(other)  # type: ignore[arg-type]
    assert set(state.demanded()) == {"1g.5gb"}
    assert set(_cache(_pod()).demanded()) == {"1g.5gb"}


def test_a_pod_counts_as_demand_once_its_gates_are_gone() -> None:
    """What a gated pod asks for is told when its gates are removed, and once."""
    state = _cache()
    told: list[Request] = []
    state.on_request = told.append
    for spec in ({"schedulingGates": [{"name": "example.com/hold"}]}, {}, {}):
        state.apply(WatchedKind.POD, Change(ChangeType.MODIFIED, _pod(spec=spec), "1"))
    assert [str(request) for request in told] == ["1g.5gb"]


async def test_a_snapshot_says_where_pods_may_run() -> None:
    """A snapshot has each node's facts, why it takes no pods, and each pod's constraints; labels once."""
    state = _cache(
        _node("n", {"pool": "a", "unused": "b"}),
        _node("cordoned", unschedulable=True),
        _pod(spec={"nodeSelector": {"pool": "a"}}),
    )
    for name in ("n", "cordoned", "without"):
        state.apply(WatchedKind.MIG_NODE, Change(ChangeType.ADDED, mig_node(name, status_of(name)), "1"))
    text = b"".join(await Snapshots(state, MemoryCluster(MemoryServer())).text())
    saved = snapshot_file.decode(text)
    closed = {node.name: node.closed.partition(":")[0] for node in saved.snapshot.nodes}
    assert closed == {"cordoned": "NodeUnschedulable", "n": "", "without": "NoNode"}
    (facts,) = (node.facts for node in saved.snapshot.nodes if node.name == "n")
    assert facts is not None
    assert facts.labels == {"pool": "a", "unused": "b"}
    assert text.count(b'"unused"') == 1
    assert saved.pods["uid-p"].constraints == state.pods["uid-p"].constraints


def test_gauges_tell_closed_nodes_apart() -> None:
    """Free slices on a cordoned node, and on one that does not exist, are not among the free ones."""
    state, metrics = _cache(_node("n"), _node("cordoned", unschedulable=True)), Metrics()
    for name in ("n", "cordoned", "without"):
        state.apply(WatchedKind.MIG_NODE, Change(ChangeType.ADDED, mig_node(name, status_of(name)), "1"))
    metrics.show(state.inventory, state.demanded(), refused=0, closed=state.closed_nodes())
    shown = {name: metrics.registry.get_sample_value(name, {"model": "a100-40gb"}) for name in SLICES}
    assert shown == dict(zip(SLICES, (8, 16), strict=True))
    assert metrics.registry.get_sample_value("migsched_closed_nodes") == 2
    labels = {"model": "a100-40gb", "profile": "3g.20gb"}
    assert metrics.registry.get_sample_value("migsched_placeable_slices", labels) == 2
    state.apply(WatchedKind.NODE, Change(ChangeType.MODIFIED, _node("cordoned"), "2"))
    assert state.closed_nodes() == {"without"}


async def test_what_other_pods_use_decides_where_a_pod_may_run() -> None:
    """Of 8 CPUs, others use 7: a pod of 2 may not run there, which explanations, snapshots and remedies know."""
    waiting = _pod()
    state = _cache(_node("n"), waiting)
    state.apply(WatchedKind.MIG_NODE, Change(ChangeType.ADDED, mig_node("n", status_of("n")), "1"))
    spec = {"nodeName": "n", "containers": [{"name": "c", "resources": {"requests": {"cpu": "7"}}}]}
    other = _pod("other", spec=spec)
    await state.replace(WatchedKind.POD, Listing((waiting, other), "2"))
    explanation = explain.explain(state, state.pods["uid-p"])
    assert explanation["ineligible"] == {"NodeResourcesFit": 1}
    assert "2000m of cpu asked for, 1000m of 8000m left" in explanation["nodes"]["n"]
    saved = snapshot_file.decode(b"".join(await Snapshots(state, MemoryCluster(MemoryServer())).text()))
    told = WaitingFacts("default/p", (("1g.5gb", 1),))
    assert saved.pods["uid-p"].waiting == told
    assert set(saved.pods) == {"uid-p"}
    assert saved.snapshot.nodes[0].used == Amounts(7000, 0, 0, 1)
    state.apply(WatchedKind.POD, Change(ChangeType.DELETED, other, "3"))
    explanation = explain.explain(state, state.pods["uid-p"])
    assert explanation["ineligible"] == {}
    assert "what other pods on the node use" not in explanation["not_looked_at"]
