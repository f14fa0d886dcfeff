"""Why there is no repack: the one rule without which there would be, or that there is no way, or that it is open."""

from collections.abc import Collection
from dataclasses import replace

import pytest

from allocator.claims.snapshot_file import PodFacts, Saved
from allocator.planning.packing.program import SolveStatus
from allocator.planning.packing.relocation import RelocationProblem, RelocationSolution
from allocator.planning.repack import problem, reasons
from allocator.planning.repack.problem import RepackLimits, Rule
from allocator.planning.repack.reasons import Solved
from tests import plain_answers
from tests.clusters import ClusterBuilder, cluster

FOUR = {"requests": [{"profiles": {"4g.20gb": 1}}]}
PRIORITY = Rule.PRIORITY.value
MOVABLE = f"{Rule.MOVABLE.value} (1: it is not marked movable)"


def one_gpu() -> ClusterBuilder:
    return cluster().node("n1").gpu()


@pytest.mark.parametrize(
    ("saved", "reason"),
    [
        (one_gpu().pod("a", "3g.20gb@0", movable=True, priority=5).saved(), f"kept from it by {PRIORITY}"),
        (one_gpu().pod("a", "3g.20gb@0", movable=False).saved(), f"kept from it by {MOVABLE}"),
        (
            one_gpu().pod("a", "3g.20gb@0", movable=False, priority=5).saved(),
            f"kept from it by {PRIORITY} and {MOVABLE} together",
        ),
        (
            one_gpu().pod("a", "3g.20gb@0", movable=True, state="reserved").saved(),
            f"kept from it by {Rule.SETTLED.value}",
        ),
        (one_gpu().foreign("1g.5gb@0").saved(), f"kept from it by {Rule.FOREIGN.value}"),
    ],
)
def test_only_what_keeps_it_is_named(saved: Saved, reason: str) -> None:
    """Each rule is tried alone before several are; a rule that keeps nothing is not named."""
    answer = plain_answers.repack(FOUR, saved)
    assert (answer["possible"], answer["reason"]) == (False, reason)


def test_what_keeps_pods_is_told_with_how_many_it_keeps() -> None:
    """The most frequent reasons come first, three at most, and it is said that there are more."""
    whys = ("by the first", "by a second", "by a third", "by the first", "by a fourth")
    held = one_gpu()
    for number in range(len(whys)):
        held = held.pod(f"p{number}", f"1g.5gb@{number % 3}", movable=False)
        held = held.gpu() if number == 2 else held
    saved = held.saved()
    facts = {f"uid-p{start}": PodFacts(kept=why) for start, why in enumerate(whys)}
    question = {"requests": [{"profiles": {"7g.40gb": 1}}], "budgets": {"moves": 5}}
    answer = plain_answers.repack(question, replace(saved, pods=facts))
    told = "2: by the first; 1: by a fourth; 1: by a second; 1 more reason"
    assert answer["reason"] == f"kept from it by {Rule.MOVABLE.value} ({told})"


def test_a_pod_of_which_nothing_is_known_is_not_called_unmarked() -> None:
    """Unknown is not no: a slice whose pod has no facts stays, and that is what is told."""
    saved = replace(one_gpu().pod("a", "3g.20gb@0", movable=False).saved(), pods={})
    answer = plain_answers.repack(FOUR, saved)
    assert answer["reason"] == f"kept from it by {Rule.MOVABLE.value} (1: nothing is known of it)"


def test_a_deadlock_is_no_want_of_room() -> None:
    """Where the GPUs could hold all of it but no restart can go first, that is the reason."""
    saved = one_gpu().pod("a", "3g.20gb@0", movable=True).pod("b", "2g.10gb@4", movable=True).saved()
    request = {"requests": [{"profiles": {"1g.5gb": 1}, "count": 2}]}
    answer = plain_answers.repack(request, saved)
    assert answer["possible"] is False
    assert answer["reason"].startswith("no order of restarts leads there: the GPUs could hold all of it")
    after = plain_answers.capacity({"profiles": ["1g.5gb"]}, saved)["profiles"]["1g.5gb"]["after_repack"]
    assert after == 2


def test_an_undecided_search_proves_nothing() -> None:
    """A search for the reason that ends without a result is called undecided, not a proof."""
    saved = one_gpu().pod("a", "3g.20gb@0", movable=False).saved()

    def without(ignored: Collection[Rule], _: float) -> Solved:
        fleet = problem.build(saved, RepackLimits(10), ignored)
        return Solved(fleet, RelocationProblem(fleet.bins, ()), RelocationSolution(SolveStatus.UNKNOWN))

    said = reasons.why_not(saved, RepackLimits(10), without, 1.0)
    assert "was not decided within 1 s" in said
    assert "cannot hold" not in said


def wide_fleet(gpus: int) -> Saved:
    """One GPU that two pods of a service hold, and full ones; somewhere a movable pod has no service."""
    built = cluster().node("n0").gpu()
    built = built.pod("a", "1g.5gb@0", movable=True, service="Deployment/x")
    built = built.pod("b", "1g.5gb@4", movable=True, service="Deployment/x")
    for number in range(gpus):
        built = built.node(f"n{number + 1:03}").gpu()
        built = built.pod(f"big-{number}", "4g.20gb@0").pod(f"rest-{number}", "2g.10gb@4")
    return built.pod("single", "1g.5gb@6", movable=True).saved()


@pytest.mark.parametrize("gpus", [10, 80])
def test_budgets_of_some_pods_prove_it_on_large_fleets_too(gpus: int) -> None:
    """A budget that not every pod draws on makes a repack impossible on eighty GPUs as on ten."""
    document = {"requests": [{"profiles": {"7g.40gb": 1}}], "budgets": {"pods_per_service": 1}}
    answer = plain_answers.repack(document, wide_fleet(gpus))
    assert answer["possible"] is False
    assert answer["reason"].startswith("kept from it by the budgets")


def test_an_open_question_says_whether_time_would_help() -> None:
    """More time is only advised where the time ran out."""
    asked = RelocationProblem((), ())
    in_time = reasons.undecided(asked, RelocationSolution(SolveStatus.UNKNOWN, seconds=0.1), 10)
    late = reasons.undecided(asked, RelocationSolution(SolveStatus.UNKNOWN, seconds=9), 10)
    assert "More time does not help" in in_time
    assert late.endswith("the time limit of 10 s came first; allow more time")
