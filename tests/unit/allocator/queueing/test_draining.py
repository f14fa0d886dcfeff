"""What a place costs that others use, and what may go on beside it until they have left."""

from collections.abc import Iterator
from itertools import islice

import pytest

from allocator.mig import geometry, gpu_models
from allocator.mig.geometry import Geometry
from allocator.mig.profile import Placement
from allocator.queueing import draining
from tests.builders import placement

A100 = geometry.compiled(gpu_models.find("a100-40gb"))
A30 = geometry.compiled(gpu_models.find("a30-24gb"))


def sets_of(kind: Geometry, every: int) -> Iterator[tuple[Placement, ...]]:
    """Some of the legal sets of slices."""
    return (tuple(kind.placements[i] for i in chosen) for chosen in islice(kind.legal_sets(), 0, None, every))


@pytest.mark.parametrize("kind", [A100, A30])
def test_the_cost_is_the_least_number_of_slices_in_use_in_a_place(kind: Geometry) -> None:
    """By state it is what counting each place's memory slices gives."""
    for used in sets_of(kind, 7):
        state, mask = kind.state_of(used), 0
        for place in used:
            mask |= place.mask
        for profile in kind.profiles:
            places = (kind.placements[i] for i in kind.placements_of(profile))
            assert draining.costs(kind, profile)[state] == min((p.mask & mask).bit_count() for p in places)


def test_what_is_not_offered_costs_more_than_anything() -> None:
    """A profile of another model has no place."""
    assert (draining.costs(A30, "7g.40gb") == float("inf")).all()
    assert draining.drain(A30, Geometry.EMPTY, (), "7g.40gb") is None


def test_who_is_in_the_way_is_named() -> None:
    """A place is blocked by the slices that lie in it, and by no others."""
    used = (placement("1g.5gb", 0), placement("1g.5gb", 5))
    drain = draining.blocked(A100, Geometry.EMPTY, used, placement("3g.20gb", 4))
    assert drain is not None
    assert (set(drain.blockers), drain.cost) == ({1}, 1)
    cheapest = draining.drain(A100, Geometry.EMPTY, (placement("4g.20gb", 0),), "3g.20gb")
    assert cheapest is not None
    assert (cheapest.placement, cheapest.cost) == (placement("3g.20gb", 4), 0)


def test_a_limit_of_the_whole_gpu_is_waited_for_too() -> None:
    """A media slice elsewhere on the GPU blocks another one, although no memory slice is shared."""
    used = (placement("1g.5gb+me", 0),)
    drain = draining.blocked(A100, Geometry.EMPTY, used, placement("1g.5gb+me", 1))
    assert drain is not None
    assert (set(drain.blockers), drain.cost) == ({0}, 0)


@pytest.mark.parametrize("kind", [A100, A30])
def test_what_is_left_is_legal_now_and_later(kind: Geometry) -> None:
    """Whatever is added to what is left fits beside what is there, and what is reserved still fits when others go."""
    for used in sets_of(kind, 23):
        now = kind.state_of(used)
        for profile in kind.profiles:
            drain = draining.drain(kind, Geometry.EMPTY, used, profile)
            assert drain is not None
            stays = [place for position, place in enumerate(used) if position not in drain.blockers]
            later = kind.state_of([drain.placement, *stays])
            left = draining.common(kind, now, later)
            for i in (kind.step[left] >= 0).nonzero()[0].tolist():
                assert not kind.placements[i].mask & drain.placement.mask
                after = [int(kind.step[state, i]) for state in (left, now, later)]
                assert min(after) >= 0
                for j in (kind.step[after[0]] >= 0).nonzero()[0].tolist():
                    assert kind.step[after[1], j] >= 0 <= kind.step[after[2], j]


def test_the_other_half_of_a_gpu_goes_on() -> None:
    """While a place in one half is reserved, the other half takes as much as before."""
    used = (placement("1g.5gb", 5),)
    later = A100.state_of([placement("3g.20gb", 4)])
    left = draining.common(A100, A100.state_of(used), later)
    assert A100.room_for(left, "1g.5gb") == 4
    assert A100.room_for(left, "4g.20gb") == 1
    assert draining.common(A100, later, later) == later


def test_a_gpu_that_is_wanted_whole_takes_nothing() -> None:
    """Beside a whole GPU nothing is left, however empty it is."""
    left = draining.common(A100, A100.state_of([placement("1g.5gb", 0)]), A100.state_of([placement("7g.40gb", 0)]))
    assert not A100.room[left].any()
