"""A lease is judged by when it was seen to change, never by the clock of the machine that wrote it."""

from dataclasses import dataclass

import pytest

from scheduler.cache.lease import LeaseSpec
from scheduler.leadership.observed_lease import MAX_DURATION_S, ObservedLease

OLD, FUTURE = "1999-01-01T00:00:00.000000Z", "2999-01-01T00:00:00.000000Z"


def held_by(other: str, renewed: str = "2026-11-30T12:00:00.000000Z", duration_s: int = 15) -> LeaseSpec:
    return LeaseSpec(other, duration_s, renewed, renewed, 3)


@pytest.mark.parametrize("stamp", [OLD, FUTURE, "no time at all"])
def test_the_written_time_does_not_count(stamp: str) -> None:
    """A holder whose clock is decades off keeps its lease for as long as any other, from when it was first seen."""
    seen = ObservedLease("me")
    seen.see(held_by("other", stamp), now=100)
    assert [seen.may_take(now) for now in (100, 114.9, 115)] == [False, False, True]


def test_each_change_makes_it_last_anew() -> None:
    """A renewal counts from when it is seen, and a look that shows nothing new does not."""
    seen = ObservedLease("me")
    seen.see(held_by("other", "a"), now=100)
    seen.see(held_by("other", "a"), now=110)
    seen.see(held_by("other", "b"), now=112)
    assert not seen.may_take(126.9)
    assert seen.may_take(127)


@pytest.mark.parametrize("spec", [LeaseSpec(), LeaseSpec(""), LeaseSpec("", 15, OLD, FUTURE, 1)])
def test_a_lease_of_nobody_may_be_taken_at_once(spec: LeaseSpec) -> None:
    """One that was never held, or that was given up."""
    seen = ObservedLease("me")
    seen.see(spec, now=0)
    assert seen.may_take(0)


@dataclass(frozen=True)
class _Duration:
    written: int | None
    counts: float


@pytest.mark.parametrize("case", [_Duration(None, 0), _Duration(-5, 0), _Duration(10**9, MAX_DURATION_S)], ids=str)
def test_a_foreign_duration_keeps_nobody_waiting_for_ever(case: _Duration) -> None:
    """None and negative count as nothing, and no text as longer than any replica of ours may ask for."""
    seen = ObservedLease("me")
    seen.see(LeaseSpec("other", case.written, OLD, OLD, 0), now=0)
    assert not case.counts or not seen.may_take(case.counts - 1)
    assert seen.may_take(case.counts)


def test_transitions_count_holders() -> None:
    """One more for each new holder, none for a renewal or the first one; acquireTime is when this holder took it."""
    seen = ObservedLease("me")
    assert seen.held("t1", 15) == LeaseSpec("me", 15, "t1", "t1", 0)
    seen.see(held_by("other", "t0"), now=0)
    assert seen.held("t1", 15) == LeaseSpec("me", 15, "t1", "t1", 4)
    seen.see(seen.held("t1", 15), now=1)
    assert seen.held("t2", 15) == LeaseSpec("me", 15, "t1", "t2", 4)
    assert seen.released("t3") == LeaseSpec("", 1, "t1", "t3", 4)
