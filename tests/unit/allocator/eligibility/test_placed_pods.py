"""Pods that have places: what is held and what is there, what is counted, and what cannot be told."""

from dataclasses import replace

import pytest

from allocator.eligibility import pod_selector
from allocator.eligibility.amounts import Amounts
from allocator.eligibility.constraints import PodAffinityTerm, PodConstraints, SpreadConstraint
from allocator.eligibility.host_port import HostPort
from allocator.eligibility.neighbours import UNTOLD, Neighbours
from allocator.eligibility.node import NodeFacts
from allocator.eligibility.node_selector import NodeSelectorRequirement
from allocator.eligibility.placed_pods import PlacedPod, PlacedPods
from allocator.eligibility.pod_selector import LabelSelector, PodSelector
from allocator.eligibility.topology import Topology
from allocator.eligibility.verdict import Ineligible, judge

APP = PlacedPod("default", pod_selector.packed({"app": "x"}))
SELECTS = PodSelector(("default",), LabelSelector((NodeSelectorRequirement("app", "In", ("x",)),)))
BY_TEAM = LabelSelector((NodeSelectorRequirement("team", "In", ("a",)),))
NOTHING = Amounts()
ZONES = {name: NodeFacts(name, labels={"zone": name[0]}) for name in ("a1", "a2", "b1")}


def _reason(asked: PodConstraints, placed: PlacedPods, node: str, itself: PlacedPod = APP) -> Ineligible | None:
    return judge(replace(asked, requests=NOTHING), ZONES[node], None, _others(asked, placed, itself)).reason


def _others(asked: PodConstraints, placed: PlacedPods, itself: PlacedPod = APP) -> Neighbours:
    return Neighbours(asked, itself, placed, Topology(ZONES))


def test_a_hold_gives_way_to_what_is_there() -> None:
    """A pod that was seen on a node stays there, whatever is held or released; an event does not end a hold."""
    placed = PlacedPods()
    placed.hold("u", APP, "a1")
    placed.leave("u")
    assert placed.node_of("u") == "a1"
    placed.put("u", APP, "b1")
    placed.hold("u", APP, "a1")
    placed.release("u")
    assert placed.node_of("u") == "b1"
    placed.leave("u")
    assert (placed.node_of("u"), len(placed)) == ("", 0)
    placed.check()


def test_a_terminating_pod_counts_for_affinity_and_not_for_spread() -> None:
    """As kube-scheduler counts: a pod on its way out is a neighbour still, and no member of a domain."""
    placed = PlacedPods()
    placed.put("u", replace(APP, terminating=True), "a1")
    spread = PodConstraints(spread=(SpreadConstraint("zone", 1, SELECTS, True),))
    apart = PodConstraints(anti_affinity=(PodAffinityTerm("zone", SELECTS, True),))
    assert _reason(spread, placed, "a2") is None
    assert _reason(apart, placed, "a2") is Ineligible.INTER_POD_AFFINITY
    placed.put("u", APP, "a1")
    assert _reason(spread, placed, "a2") is Ineligible.POD_TOPOLOGY_SPREAD
    assert _reason(spread, placed, "b1") is None


@pytest.mark.parametrize(
    ("asked", "other"),
    [
        (PodAffinityTerm("zone", PodSelector((), SELECTS.labels, BY_TEAM)), APP),
        (PodAffinityTerm("zone", SELECTS), PlacedPod("default", None)),
    ],
)
def test_what_cannot_be_told_of_others_is_named(asked: PodAffinityTerm, other: PlacedPod) -> None:
    """Namespaces by labels of their own, and pods whose labels are not kept, refuse nobody and are named."""
    placed = PlacedPods()
    placed.put("u", other, "a1")
    apart = PodConstraints(anti_affinity=(asked,))
    said = judge(replace(apart, requests=NOTHING), ZONES["a2"], None, _others(apart, placed))
    assert said.eligible
    assert UNTOLD in said.unjudged


def test_what_could_not_be_read_of_others_is_named() -> None:
    """A pod whose anti-affinity is too large may keep any pod away: every answer says so while it is there."""
    placed = PlacedPods()
    placed.put("u", replace(APP, unread="the affinity of others"), "a1")
    plain = PodConstraints(requests=NOTHING)
    assert "the affinity of others" in judge(plain, ZONES["b1"], None, _others(plain, placed)).unjudged
    placed.leave("u")
    assert placed.unread == {}


def test_without_the_other_pods_their_rules_are_named() -> None:
    """Where nothing is known of others, what a pod asks of them is not judged and named."""
    asked = PodConstraints(
        spread=(SpreadConstraint("zone", 1, SELECTS, True),),
        affinity=(PodAffinityTerm("zone", SELECTS),),
        anti_affinity=(PodAffinityTerm("zone", SELECTS),),
        host_ports=(HostPort(80),),
    )
    names = ("inter-pod affinity", "inter-pod anti-affinity", "topology spread", "host ports")
    assert judge(asked, NodeFacts("n", allocatable=asked.requests)).unjudged[:4] == names


def test_only_pods_in_question_change_an_answer() -> None:
    """Pods of other namespaces than those asked about leave an answer as it was; a port may be anybody's."""
    placed, apart = PlacedPods(), PodConstraints(anti_affinity=(PodAffinityTerm("zone", SELECTS),))
    ports = PodConstraints(host_ports=(HostPort(80),))
    before = placed.changes_for(apart), placed.changes_for(ports)
    placed.put("u", PlacedPod("other"), "a1")
    assert placed.changes_for(apart) == before[0]
    assert placed.changes_for(ports) > before[1]
    placed.put("v", APP, "a1")
    assert placed.changes_for(apart) > before[0]


def test_pods_that_keep_others_away_are_known_by_namespace() -> None:
    """A namespace is kept from as long as there is a pod whose anti-affinity is about it."""
    placed = PlacedPods()
    assert not placed.keeps_away_from("default")
    placed.put("u", PlacedPod("other", anti_affinity=(PodAffinityTerm("zone", SELECTS),)), "a1")
    assert placed.keeps_away_from("default")
    assert not placed.keeps_away_from("other")
    placed.leave("u")
    assert not placed.keeps_away_from("default")


@pytest.mark.parametrize(
    ("one", "other", "conflict"),
    [
        (HostPort(80), HostPort(80), True),
        (HostPort(80, "UDP"), HostPort(80), False),
        (HostPort(80, address="10.0.0.1"), HostPort(80, address="10.0.0.2"), False),
        (HostPort(80, address="10.0.0.1"), HostPort(80), True),
        (HostPort(80), HostPort(81), False),
    ],
)
def test_ports_conflict_by_number_protocol_and_address(one: HostPort, other: HostPort, conflict: bool) -> None:
    """Every address includes each one."""
    assert one.conflicts(other) is other.conflicts(one) is conflict
