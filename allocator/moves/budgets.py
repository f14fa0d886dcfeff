"""MoveBudgets: what a Repack may spend, what it has spent, and when it may disturb pods."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Annotated

import msgspec
from msgspec import Meta

from allocator.moves.step import MoveStep

MAX_MOVES = 200
_Amount = Annotated[int, Meta(ge=0, le=10**9)]
_Clock = Annotated[str, Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]


class MoveBudgets(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Restarts, GPU memory moved in MiB, restarts of one owner and of one namespace: over all plans of a Repack.

    `parallel` is how many pods may be away at once. None is no limit.
    """

    moves: Annotated[int, Meta(ge=0, le=MAX_MOVES)] = 10
    memory_mib: _Amount | None = None
    per_service: Annotated[int, Meta(ge=1, le=MAX_MOVES)] | None = None
    per_namespace: Annotated[int, Meta(ge=1, le=MAX_MOVES)] | None = None
    parallel: Annotated[int, Meta(ge=1, le=16)] = 1


class TimeWindow(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A part of each day in which pods may be disturbed: `22:00` to `06:00`, UTC. Equal times are the whole day."""

    start: _Clock
    end: _Clock

    def is_open(self, now: datetime) -> bool:
        """Whether a moment (UTC) lies in it."""
        at, start, end = now.strftime("%H:%M"), self.start, self.end
        if start == end:
            return True
        return start <= at < end if start < end else at >= start or at < end

    def day(self, now: datetime) -> str:
        """The date (UTC) on which the window began that a moment lies in, or the last one before it."""
        hours, _, minutes = self.start.partition(":")
        return (now - timedelta(hours=int(hours), minutes=int(minutes))).strftime("%Y-%m-%d")


def broken(budgets: MoveBudgets, steps: Iterable[MoveStep]) -> str:
    """Which budget these steps together exceed, in words; empty if none."""
    moved = list(steps)
    if len(moved) > budgets.moves:
        return f"{len(moved)} moves of {budgets.moves}"
    memory = sum(step.memory_mib for step in moved)
    if budgets.memory_mib is not None and memory > budgets.memory_mib:
        return f"{memory} MiB moved of {budgets.memory_mib}"
    for limit, number, name in (
        (budgets.per_service, Counter((step.namespace, step.service) for step in moved), "service"),
        (budgets.per_namespace, Counter((step.namespace, "") for step in moved), "namespace"),
    ):
        for (namespace, service), count in number.items():
            if limit is not None and count > limit:
                whose = f"{namespace}/{service}" if service else namespace
                return f"{count} moves of {name} {whose}, of {limit}"
    return ""


def spent(steps: Sequence[MoveStep]) -> Sequence[MoveStep]:
    """The steps that count for good."""
    return [step for step in steps if step.disturbed]


def is_late(step: MoveStep, now: datetime, limit_s: float) -> bool:
    """Whether a step has been in its state for longer than so many seconds."""
    return now - step.since > timedelta(seconds=limit_s)
