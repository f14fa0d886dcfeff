"""Repack answers: moves in order, budgets and pods respected, and a reason where there is none."""

from dataclasses import replace
from typing import Any

import pytest

from allocator import errors
from allocator.claims.snapshot import Snapshot
from allocator.claims.snapshot_file import Saved
from tests import plain_answers
from tests.clusters import ClusterBuilder, cluster

ROOM_FOR_4G = {"requests": [{"name": "train", "profiles": {"4g.20gb": 1}}]}


def two_gpus(**facts: Any) -> ClusterBuilder:
    """Two pods whose 3g slices keep a 4g from either GPU."""
    first = cluster().node("n1").gpu().pod("a", "3g.20gb@0", **facts)
    return first.gpu().pod("b", "3g.20gb@0", **facts).pod("c", "1g.5gb@4", movable=True)


def moved(answer: dict[str, Any]) -> list[str]:
    return [move["pod"] for move in answer["moves"]]


def test_one_move_makes_room() -> None:
    """A 3g slice that blocks a 4g moves to the right half of its GPU, and the 4g is placed."""
    answer = plain_answers.repack(ROOM_FOR_4G, two_gpus(movable=True).saved())
    assert answer["possible"] is True
    assert answer["optimal"] is True
    assert moved(answer) == ["default/a"]
    assert answer["moves"][0]["slices"] == [
        {
            "container": "c0",
            "from": {"gpu": "n1-gpu-0", "profile": "3g.20gb", "start": 0},
            "to": {"gpu": "n1-gpu-0", "profile": "3g.20gb", "start": 4},
        }
    ]
    assert answer["cost"] == {"total": 4, "moves": 1, "gpc": 3, "pods": 1}
    assert answer["lower_bound"] == 4
    assert answer["placements"] == [
        {"request": "train", "node": "n1", "slices": [{"gpu": "n1-gpu-0", "profile": "4g.20gb", "start": 0}]}
    ]


def test_no_move_is_made_for_what_fits() -> None:
    """A request that fits as it is costs nothing."""
    answer = plain_answers.repack({"requests": [{"profiles": {"1g.5gb": 2}}]}, two_gpus(movable=True).saved())
    assert (answer["possible"], answer["moves"], answer["cost"]["total"]) == (True, [], 0)


@pytest.mark.parametrize(
    ("saved", "changes", "reason"),
    [
        (two_gpus(movable=False).saved(), {}, "not marked movable"),
        (two_gpus(movable=True, priority=10).saved(), {}, "higher priority"),
        (two_gpus(movable=True).saved(), {"budgets": {"moves": 0}}, "the budgets"),
        (two_gpus(movable=True).saved(), {"budgets": {"gpc": 2}}, "the budgets"),
        (two_gpus(movable=True, service="Deployment/x").saved(), {"budgets": {"pods_per_service": 0}}, "the budgets"),
        (two_gpus(movable=True).budget(0, "a", "b").saved(), {}, "the budgets"),
        (cluster().node("n1").gpu().foreign("4g.20gb@0").saved(), {}, "not even if every slice could be moved"),
        (cluster().node("n1").gpu("a100-40gb", problem="unhealthy").gpu().foreign("4g.20gb@0").saved(), {}, "not even"),
    ],
)
def test_a_refusal_says_what_keeps_it(saved: Saved, changes: dict[str, Any], reason: str) -> None:
    """Without a repack the answer names the first rule that stands in the way."""
    answer = plain_answers.repack({**ROOM_FOR_4G, **changes}, saved)
    assert answer["possible"] is False
    assert reason in answer["reason"]
    assert answer["moves"] == []
    assert answer["after"] is None


def test_a_budget_of_one_disruption_is_spent_once() -> None:
    """A PodDisruptionBudget that allows one disruption lets one of its pods move, not two."""
    saved = two_gpus(movable=True).budget(1, "a", "b").saved()
    one = plain_answers.repack(ROOM_FOR_4G, saved)
    assert len(moved(one)) == 1
    two = plain_answers.repack({"requests": [{"profiles": {"4g.20gb": 1}, "count": 2}]}, saved)
    assert two["possible"] is False


def test_pods_of_equal_priority_may_move() -> None:
    """A repack on behalf of a priority may move pods of that priority."""
    saved = two_gpus(movable=True, priority=10).saved()
    assert plain_answers.repack({**ROOM_FOR_4G, "priority": 10}, saved)["possible"] is True


def test_the_cheaper_pod_moves() -> None:
    """Of two ways to make room the one that restarts fewer compute slices is taken."""
    saved = (
        cluster()
        .node("n1")
        .gpu()
        .pod("large", "3g.20gb@0", movable=True)
        .foreign("1g.5gb@4")
        .gpu()
        .pod("small", "1g.5gb@0", movable=True)
        .foreign("3g.20gb@4")
        .gpu()
        .foreign("4g.20gb@0")
        .saved()
    )
    answer = plain_answers.repack(ROOM_FOR_4G, saved)
    assert moved(answer) == ["default/small"]
    assert answer["cost"]["total"] == 2


