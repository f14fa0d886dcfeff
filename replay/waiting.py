"""Waiting: the queue of a replay, first in, first out, with backfill or without.

Jobs that want the same profiles fit or do not fit alike, so only the first of each kind is tried; jobs with a
reservation are tried one by one. Owned by `engine`.
"""

import enum
import heapq
from collections.abc import Callable
from typing import NamedTuple

from replay.job import Job


class Waiter(NamedTuple):
    """A job that waits. Waiters sort by their place in the queue: higher priority first, then as they came."""

    rank: int  # minus the priority
    number: int  # of arrival
    job: Job


class AfterRefusal(enum.Enum):
    """How a scan goes on after a job that did not get a place."""

    GO_ON = enum.auto()  # with other kinds: others of this one fit as little
    RESERVED = enum.auto()  # with all others: the job has a reservation, and will be tried alone
    STOP = enum.auto()


class Waiting:
    """Jobs that wait, in order."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[int, ...], list[Waiter]] = {}
        self._reserved: list[Waiter] = []  # in order
        self._arrived = 0

    def __bool__(self) -> bool:
        return bool(self._kinds or self._reserved)

    def holds(self, kind: tuple[int, ...]) -> bool:
        """Whether a job that wants these profiles waits, and has no reservation."""
        return kind in self._kinds

    def precedes(self, job: Job) -> bool:
        """Whether somebody waits who comes before a job that arrives now."""
        heads = [*self._reserved, *(entries[0] for entries in self._kinds.values())]
        return any(waiter.rank <= -job.priority for waiter in heads)

    def add(self, job: Job) -> Waiter:
        """Let a job wait."""
        self._arrived += 1
        waiter = Waiter(-job.priority, self._arrived, job)
        heapq.heappush(self._kinds.setdefault(job.profiles, []), waiter)
        return waiter

    def reserve(self, waiter: Waiter) -> None:
        """The first waiter of its kind has a reservation from now on."""
        self._pop(waiter.job.profiles)
        self._reserved = sorted([*self._reserved, waiter])

    def scan(self, start: Callable[[Waiter], bool], refused: Callable[[Waiter], AfterRefusal]) -> None:
        """Offer the waiting jobs in order to `start`, which says whether it took the job. What `refused` says of one
        that it did not take decides who is offered next.
        """
        heads = [*self._reserved, *(entries[0] for entries in self._kinds.values())]
        heapq.heapify(heads)
        while heads:
            waiter = heads[0]
            kind = waiter.job.profiles
            has_reservation = waiter in self._reserved
            if start(waiter):
                if has_reservation:
                    self._reserved.remove(waiter)
                else:
                    self._pop(kind)
            else:
                after = refused(waiter)
                if after is AfterRefusal.STOP:
                    return
                if after is AfterRefusal.RESERVED and not has_reservation:
                    self.reserve(waiter)
                else:
                    heapq.heappop(heads)
                    continue
            if not has_reservation and kind in self._kinds:
                heapq.heapreplace(heads, self._kinds[kind][0])
            else:
                heapq.heappop(heads)

    def _pop(self, kind: tuple[int, ...]) -> None:
        entries = self._kinds[kind]
        heapq.heappop(entries)
        if not entries:
            del self._kinds[kind]
