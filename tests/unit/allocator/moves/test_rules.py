"""Who may be moved, what a Repack may spend and when, and what its spec may say."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from allocator import errors
from allocator.moves import budgets, document, eligibility
from allocator.moves.budgets import MoveBudgets, TimeWindow
from allocator.moves.eligibility import MoveFacts
from allocator.moves.step import MoveStep

NOW = datetime(2026, 11, 30, 23, 30, tzinfo=UTC)
MOVABLE = MoveFacts(mark="true", comes_anew=True)


def test_a_marked_pod_that_comes_anew_may_be_moved() -> None:
    """A mark, or a namespace whose pods may be moved, is enough for a pod that a controller makes anew."""
    assert eligibility.why_not(MOVABLE, NOW) == ""
    assert eligibility.why_not(replace(MOVABLE, mark=None, allowed=True), NOW) == ""


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"mark": "false"}, '"false"'),
        ({"mark": "false", "allowed": True}, '"false"'),
        ({"mark": None}, "not marked"),
        ({"mark": "yes"}, "not marked"),
        ({"is_mirror": True}, "static pod"),
        ({"of_daemon_set": True}, "DaemonSet"),
        ({"comes_anew": False}, "no controller"),
        ({"of_gang": True}, "gang"),
        ({"terminating": True}, "being deleted"),
        ({"not_before": NOW + timedelta(hours=1)}, "left alone"),
        ({"unknown": ("volumes",)}, "volumes"),
    ],
)
def test_whoever_may_not_be_moved_is_told_why(change: dict[str, Any], why: str) -> None:
    """Each rule by itself keeps a pod where it is, and says so."""
    assert why in eligibility.why_not(replace(MOVABLE, **change), NOW)


def test_a_pod_may_be_moved_once_its_time_has_come() -> None:
    """A pod that is to be left alone until a moment is movable from then on."""
    assert eligibility.why_not(replace(MOVABLE, not_before=NOW), NOW) == ""


@pytest.mark.parametrize(
    ("start", "end", "hour", "is_open"),
    [
        ("22:00", "06:00", 23, True),
        ("22:00", "06:00", 5, True),
        ("22:00", "06:00", 6, False),
        ("08:00", "12:00", 8, True),
        ("08:00", "12:00", 12, False),
        ("00:00", "00:00", 7, True),
    ],
)
def test_a_window_is_a_part_of_each_day(start: str, end: str, hour: int, *, is_open: bool) -> None:
    """It may go over midnight, its end is outside, and equal times are the whole day."""
    assert TimeWindow(start, end).is_open(NOW.replace(hour=hour, minute=0)) is is_open


@pytest.mark.parametrize(
    ("hour", "day"), [(22, "2026-11-30"), (23, "2026-11-30"), (5, "2026-11-29"), (21, "2026-11-29")]
)
def test_a_window_over_midnight_is_of_the_day_it_began(hour: int, day: str) -> None:
    """Its hours before and after midnight have one date; so have those until the next one begins."""
    assert TimeWindow("22:00", "06:00").day(NOW.replace(hour=hour, minute=0)) == day


def step(number: int, service: str = "ReplicaSet/a", namespace: str = "x", memory_mib: int = 100) -> MoveStep:
    """A move of some owner's pod."""
    return MoveStep(number, f"{namespace}/p{number}", f"u{number}", service, "n1", "n2", (), memory_mib, NOW)


@pytest.mark.parametrize(
    ("allowed", "steps", "named"),
    [
        (MoveBudgets(moves=2), [step(1), step(2)], ""),
        (MoveBudgets(moves=1), [step(1), step(2)], "2 moves of 1"),
        (MoveBudgets(memory_mib=199), [step(1), step(2)], "200 MiB"),
        (MoveBudgets(per_service=1), [step(1), step(2)], "x/ReplicaSet/a"),
        (MoveBudgets(per_service=1), [step(1), step(2, namespace="y")], ""),
        (MoveBudgets(per_namespace=1), [step(1), step(2, "ReplicaSet/b")], "namespace x"),
    ],
)
def test_a_broken_budget_is_named(allowed: MoveBudgets, steps: list[MoveStep], named: str) -> None:
    """Moves, memory, moves of one owner and of one namespace are counted over all steps."""
    assert named in budgets.broken(allowed, steps) if named else budgets.broken(allowed, steps) == ""


WANTED = {"requests": [{"profiles": {"7g.40gb": 1}}]}


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"wanted": {}}, "spec.wanted"),
        ({"wanted": WANTED, "mood": "Auto"}, "spec"),
        ({"wanted": WANTED, "mode": "Yes"}, "spec"),
        ({"wanted": WANTED, "budgets": {"moves": 201}}, "spec"),
        ({"wanted": WANTED, "window": {"start": "24:00", "end": "06:00"}}, "spec"),
        ({"wanted": WANTED, "notBefore": "2026-11-30T00:00:00"}, "spec.notBefore"),
        ({"wanted": {"empty": {"gpus": 1}, "pod": {"namespace": "x", "name": "y", "uid": "z"}}}, "spec.wanted.pod"),
        ({"wanted": {**WANTED, "strandedShare": 0.1}}, "spec.wanted.strandedShare"),
        ({"wanted": WANTED, "filler": "x" * document.MAX_SPEC_BYTES}, "spec"),
    ],
)
def test_a_spec_that_cannot_be_meant_is_refused(spec: dict[str, Any], field: str) -> None:
    """Each is refused with its field."""
    with pytest.raises(errors.InputError) as refused:
        document.read_spec(msgspec.json.encode(spec))
    assert refused.value.field == field


def test_only_what_is_approved_or_automatic_moves() -> None:
    """DryRun never moves anything, Approve once it is approved."""

    def read(**more: Any) -> bool:
        return document.read_spec(msgspec.json.encode({"wanted": WANTED, **more})).may_move

    assert [read(), read(mode="Approve"), read(mode="DryRun", approved=True)] == [False, False, False]
    assert read(mode="Approve", approved=True)
    assert read(mode="Auto")


def test_a_status_is_read_as_it_was_written() -> None:
    """Nothing of a status is lost on its way through the API server."""
    written = document.RepackStatus(steps=(step(1), step(2)), since=NOW, message="x")
    assert document.read_status(msgspec.json.encode(written)) == written
    assert document.read_status(b"null") == document.RepackStatus()
    with pytest.raises(errors.InputError):
        document.read_status(b'{"steps": 3}')
