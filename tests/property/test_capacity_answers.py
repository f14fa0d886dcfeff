"""Capacity answers against slow and obvious ones, and what they say of small clusters by name."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator import errors
from allocator.claims.ledger import ClaimState
from allocator.claims.snapshot_file import PodFacts, Saved
from allocator.mig import geometry, gpu_models
from allocator.mig.profile import Placement
from allocator.placement import fitting
from allocator.planning.packing.relocation import Bin, MovableJob, RelocationProblem
from tests import plain_answers, relocation_oracle
from tests.clusters import ClusterBuilder, cluster

SMALL = ("a30-24gb", "a100-40gb", "rtx-pro-6000-blackwell-96gb")


@st.composite
def clusters(draw: st.DrawFn) -> Saved:
    """One to three GPUs on one or two nodes, with pods of one slice each."""
    built = cluster()
    pods = 0
    for number in range(draw(st.integers(1, 3))):
        if number == 0 or draw(st.booleans()):
            built = built.node(f"n{number}")
        kind = geometry.compiled(gpu_models.find(draw(st.sampled_from(SMALL))))
        built = built.gpu(kind.catalogue)
        there: list[Placement] = []
        for one in draw(st.lists(st.sampled_from(kind.placements), max_size=4)):
            if kind.step[kind.state_of(there)][kind.placement_index[one]] >= 0:
                there.append(one)
                built = _pod(draw, built, pods, one)
                pods += 1
    return built.saved()


def _pod(draw: st.DrawFn, built: ClusterBuilder, number: int, one: Placement) -> ClusterBuilder:
    how = draw(st.sampled_from(["pod", "movable", "idle", "foreign"]))
    if how == "idle":
        return built.idle(str(one))
    if how == "foreign":
        return built.foreign(str(one))
    return built.pod(f"p{number}", str(one), movable=how == "movable")


def _standing(saved: Saved, *, without_movable: bool) -> tuple[list[list[Placement]], Counter[str]]:
    """Slices that stay per GPU, and the movable ones by profile."""
    stay: list[list[Placement]] = []
    moving = Counter[str]()
    for gpu in saved.snapshot.gpus():
        stay.append([])
        for one in gpu.occupants:
            if one.state == "idle":
                continue
            if without_movable and saved.pods.get(one.uid, PodFacts()).movable:
                moving[one.placement.profile] += 1
            else:
                stay[-1].append(one.placement)
    return stay, moving


@given(clusters())
def test_counts_are_those_of_trying_one_more(saved: Saved) -> None:
    """As many more of each profile fit as trying finds, now and with every movable pod placed anew."""
    kinds = [geometry.compiled(gpu.catalogue) for gpu in saved.snapshot.gpus() if gpu.catalogue]
    now, _ = _standing(saved, without_movable=False)
    stay, moving = _standing(saved, without_movable=True)
    answer = plain_answers.capacity({}, saved)["profiles"]
    assert set(answer) == {name for kind in kinds for name in kind.profiles}
    for name, found in answer.items():
        assert found["proven"]
        for slices, others, said in ((now, Counter[str](), found["now"]), (stay, moving, found["after_repack"])):
            states = [(kind, kind.state_of(there)) for kind, there in zip(kinds, slices, strict=True)]
            most = next(n for n in range(40) if not fitting.fits(states, others + Counter({name: n + 1})))
            assert said == most


@given(clusters(), st.data())
def test_pods_fit_together_exactly_if_trying_finds_a_way(saved: Saved, data: st.DataObject) -> None:
    """A list of pods is said to fit exactly if trying every place finds a way, and the extra GPUs are the fewest."""
    kinds = [geometry.compiled(gpu.catalogue) for gpu in saved.snapshot.gpus() if gpu.catalogue]
    offered = sorted({name for kind in kinds for name in kind.profiles})
    wanted = data.draw(st.lists(st.lists(st.sampled_from(offered), min_size=1, max_size=2), min_size=1, max_size=3))
    requests = [{"profiles": dict(Counter(profiles))} for profiles in wanted]
    found = plain_answers.capacity({"profiles": [], "requests": requests}, saved)["requests"]
    now, _ = _standing(saved, without_movable=False)
    nodes = [gpu.node for gpu in saved.snapshot.gpus()]
    bins = tuple(Bin(k, tuple(s), nodes.index(n)) for k, s, n in zip(kinds, now, nodes, strict=True))
    asked = RelocationProblem(bins, (), tuple(MovableJob(tuple(profiles)) for profiles in wanted))
    assert found["fit"] is relocation_oracle.answers(asked, [])
    if found["fit"]:
        places = [
            (one["gpu"], one["profile"], one["start"]) for placed in found["placements"] for one in placed["slices"]
        ]
        assert Counter(profile for _, profile, _ in places) == Counter(p for profiles in wanted for p in profiles)
        for gpu, kind, there in zip(saved.snapshot.gpus(), kinds, now, strict=True):
            new = [kind.catalogue.placement(profile, start) for uuid, profile, start in places if uuid == gpu.uuid]
            kind.state_of([*there, *new])
    for change in found["changes"]:
        if change["kind"] == "gpus" and all(len(profiles) == 1 for profiles in wanted):
            kind = geometry.compiled(gpu_models.find(change["model"]))
            for gpus in (change["gpus"] - 1, change["gpus"]):
                more = tuple(Bin(kind, (), 100 + number) for number in range(gpus))
                enough = relocation_oracle.answers(RelocationProblem(bins + more, (), asked.requests), [])
                assert enough == (gpus == change["gpus"])


def full() -> ClusterBuilder:
    """One GPU with a movable 3g on its left half and something that stays on its right."""
    return cluster().node("n1").gpu().pod("a", "3g.20gb@0", movable=True)


def test_the_smallest_change_is_moving_a_pod() -> None:
    """Where a repack makes the pods fit it is proposed first, with the pods that restart."""
    found = plain_answers.capacity({"requests": [{"profiles": {"4g.20gb": 1}}]}, full().saved())["requests"]
    assert found["fit"] is False
    assert found["change"] == {"kind": "moves", "moves": 1, "gpc": 3, "pods": ["default/a"], "optimal": True}
    assert [change["kind"] for change in found["changes"]] == ["moves", "profile", "gpus"]


def test_another_profile_with_the_memory_asked_for_is_a_change() -> None:
    """A 4g that cannot be placed may become a 3g, which has its memory; never something smaller."""
    saved = full().pod("b", "1g.5gb@4").saved()
    found = plain_answers.capacity({"requests": [{"profiles": {"2g.10gb": 1}}, {"profiles": {"4g.20gb": 1}}]}, saved)
    assert [change["kind"] for change in found["requests"]["changes"]] == ["gpus"]
    right = cluster().node("n1").gpu().foreign("3g.20gb@0").saved()
    found = plain_answers.capacity({"requests": [{"profiles": {"4g.20gb": 1}}]}, right)
    assert found["requests"]["change"]["swaps"] == [{"from": "4g.20gb", "to": "3g.20gb", "count": 1}]


def test_more_nodes_add_their_room() -> None:
    """Counts with added nodes are those of today and of the empty GPUs together."""
    document = {"profiles": ["7g.40gb", "3g.20gb"], "add": {"model": "a100-40gb", "nodes": 2, "gpus_per_node": 4}}
    found = plain_answers.capacity(document, full().saved())["profiles"]
    assert found["7g.40gb"] == {
        "now": 0,
        "after_repack": 0,
        "proven": True,
        "with_added": 8,
        "with_added_after_repack": 8,
        "with_added_proven": True,
    }
    assert found["3g.20gb"]["with_added"] == 17


def test_a_described_fleet_needs_no_cluster() -> None:
    """A fleet described in the document is answered for without a snapshot."""
    fleet = [{"model": "a30-24gb", "nodes": 2, "gpus_per_node": 2}, {"model": "h100-80gb", "nodes": 1}]
    found = plain_answers.capacity({"fleet": fleet}, None)
    assert found["gpus"] == {"a30-24gb": 4, "h100-80gb": 8}
    assert found["profiles"]["4g.24gb"]["now"] == 4
    assert found["profiles"]["7g.80gb"]["now"] == 8


def test_an_empty_cluster_has_room_for_nothing() -> None:
    """A cluster without a usable GPU offers no profile, and says so when pods are asked about."""
    saved = cluster().node("n1").gpu(problem="unhealthy").saved()
    assert plain_answers.capacity({}, saved)["profiles"] == {}
    with pytest.raises(errors.InputError, match="no GPU that can be cut"):
        plain_answers.capacity({"requests": [{"profiles": {"1g.5gb": 1}}]}, saved)


def test_pods_on_their_way_out_still_hold_their_room() -> None:
    """Slices of a pod that is releasing them count as taken."""
    saved = cluster().node("n1").gpu().pod("a", "7g.40gb@0", state=ClaimState.RELEASING.value, movable=True).saved()
    assert plain_answers.capacity({"profiles": "1g.5gb"}, saved)["profiles"] == {
        "1g.5gb": {"now": 0, "after_repack": 0, "proven": True}
    }


def test_pods_that_only_fit_crosswise_are_placed() -> None:
    """Pods of one slice that the default policy would place one by one into a dead end are found their places."""
    first = cluster().node("n0").gpu().foreign("1g.5gb+me@3", "1g.5gb@6")
    saved = first.node("n1").gpu().foreign("1g.10gb@0", "2g.10gb@2", "1g.10gb@6").saved()
    wanted = [{"profiles": {name: 1}} for name in ("1g.5gb", "2g.10gb", "1g.5gb+me")]
    found = plain_answers.capacity({"profiles": [], "requests": wanted}, saved)["requests"]
    assert found["fit"] is True
    assert [one["slices"][0]["profile"] for one in found["placements"]] == ["1g.5gb", "2g.10gb", "1g.5gb+me"]
    assert found["placements"][2]["node"] == "n1"


def test_pods_of_several_slices_are_decided_exactly_or_not_at_all() -> None:
    """Pods with several slices that fit by count but on no one node are refused, or, past the exact size, left open."""
    saved = cluster().node("n0").gpu().foreign("4g.20gb@0").node("n1").gpu().foreign("4g.20gb@0").saved()
    document = {"profiles": [], "requests": [{"profiles": {"3g.20gb": 2}}]}
    assert plain_answers.capacity(document, saved)["requests"]["fit"] is False
    assert plain_answers.capacity(document, saved, exact_columns=0)["requests"]["fit"] is None


def test_more_gpus_come_as_nodes_large_enough() -> None:
    """A pod with several slices that no GPU holds gets a node with enough GPUs."""
    saved = cluster().node("n0").gpu().gpu().foreign("1g.5gb@0").saved()
    document = {"profiles": [], "requests": [{"profiles": {"7g.40gb": 2}}]}
    change = plain_answers.capacity(document, saved)["requests"]["change"]
    assert (change["kind"], change["gpus"], change["nodes"]) == ("gpus", 2, 1)


def test_pods_of_several_slices_stay_in_the_count() -> None:
    """A movable pod with two slices is not counted on to move."""
    saved = cluster().node("n1").gpu().pod("wide", "1g.5gb@0", "1g.5gb@4", movable=True).saved()
    assert plain_answers.capacity({"profiles": ["3g.20gb", "1g.5gb"]}, saved)["profiles"] == {
        "3g.20gb": {"now": 0, "after_repack": 0, "proven": True},
        "1g.5gb": {"now": 5, "after_repack": 5, "proven": True},
    }


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ([], "document"),
        ({"flee": []}, "flee"),
        ({"fleet": [{"model": "a100-40gb"}]}, "fleet[0].nodes"),
        ({"fleet": [{"model": "a100", "nodes": 1}]}, "fleet[0].model"),
        ({"fleet": [{"model": "a100-40gb", "nodes": -1}]}, "fleet[0].nodes"),
        ({"fleet": [{"model": "a100-40gb", "nodes": 1}] * 2}, "fleet"),
        ({"add": {"model": "a100-40gb", "nodes": 1, "gpus_per_node": 0}}, "add.gpus_per_node"),
        ({"profiles": ["9g.1gb"]}, "profiles[0]"),
        ({"requests": [{"profiles": {"9g.1gb": 1}}]}, "requests: request-1"),
    ],
)
def test_a_bad_document_is_refused_by_field(document: Any, field: str) -> None:
    """A capacity question that is not valid raises InputError naming the field."""
    with pytest.raises(errors.InputError) as caught:
        plain_answers.capacity(document, full().saved())
    assert caught.value.field == field


def test_without_fleet_or_snapshot_nothing_is_answered() -> None:
    """A question about no cluster at all is refused."""
    with pytest.raises(errors.InputError, match="describe a fleet"):
        plain_answers.capacity({}, None)
