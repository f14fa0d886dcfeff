"""The judge of repacks: what it calls cheapest is, on fleets where one can see it."""

import pytest

from allocator.mig import geometry, gpu_models
from benchmarks import exhaustive
from benchmarks.exhaustive import Gpu
from tests import relocation_oracle

A100 = geometry.compiled(gpu_models.find("a100-40gb"))


def gpu(kind: geometry.Geometry, stay: dict[int, str], move: dict[int, str]) -> Gpu:
    """A GPU by start → profile of the slices that stay and that may move."""
    index = kind.placement_index
    stays, moves = (
        sum(1 << index[kind.catalogue.placement(name, start)] for start, name in slices.items())
        for slices in (stay, move)
    )
    return stays, moves


def test_room_costs_nothing() -> None:
    """What fits as it is costs nothing, and nothing is tried where no moves are allowed."""
    assert exhaustive.cheapest(A100, [gpu(A100, {}, {0: "1g.5gb"})], "3g.20gb", 0, None) == 0
    assert exhaustive.cheapest(A100, [gpu(A100, {}, {0: "1g.5gb"})], "7g.40gb", 0, None) is None


def test_the_smaller_slice_moves() -> None:
    """Of two ways to make room the one that moves fewer compute slices is found, at a move and its compute slices."""
    fleet = [gpu(A100, {4: "3g.20gb"}, {0: "2g.10gb"}), gpu(A100, {4: "3g.20gb"}, {2: "1g.5gb"})]
    assert exhaustive.cheapest(A100, fleet, "4g.20gb", 10, None) == 2


def test_a_move_may_make_room_for_a_move() -> None:
    """Where a slice has first to make way for another, both moves are paid for, and one move is not enough."""
    chain = [gpu(A100, {4: "3g.20gb"}, {0: "2g.10gb"}), gpu(A100, {0: "2g.10gb", 4: "3g.20gb"}, {3: "1g.5gb"})]
    chain.append(gpu(A100, {0: "4g.20gb", 4: "2g.10gb"}, {}))
    assert exhaustive.cheapest(A100, chain, "4g.20gb", 1, None) is None
    assert exhaustive.cheapest(A100, chain, "4g.20gb", 2, None) == 2 + 3


def test_what_stays_stays() -> None:
    """Slices that may not move are never moved, and there may be no way."""
    assert exhaustive.cheapest(A100, [gpu(A100, {0: "1g.5gb"}, {})] * 2, "7g.40gb", 10, None) is None


def test_dearer_than_asked_is_not_looked_at() -> None:
    """With a highest cost a dearer way is not found."""
    fleet = [gpu(A100, {4: "3g.20gb"}, {0: "2g.10gb"}), gpu(A100, {0: "4g.20gb"}, {})]
    assert exhaustive.cheapest(A100, fleet, "4g.20gb", 10, 3) == 3
    assert exhaustive.cheapest(A100, fleet, "4g.20gb", 10, 2) is None


def test_it_agrees_with_trying_every_pod_everywhere() -> None:
    """On random fleets it costs what Dijkstra over every position of every pod finds, and is None where that is."""
    outcomes = {"free": 0, "moved": 0, "none": 0}
    for seed in range(200):
        problem, moves = relocation_oracle.instance("scrambled", seed)
        kind = problem.bins[0].geometry
        home = [job.home[0] for job in problem.jobs]
        gpus = [
            gpu(
                kind,
                {slice_.start: slice_.profile for slice_ in where.fixed},
                {slice_.start: slice_.profile for at, slice_ in home if at == number},
            )
            for number, where in enumerate(problem.bins)
        ]
        best = relocation_oracle.cheapest(problem, moves)
        assert exhaustive.cheapest(kind, gpus, problem.requests[0].profiles[0], moves, None) == best, f"seed {seed}"
        outcomes["none" if best is None else "moved" if best else "free"] += 1
    assert min(outcomes["free"], outcomes["moved"]) > 50, outcomes
    assert outcomes["none"], outcomes


def test_giving_up_is_said() -> None:
    """Where there are too many arrangements the search says so instead of answering."""
    fleet = [gpu(A100, {}, {0: "1g.5gb", 1: "1g.5gb", 2: "1g.5gb"})] * 2
    with pytest.raises(exhaustive.TooManyError):
        exhaustive.cheapest(A100, fleet, "7g.40gb", 10, None, most_arrangements=3)
