"""What a repack may spend is kept by the search: where the cheapest plan spends too much, another one is found."""

from typing import Any

import pytest

from allocator.claims.snapshot_file import Saved
from allocator.mig import gpu_models
from tests import plain_answers
from tests.clusters import cluster

SMALL = gpu_models.find("a100-40gb").profile("1g.5gb").memory_mib or 0
ROOM = {"requests": [{"profiles": {"7g.40gb": 1}}]}


def two_ways() -> Saved:
    """A whole GPU is free after one restart of `large` or two of `small`."""
    made = cluster().node("n1").gpu().pod("large", "2g.10gb@0", movable=True, service="Deployment/large")
    made = made.node("n2").gpu()
    for number in range(2):
        made = made.pod(f"small-{number}", f"1g.5gb@{number}", movable=True, service="Deployment/small")
    return made.saved()


def moved(budgets: dict[str, Any], saved: Saved) -> list[str]:
    """Who is restarted; nobody where that is not possible."""
    return sorted(move["pod"] for move in plain_answers.repack({**ROOM, "budgets": budgets}, saved)["moves"])


LARGE_POD, SMALL_PODS = ["default/large"], ["default/small-0", "default/small-1"]


@pytest.mark.parametrize(
    ("budgets", "expected"),
    [
        ({}, LARGE_POD),
        ({"memory_mib": 2 * SMALL}, SMALL_PODS),
        ({"memory_mib": 2 * SMALL - 1}, []),
        ({"pods_per_service": 2, "spent": {"default/Deployment/large": 2}}, SMALL_PODS),
        ({"pods_per_service": 2, "spent": {"default/Deployment/large": 2, "default/Deployment/small": 1}}, []),
        ({"pods_per_service": 2, "spent": {"other/Deployment/large": 2, "default/Deployment/larg": 2}}, LARGE_POD),
        ({"pods_per_namespace": 1}, LARGE_POD),
        ({"pods_per_namespace": 1, "spent": {"default/Job/other": 1}}, []),
        ({"pods_per_namespace": 1, "spent": {"defaul/Job/other": 1}}, LARGE_POD),
    ],
)
def test_another_plan_is_found_within_the_budgets(budgets: dict[str, Any], expected: list[str]) -> None:
    """Memory, and restarts of an owner and of a namespace, those spent before with them, choose the plan."""
    assert moved(budgets, two_ways()) == expected


@pytest.mark.parametrize(
    ("allowed", "one_at_a_time", "possible"), [(1, False, False), (1, True, True), (0, True, False)]
)
def test_a_disruption_budget_limits_restarts_at_once_or_in_all(
    allowed: int, possible: bool, *, one_at_a_time: bool
) -> None:
    """A budget that allows one pod to be away allows any number one after the other, and one that allows none, none."""
    made = cluster().node("n1").gpu()
    for number in range(2):
        made = made.pod(f"p{number}", f"2g.10gb@{2 * number}", movable=True)
    saved = made.node("n2").gpu().foreign("3g.20gb@4").budget(allowed, "p0", "p1").saved()
    assert bool(moved({"one_at_a_time": one_at_a_time}, saved)) is possible
