"""What makes room for one pod: found where it is there, proven where it is not, the cheapest first."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator import errors
from allocator.claims import snapshot
from allocator.claims.bound_pod import BoundPod
from allocator.claims.inventory import Inventory
from allocator.claims.placement_annotation import Promise
from allocator.claims.snapshot_file import PodFacts, Saved
from allocator.mig import geometry, gpu_models
from allocator.placement import fitting
from allocator.planning import remedy
from allocator.planning.remedy.cluster import states
from allocator.planning.remedy.types import RemedyState
from tests.builders import node, request

Slice = tuple[int, str, int]  # GPU, profile, start
FACTS = PodFacts(movable=True)


def cluster(*nodes: Sequence[Slice], gpus: int = 1, facts: PodFacts = FACTS) -> Saved:
    """Nodes n0, n1, … of A100-40GB with a pod `p<node>-<number>` on each slice."""
    inventory, known = Inventory(), {}
    for number, slices in enumerate(nodes):
        builder = node(f"n{number}")
        for _ in range(gpus):
            builder = builder.gpu()
        inventory.nodes.add(builder.name)
        inventory.observe(builder.report())
        for index, (gpu, profile, start) in enumerate(slices):
            name = f"p{number}-{index}"
            promise = Promise("main", f"n{number}-gpu-{gpu}", profile, start)
            bound = BoundPod(f"uid-{name}", "default", name, builder.name, request(profile), (promise,))
            assert inventory.adopt(bound) is None
            known[f"uid-{name}"] = facts
    return Saved(snapshot.take(inventory), known)


def ask(saved: Saved, profiles: dict[str, int], **more: Any) -> dict[str, Any]:
    """The answer for a pod, as JSON has it."""
    document = {"pod": "default/waits", "profiles": profiles, **more}
    answer: dict[str, Any] = msgspec.to_builtins(remedy.answer(document, saved, 4.0))
    return answer


def ending(name: str, ends: str, *, terminating: bool) -> dict[str, Any]:
    """A pod that ends."""
    return {"uid": f"uid-{name}", "pod": f"default/{name}", "ends": ends, "terminating": terminating}


def kinds(answer: dict[str, Any]) -> list[str]:
    """What kinds of remedies there are, the cheapest first."""
    return [one["kind"] for one in answer["remedies"]]


FRAGMENTED = ([(0, "1g.5gb", 0)], [(0, "1g.5gb", 4)])


def test_moves_are_named() -> None:
    """Where a move makes room, the move, its target and the node that then has room are there; a node costs more."""
    answer = ask(cluster(*FRAGMENTED), {"7g.40gb": 1})
    assert (answer["state"], kinds(answer)) == ("found", ["moves", "nodes"])
    (move,) = answer["cheapest"]["moves"]
    assert {move["from_node"], move["to_node"]} == {"n0", "n1"}
    assert answer["cheapest"]["node"] == move["from_node"]
    assert answer["remedies"][1] == {"kind": "nodes", "nodes": 1, "model": "a100-40gb", "gpus_per_node": 1}
    assert len(answer["notes"]) == 1
    assert "on which nodes the pods may run is not known here" in answer["notes"][0]


def test_who_terminates_is_waited_for_first() -> None:
    """To wait for a pod on its way out is cheaper than any move, and nobody is waited for in vain."""
    saved = cluster([(0, "1g.5gb", 0), (0, "1g.5gb", 1)], [(0, "1g.5gb", 4)])
    leaving = [
        ending("p0-0", "2026-01-31T12:00:00Z", terminating=True),
        ending("p1-0", "2026-01-31T12:05:00Z", terminating=True),
    ]
    answer = ask(saved, {"7g.40gb": 1}, ending=leaving)
    expected = {"kind": "wait", "node": "n1", "pods": ["default/p1-0"], "until": "2026-01-31T12:05:00Z"}
    assert answer["cheapest"] == expected | {"terminating": True}


def test_a_deadline_is_waited_for_after_moves() -> None:
    """A pod that its deadline ends is a remedy, dearer than a move."""
    leaving = [ending("p0-0", "2026-01-31T18:00:00Z", terminating=False)]
    answer = ask(cluster(*FRAGMENTED), {"7g.40gb": 1}, ending=leaving)
    assert kinds(answer) == ["moves", "wait", "nodes"]
    assert answer["remedies"][1]["terminating"] is False


def test_another_profile_that_fits_now() -> None:
    """Where no 3g.20gb is left, a 4g.20gb serves: no less memory, and the least more."""
    answer = ask(cluster([(0, "3g.20gb", 4)], facts=PodFacts()), {"3g.20gb": 2}, moves=0)
    assert "profile" not in kinds(answer)  # there is one place for two
    saved = cluster([(0, "1g.10gb", 0), (0, "1g.10gb", 2), (0, "1g.10gb", 4), (0, "1g.5gb", 6)], facts=PodFacts())
    assert kinds(ask(saved, {"2g.10gb": 1}, moves=0)) == ["nodes"]
    saved = cluster([(0, "1g.5gb", 2), (0, "2g.10gb", 4), (0, "2g.10gb", 0)], facts=PodFacts())
    answer = ask(saved, {"2g.10gb": 1}, moves=0)
    assert answer["cheapest"]["kind"] == "profile"
    (swap,) = answer["cheapest"]["swaps"]
    assert (swap["from"], swap["to"]) == ("2g.10gb", "1g.10gb")


def test_why_there_are_no_moves() -> None:
    """Where pods may not move, the trial says so, and that it is proven."""
    answer = ask(cluster(*FRAGMENTED, facts=PodFacts()), {"7g.40gb": 1})
    trial = next(one for one in answer["trials"] if one["kind"] == "moves")
    assert trial["state"] == "none_exists"
    assert "not marked movable" in trial["reason"]


def test_nodes_left_out_prove_nothing() -> None:
    """What is not found among some of the nodes may exist on others."""
    answer = ask(cluster(*FRAGMENTED), {"7g.40gb": 1}, left_out=["n1"])
    trial = next(one for one in answer["trials"] if one["kind"] == "moves")
    assert trial["state"] == "none_found"
    assert trial["reason"].endswith("nodes left out, also as places for what moves, since it may not run there: 1")


def test_nothing_exists() -> None:
    """A profile that no model has: none exists, which is more than that none was found."""
    answer = ask(cluster(*FRAGMENTED), {"9g.999gb": 1})
    assert (answer["state"], answer["reason"], answer["cheapest"]) == ("none_exists", "none exists", None)


def test_a_profile_without_published_memory_is_replaced_by_none_that_is_smaller() -> None:
    """Where nobody has published a profile's MiB, the GB of the names compare: memory slices of two models do not."""
    answer = ask(cluster([]), {"1g.34gb": 1})
    (swap,) = next(one["swaps"] for one in answer["remedies"] if one["kind"] == "profile")
    assert (swap["from"], swap["to"]) == ("1g.34gb", "7g.40gb")


