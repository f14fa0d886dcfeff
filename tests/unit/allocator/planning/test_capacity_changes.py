"""What capacity says of pods that do not fit: the changes that would make them, and of the others why there is none."""

import time
from typing import Any

import pytest

from tests import plain_answers
from tests.clusters import cluster

A100 = {"model": "a100-40gb", "nodes": 1, "gpus_per_node": 1}


def asked(fleet: list[dict[str, Any]], *requests: dict[str, Any], **document: Any) -> dict[str, Any]:
    """The part of the answer about pods together, on a described fleet."""
    options = {name: document.pop(name) for name in ("exact_columns", "time_limit_s") if name in document}
    whole = plain_answers.capacity(
        {"fleet": fleet, "profiles": [], "requests": list(requests), **document}, None, **options
    )
    answer: dict[str, Any] = whole["requests"]
    return answer


def of_kind(answer: dict[str, Any], kind: str) -> dict[str, Any] | None:
    return next((change for change in answer["changes"] if change["kind"] == kind), None)


def verdict(answer: dict[str, Any], kind: str) -> str | None:
    return next((entry["verdict"] for entry in answer["no_changes"] if entry["kind"] == kind), None)


def test_pods_that_fill_the_fleet_exactly_fit_at_once() -> None:
    """Where one pod after the other ends in a dead end, pods are dealt out node by node, in far less than the limit."""
    fleet = [{"model": "a100-40gb", "nodes": 3, "gpus_per_node": 8}]
    start = time.process_time()
    found = asked(
        fleet,
        {"name": "a", "profiles": {"3g.20gb": 1}, "count": 24},
        {"name": "b", "profiles": {"1g.5gb": 2}, "count": 48},
    )
    assert time.process_time() - start < 2
    assert found["fit"] is True
    used = [slice_["gpu"] for pod in found["placements"] for slice_ in pod["slices"]]
    assert len(used) == 24 + 2 * 48
    assert all(len({s["gpu"].rpartition("-gpu-")[0] for s in pod["slices"]}) == 1 for pod in found["placements"])


def test_no_proof_without_a_search_and_no_advice_while_it_is_open() -> None:
    """What is too large to decide is said to be, with what was tried; hardware is then named as an upper end only."""
    saved = cluster().node("n0").gpu().foreign("4g.20gb@0").node("n1").gpu().foreign("4g.20gb@0").saved()
    document = {"profiles": [], "requests": [{"profiles": {"3g.20gb": 2}}]}
    found = plain_answers.capacity(document, saved, exact_columns=0)["requests"]
    assert found["fit"] is None
    assert found["reason"].startswith("too large to decide exactly: pods asked for together 1, nodes 2.")
    assert "tried" in found["reason"]
    assert found["change"] is None
    assert verdict(found, "profile") == "not_looked_at"
    change = of_kind(found, "gpus")
    assert change is not None
    assert (change["at_least"], change["optimal"]) == (0, False)


def test_a_swap_across_models_goes_by_memory() -> None:
    """Memory slices of two models do not compare: where MiB are not published the GB of the names do."""
    fleet = [{**A100, "model": "b300-269gb"}, {**A100, "model": "a30-24gb"}]
    found = asked(fleet, {"profiles": {"7g.269gb": 1}, "count": 2})
    assert of_kind(found, "profile") is None
    assert verdict(found, "profile") == "none"
    found = asked(fleet, {"profiles": {"4g.135gb": 1}, "count": 2})
    change = of_kind(found, "profile")
    assert change is not None
    assert change["swaps"] == [{"from": "4g.135gb", "to": "3g.135gb", "count": 1}]


def test_a_swap_keeps_media_engines() -> None:
    """A pod that asks for media engines is not told to do without."""
    found = asked([{**A100, "model": "a100-40gb"}], {"profiles": {"1g.5gb+me": 1}, "count": 2})
    assert verdict(found, "profile") == "none"


def test_a_swap_is_chosen_node_by_node() -> None:
    """Where the slices would fit by count but on no one node, the swap that makes them fit is still found."""
    found = asked([{**A100, "nodes": 2}], {"profiles": {"4g.20gb": 2}})
    change = of_kind(found, "profile")
    assert change is not None
    assert change["swaps"] == [{"from": "4g.20gb", "to": "3g.20gb", "count": 1}]
    assert verdict(found, "gpus") == "none"


@pytest.mark.parametrize("add", [{}, {"add": {"model": "a100-40gb", "nodes": 3, "gpus_per_node": 1}}])
def test_gpus_are_counted_however_many_it_takes(add: dict[str, Any]) -> None:
    """The fewest more GPUs are found far above what counting slices says."""
    found = asked([A100], {"profiles": {"2g.10gb": 2}, "count": 14}, **add)
    assert of_kind(found, "gpus") == {
        "kind": "gpus",
        "model": "a100-40gb",
        "gpus": 13,
        "at_least": 13,
        "nodes": 13,
        "optimal": True,
    }


def test_several_kinds_of_wide_pods_get_the_gpus_that_they_need() -> None:
    """Many pods of two shapes on eighty GPUs: no, and how many more would do."""
    found = asked(
        [{"model": "a100-40gb", "nodes": 10, "gpus_per_node": 8}],
        {"profiles": {"3g.20gb": 1}, "count": 70},
        {"profiles": {"1g.5gb": 2}, "count": 100},
        {"profiles": {"2g.10gb": 1, "1g.5gb": 1}, "count": 60},
    )
    change = of_kind(found, "gpus")
    assert found["fit"] is False
    assert change is not None
    assert change["at_least"] <= change["gpus"] <= 6


def test_every_kind_without_a_change_has_a_verdict() -> None:
    """Each kind of change is there, or it is said why not: nothing vanishes."""
    found = asked([A100], {"profiles": {"7g.40gb": 1}, "count": 2})
    kinds = [change["kind"] for change in found["changes"]] + [entry["kind"] for entry in found["no_changes"]]
    assert sorted(kinds) == ["gpus", "moves", "profile"]
    assert all(entry["reason"] for entry in found["no_changes"])


def test_replicas_are_counted_alone_and_by_node() -> None:
    """How many pods like one fit now, on which nodes, however many were asked for."""
    saved = cluster().node("n0").gpu().gpu().foreign("4g.20gb@0").node("n1").gpu().saved()
    document = {
        "profiles": [],
        "replicas": True,
        "requests": [{"name": "wide", "profiles": {"3g.20gb": 1, "1g.5gb": 2}, "count": 5}],
    }
    (room,) = plain_answers.capacity(document, saved)["replicas"]
    assert room == {
        "request": "wide",
        "profiles": {"1g.5gb": 2, "3g.20gb": 1},
        "asked": 5,
        "now": 3,
        "proven": True,
        "nodes": {"n0": 2, "n1": 1},
    }


def test_with_added_nodes_says_whether_its_number_is_proven() -> None:
    """Both numbers after a repack have a flag of their own."""
    document = {"fleet": [A100], "add": A100, "profiles": ["3g.20gb"]}
    room = plain_answers.capacity(document, None)["profiles"]["3g.20gb"]
    assert (room["with_added_after_repack"], room["with_added_proven"]) == (4, True)
