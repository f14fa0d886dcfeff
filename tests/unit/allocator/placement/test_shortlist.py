"""The shortlist: the best nodes for a request, beside the pods that are on their way to them."""

import random

import pytest

from allocator.mig import geometry, gpu_models
from allocator.placement import policy
from allocator.placement.fleet import Fleet
from allocator.placement.shortlist import rank, shortlist
from tests import builders


def fleet_of(by: str = "mfi", **taken: str) -> Fleet:
    """Nodes with one A100-40GB each, on which a slice of this profile starts at 0."""
    compiled = geometry.compiled(gpu_models.find("a100-40gb"))
    fleet = Fleet(policy.find(by))
    for name, profile in taken.items():
        fleet.put(name, [(compiled, compiled.state_of([builders.placement(profile, 0)]))])
    return fleet


def test_nodes_that_incoming_pods_take_do_not_hide_those_that_are_left() -> None:
    """However short the list, the nodes behind those whose room is spoken for are looked at too."""
    fleet = fleet_of(**{f"n{number}": "4g.20gb" for number in range(6)})
    incoming = {f"n{number}": [builders.request("3g.20gb")] for number in range(4)}
    nodes = list(fleet.rows)
    assert list(shortlist(fleet, builders.request("3g.20gb"), nodes, 1, incoming=incoming).nodes) == ["n4"]
    assert list(shortlist(fleet, builders.request("3g.20gb"), nodes, 3, incoming=incoming).nodes) == ["n4", "n5"]


def test_a_node_whose_room_is_spoken_for_comes_last_but_is_offered() -> None:
    """Incoming pods rank a node, they never refuse it: their Bindings may not come."""
    fleet = fleet_of(n0="4g.20gb", n1="7g.40gb")
    best = shortlist(
        fleet, builders.request("3g.20gb"), ["n0", "n1"], 3, incoming={"n0": [builders.request("3g.20gb")]}
    )
    assert (list(best.nodes), best.unique) == (["n0"], True)


@pytest.mark.parametrize("by", ["first-fit", "round-robin"])
def test_a_policy_that_goes_by_turn_keeps_the_turns_beside_incoming_pods(by: str) -> None:
    """A node with room beside its incoming pods does not come before a node whose turn is earlier."""
    fleet = fleet_of(by, n0="7g.40gb", n1="4g.20gb", n2="4g.20gb")
    incoming = {"n2": [builders.request("1g.5gb")]}
    nodes = ["n0", "n1", "n2"]
    assert [ranked.node for ranked in rank(fleet, builders.request("1g.5gb"), nodes, incoming=incoming)] == ["n1", "n2"]
    assert list(shortlist(fleet, builders.request("1g.5gb"), nodes, 1, incoming=incoming).nodes) == ["n1"]


@pytest.mark.parametrize("by", ["mfi", "best-fit", "first-fit", "round-robin"])
def test_both_ways_to_a_shortlist_lead_to_the_same(by: str) -> None:
    """The fast path of the usual case and the one beside incoming pods name the same nodes, and agree who is alone."""
    chance = random.Random(5)
    uniques = set()
    for _ in range(60):
        taken = {f"n{number}": chance.choice(["1g.5gb", "3g.20gb", "4g.20gb", "7g.40gb"]) for number in range(6)}
        fleet = fleet_of(by, **taken)
        nodes = ["stranger", *chance.sample(list(taken), chance.randint(1, 6))]
        request, count = builders.request(chance.choice(["1g.5gb", "2g.10gb", "3g.20gb"])), chance.randint(1, 4)
        fast = shortlist(fleet, request, nodes, count)
        beside = shortlist(fleet, request, nodes, count, incoming={"elsewhere": [builders.request("1g.5gb")]})
        assert (list(fast.nodes), fast.unique) == (list(beside.nodes), beside.unique)
        uniques.add(fast.unique)
    assert uniques == ({True} if fleet.by_turn else {True, False}), "turns are never equal"
