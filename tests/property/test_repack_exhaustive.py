"""Repacks against exhaustive search on small fleets: never dearer, never illegal, never a wrong no."""

from collections.abc import Callable

import pytest
from hypothesis import settings

from allocator.planning.packing import move_order, rearrangement, relocation
from allocator.planning.packing.program import SolveStatus
from allocator.planning.packing.relocation import RelocationProblem, RelocationSolution
from allocator.planning.repack import neighbourhood, search
from tests import relocation_oracle

INSTANCES = 2 * settings().max_examples  # of each family


def carried_out(asked: RelocationProblem, found: RelocationSolution) -> None:
    """Assert that the moves, carried out one by one, are legal, keep the budgets, and answer the question."""
    at = [tuple(sorted(job.home)) for job in asked.jobs]
    used = [0] * len(asked.budgets)
    for move in found.moves:
        assert at[move.job] != tuple(sorted(move.places))
        at[move.job] = tuple(sorted(move.places))
        assert relocation_oracle.legal(asked, at)
        assert relocation_oracle.nodes_suffice(asked, at)
        used = [u + b.weights.get(move.job, 0) for u, b in zip(used, asked.budgets, strict=True)]
    assert all(u <= b.limit for u, b in zip(used, asked.budgets, strict=True))
    assert relocation_oracle.legal(asked, [*at, *found.placed])
    assert [sorted(p.profile for _, p in places) for places in found.placed] == [
        sorted(request.profiles) for request in asked.requests
    ]
    assert all(len({asked.bins[where].node for where, _ in places}) == 1 for places in (*found.placed, *at))
    assert relocation_oracle.answers(asked, at)
    assert found.cost == sum(asked.jobs[move.job].cost for move in found.moves)


def agree(
    instance: Callable[[str, int], tuple[RelocationProblem, int]],
    cheapest: Callable[[RelocationProblem, int, float], RelocationSolution],
    family: str,
) -> None:
    """The answers to a family of instances are those of trying every sequence, and some of them move pods."""
    seen = {"free": 0, "moved": 0, "refused": 0}
    for seed in range(INSTANCES):
        asked, moves = instance(family, seed)
        found = cheapest(asked, moves, 30)
        if found.status is SolveStatus.OPTIMAL:
            carried_out(asked, found)
            seen["moved" if found.moves else "free"] += 1
            if found.moves:
                assert found.cost == relocation_oracle.cheapest(asked, moves), f"seed {seed}"
        else:
            assert found.status is SolveStatus.INFEASIBLE, f"seed {seed}"
            assert relocation_oracle.cheapest(asked, moves) is None, f"seed {seed}"
            seen["refused"] += 1
    assert seen["moved"] > INSTANCES // 40, f"the instances test nothing: {seen}"


@pytest.mark.parametrize("family", ["scattered", "scrambled"])
def test_repacks_keep_to_nodes_that_take_the_pods(family: str) -> None:
    """With pods that may not run everywhere, and nodes whose CPU and memory end, answers are those of trying all."""
    agree(relocation_oracle.limited, neighbourhood.cheapest, family)


@pytest.mark.parametrize("family", ["scattered", "scrambled", "tight"])
def test_repacks_cost_what_exhaustive_search_finds(family: str) -> None:
    """A repack costs exactly the least that trying every sequence finds, and is refused only where there is none."""
    agree(relocation_oracle.instance, search.cheapest, family)


def test_some_instances_need_the_way_searched_too() -> None:
    """Among the tight instances are some whose cheapest end cannot be reached by one move per pod in any order."""
    blocked = 0
    for seed in range(INSTANCES):
        asked, _ = relocation_oracle.instance("tight", seed)
        end = relocation.destination(asked, 30)
        blocked += end.status is SolveStatus.OPTIMAL and move_order.order(asked, end.moves) is None
    assert blocked


@pytest.mark.parametrize("family", ["scattered", "scrambled", "tight"])
def test_the_two_ways_to_ask_for_the_end_agree(family: str) -> None:
    """The end found GPU by GPU, in counts, costs what the end found pod by pod does."""
    compared = 0
    for seed in range(INSTANCES):
        asked, _ = relocation_oracle.instance(family, seed)
        if rearrangement.applies(asked):
            by_pod = relocation.destination(asked, 30)
            by_gpu = rearrangement.destination(asked, 30)
            assert (by_gpu.status, by_gpu.cost, by_gpu.bound) == (by_pod.status, by_pod.cost, by_pod.bound)
            assert sum(asked.jobs[move.job].cost for move in by_gpu.moves) == by_gpu.cost
            compared += bool(by_gpu.moves)
    assert compared > INSTANCES // 40


@pytest.mark.parametrize("family", ["scattered", "scrambled"])
def test_a_large_fleet_s_ways_keep_their_word(family: str) -> None:
    """What is done for large fleets never beats the optimum, calls optimal only what is, and proves only what is so."""
    proven = 0
    for seed in range(INSTANCES):
        asked, moves = relocation_oracle.instance(family, seed)
        exact = search.cheapest(asked, moves, 30)
        found = neighbourhood.cheapest(asked, moves, 30, whole=0, whole_wide=0)
        if found.status in search.SOLVED:
            carried_out(asked, found)
            assert found.bound <= exact.cost <= found.cost
            assert found.status is not SolveStatus.OPTIMAL or found.cost == exact.cost
            proven += found.status is SolveStatus.OPTIMAL
        elif found.status is SolveStatus.INFEASIBLE:
            assert exact.status is SolveStatus.INFEASIBLE
        else:
            assert exact.status is SolveStatus.INFEASIBLE, f"seed {seed}: missed {exact}"
    assert proven > INSTANCES // 4