def test_a_pod_that_is_settling_stays() -> None:
    """A pod that is only reserved, or is releasing its slices, is not moved even if marked movable."""
    for state in ("reserved", "releasing", "unclaimed"):
        saved = cluster().node("n1").gpu().pod("a", "3g.20gb@0", state=state, movable=True).saved()
        assert plain_answers.repack(ROOM_FOR_4G, saved)["possible"] is False


def test_idle_slices_are_room() -> None:
    """A warm slice that nobody owns stands in nobody's way."""
    saved = cluster().node("n1").gpu().idle("3g.20gb@0", "1g.5gb@4").saved()
    answer = plain_answers.repack(ROOM_FOR_4G, saved)
    assert (answer["possible"], answer["cost"]["total"]) == (True, 0)


def test_gpus_are_emptied_beside_those_that_are() -> None:
    """Emptying one GPU means one more than are empty now, at the least restarts."""
    saved = (
        cluster()
        .node("n1")
        .gpu()
        .pod("a", "1g.5gb@0", movable=True)
        .pod("b", "1g.5gb@2", movable=True)
        .gpu()
        .pod("c", "2g.10gb@0", movable=True)
        .gpu()
        .saved()
    )
    answer = plain_answers.repack({"empty": {"gpus": 1}, "prices": {"a100-40gb": 2.5}}, saved)
    assert moved(answer) == ["default/c"]
    assert answer["emptied"] == ["n1-gpu-1"]
    assert (answer["before"]["gpus_empty"], answer["after"]["gpus_empty"]) == (1, 2)
    assert (answer["before"]["cost"], answer["after"]["cost"]) == (5, 2.5)
    assert answer["before"]["fragmentation"] > answer["after"]["fragmentation"]


def test_a_node_is_emptied() -> None:
    """All GPUs of a node can be asked to be empty; its pods go to other nodes."""
    saved = cluster().node("n1").gpu().pod("a", "7g.40gb@0", movable=True).gpu().node("n2").gpu().saved()
    answer = plain_answers.repack({"empty": {"nodes": ["n1"]}}, saved)
    assert [(move["pod"], move["to_node"]) for move in answer["moves"]] == [("default/a", "n2")]
    assert answer["emptied"] == ["n1-gpu-0"]


def test_a_pod_with_slices_on_two_gpus_moves_whole() -> None:
    """A pod that holds slices on two GPUs restarts with all of them, on one node."""
    saved = (
        cluster()
        .node("n1")
        .gpu()
        .pod("wide", "1g.5gb@0", movable=True)
        .gpu()
        .pod("wide", "1g.5gb@0", movable=True)
        .node("n2")
        .gpu()
        .saved()
    )
    answer = plain_answers.repack({"empty": {"nodes": ["n1"]}}, saved)
    assert len(answer["moves"]) == 1
    assert answer["cost"] == {"total": 3, "moves": 1, "gpc": 2, "pods": 1}
    assert {one["to"]["gpu"] for one in answer["moves"][0]["slices"]} == {"n2-gpu-0"}


def test_a_pod_with_several_slices_is_placed_on_one_node() -> None:
    """Room for a pod with two slices is made on one node, not on two."""
    saved = (
        cluster()
        .node("n1")
        .gpu()
        .pod("a", "1g.5gb@0", movable=True)
        .node("n2")
        .gpu()
        .pod("b", "1g.5gb@0", movable=True)
        .gpu()
        .saved()
    )
    answer = plain_answers.repack({"requests": [{"profiles": {"7g.40gb": 2}}]}, saved)
    assert moved(answer) == ["default/b"]
    assert answer["placements"][0]["node"] == "n2"


def test_pods_that_block_each_other_park() -> None:
    """Where two pods must swap places, one of them parks elsewhere first and moves twice."""
    saved = (
        cluster()
        .node("n1")
        .gpu()
        .pod("double", "1g.10gb@0", movable=True)
        .foreign("2g.10gb@2", "2g.10gb@4")
        .pod("single", "1g.5gb@6", movable=True)
        .node("n2")
        .gpu()
        .saved()
    )
    answer = plain_answers.repack({"requests": [{"profiles": {"1g.5gb": 1}}], "empty": {"nodes": ["n2"]}}, saved)
    assert moved(answer) == ["default/single", "default/double", "default/single"]
    assert (answer["optimal"], answer["cost"]["pods"]) == (True, 2)