def test_a_profile_of_another_model() -> None:
    """A profile that the cluster does not offer: the model that has it, and what the cluster offers instead."""
    answer = ask(cluster([]), {"1g.12gb": 1})
    assert {"profile", "nodes"} == set(kinds(answer))
    catalogue = gpu_models.find(answer["remedies"][-1]["model"])
    assert "1g.12gb" in [profile.name for profile in catalogue.profiles]


def test_a_pod_that_fits_needs_nothing() -> None:
    """It is said where the pod fits."""
    answer = ask(cluster([]), {"7g.40gb": 1})
    assert (answer["state"], answer["reason"], answer["trials"]) == ("fits", "it fits on node n0", [])


def test_a_document_that_is_wrong_is_refused() -> None:
    """An unknown field is named."""
    with pytest.raises(errors.InputError, match="nodes_left"):
        ask(cluster([]), {"7g.40gb": 1}, nodes_left=[])


_PROFILES = ("1g.5gb", "1g.10gb", "2g.10gb", "3g.20gb", "4g.20gb", "7g.40gb")


@st.composite
def packed(draw: st.DrawFn) -> list[list[Slice]]:
    """Two nodes with one GPU each, filled with legal slices at random."""
    nodes = []
    for _ in range(2):
        kind = geometry.compiled(gpu_models.find("a100-40gb"))
        state, slices = geometry.Geometry.EMPTY, []
        for _ in range(draw(st.integers(1, 5))):
            legal = [
                (index, place)
                for index, place in enumerate(kind.placements)
                if kind.step[state][index] >= 0 and place.profile in _PROFILES
            ]
            if legal:
                index, place = draw(st.sampled_from(legal))
                state = int(kind.step[state][index])
                slices.append((0, place.profile, place.start))
        nodes.append(slices)
    return nodes


@settings(max_examples=40, deadline=None)
@given(packed(), st.sampled_from(_PROFILES), st.data())
def test_what_is_waited_for_makes_room(nodes: list[list[Slice]], profile: str, data: st.DataObject) -> None:
    """Without the pods waited for the request fits on that node, and without any one of them less it does not."""
    saved = cluster(*nodes, facts=PodFacts())
    names = [f"p{number}-{index}" for number, slices in enumerate(nodes) for index in range(len(slices))]
    leaving = data.draw(st.lists(st.sampled_from(names), unique=True)) if names else []
    document = [ending(name, f"2026-01-31T12:0{n % 10}:00Z", terminating=True) for n, name in enumerate(leaving)]
    answer = ask(saved, {profile: 1}, ending=document, moves=0)
    counts = {profile: 1}
    views = {view.name: view for view in saved.snapshot.nodes}
    if answer["state"] == RemedyState.FITS:
        return
    waits = [one for one in answer["remedies"] if one["kind"] == "wait"]
    gone = {f"uid-{name}" for name in leaving}
    assert bool(waits) == any(fitting.fits(states(view, gone), counts) for view in views.values())
    for remedy_ in waits:
        needed = {f"uid-{pod.partition('/')[2]}" for pod in remedy_["pods"]}
        assert fitting.fits(states(views[remedy_["node"]], needed), counts)
        assert not any(fitting.fits(states(views[remedy_["node"]], needed - {uid}), counts) for uid in needed)