@pytest.mark.parametrize(
    ("document", "field"),
    [
        (None, "document"),
        ({}, "requests"),
        ({"request": []}, "request"),
        ({"requests": [{"profiles": {}}]}, "requests[0].profiles"),
        ({"requests": [{"profiles": {"1g.5gb": -1}}]}, "requests[0].profiles.1g.5gb"),
        ({"requests": [{"profiles": {"1g.5gb": 129}}]}, "requests[0].profiles.1g.5gb"),
        ({"requests": [{"name": "x", "profiles": {"1g.24gb": 1}}]}, "requests: x"),
        ({"requests": [{"profiles": {"1g.5gb": 1}, "count": 1001}]}, "requests[0].count"),
        ({"requests": [{"profiles": {"1g.5gb": 1}, "count": 600}] * 2}, "requests"),
        ({"empty": {"nodes": ["n9"]}}, "empty.nodes[0]"),
        ({"empty": {"gpus": -1}}, "empty.gpus"),
        ({**ROOM_FOR_4G, "budgets": {"moves": 201}}, "budgets.moves"),
        ({**ROOM_FOR_4G, "budgets": {"restarts": 1}}, "budgets.restarts"),
        ({**ROOM_FOR_4G, "priority": "high"}, "priority"),
        ({**ROOM_FOR_4G, "prices": {"h100-80gb": 1}}, "prices"),
    ],
)
def test_a_bad_document_is_refused_by_field(document: Any, field: str) -> None:
    """A repack that is not valid raises InputError naming the field."""
    with pytest.raises(errors.InputError) as caught:
        plain_answers.repack(document, two_gpus().saved())
    assert caught.value.field == field
    assert caught.value.fix


@pytest.mark.parametrize(("namespace", "possible"), [("default", False), ("other", True)])
def test_services_of_one_name_in_two_namespaces_are_two(namespace: str, possible: bool) -> None:
    """Restarts per service are counted by namespace and service."""
    facts: dict[str, Any] = {"movable": True, "service": "Deployment/x"}
    saved = cluster().node("n1").gpu().pod("a", "3g.20gb@0", **facts).gpu().pod("b", "3g.20gb@0", **facts).saved()
    (node,) = saved.snapshot.nodes
    moved_out = tuple(
        replace(
            gpu, occupants=tuple(replace(o, namespace=namespace if o.pod == "b" else "default") for o in gpu.occupants)
        )
        for gpu in node.gpus
    )
    asked = {"requests": [{"profiles": {"4g.20gb": 1}, "count": 2}], "budgets": {"pods_per_service": 1}}
    answer = plain_answers.repack(asked, replace(saved, snapshot=Snapshot((replace(node, gpus=moved_out),))))
    assert answer["possible"] is possible


def test_notes_of_the_snapshot_are_repeated() -> None:
    """What could not be found out about the cluster is said in the answer."""
    saved = two_gpus(movable=True).saved()
    noted = replace(saved, notes=("no budgets",))
    assert plain_answers.repack(ROOM_FOR_4G, noted)["notes"][0] == "no budgets"
    assert plain_answers.capacity({}, noted)["notes"][0] == "no budgets"


def pair(gpus: int) -> Saved:
    """A pod whose one container has slices on both GPUs of a node, and another node with so many empty GPUs."""
    built = cluster().node("n1").gpu().pod("pair", "3g.20gb@0", container="main", movable=True)
    built = built.gpu().pod("pair", "3g.20gb@0", container="main").node("n2")
    for _ in range(gpus):
        built = built.gpu()
    return built.saved()


@pytest.mark.parametrize("gpus", [1, 2, 3, 4])
def test_slices_of_one_container_are_moved_apart(gpus: int) -> None:
    """Of the ends that cost the same the one is taken in which they lie on different GPUs, if there is one."""
    answer = plain_answers.repack({"empty": {"nodes": ["n1"]}}, pair(gpus))
    assert answer["possible"] is True
    assert answer["optimal"] is True
    (move,) = answer["moves"]
    assert answer["cost"]["total"] == 7
    assert len({slice_["to"]["gpu"] for slice_ in move["slices"]}) == min(gpus, 2)


@pytest.mark.parametrize(("movable", "gpus"), [(False, 2), (True, 2), (True, 3)])
def test_slices_of_a_request_are_placed_apart(movable: bool, gpus: int) -> None:
    """The slices of one request are taken to be one container's, whether anything must move for them or not."""
    built = cluster().node("n1")
    for number in range(gpus):
        built = built.gpu().pod(f"p{number}", "3g.20gb@0", movable=movable)
    answer = plain_answers.repack({"requests": [{"profiles": {"4g.20gb" if movable else "3g.20gb": 2}}]}, built.saved())
    assert answer["possible"] is True
    assert len(answer["moves"]) == (2 if movable else 0)
    (placed,) = answer["placements"]
    assert len({slice_["gpu"] for slice_ in placed["slices"]}) == 2
