"""Waiting: the queue of a replay, first in, first out, with backfill.

Jobs that want the same profiles fit or do not fit alike, so only the first of each kind is ever tried. Owned by
`engine`.
"""

import heapq
from collections.abc import Callable

from replay.job import Job

_Entry = tuple[int, int, Job]  # minus the priority, number of arrival, job


class Waiting:
    """Jobs that wait. Higher priority first, then as they came."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[int, ...], list[_Entry]] = {}
        self._arrived = 0

    def __bool__(self) -> bool:
        return bool(self._kinds)

    def holds(self, kind: tuple[int, ...]) -> bool:
        """Whether a job that wants these profiles waits."""
        return kind in self._kinds

    def add(self, job: Job) -> None:
        """Let a job wait."""
        self._arrived += 1
        heapq.heappush(self._kinds.setdefault(job.profiles, []), (-job.priority, self._arrived, job))

    def scan(self, now_s: float, start: Callable[[Job, float], bool]) -> None:
        """Offer the waiting jobs in order to `start`, with the time; it says whether it took the job.

        A kind whose first job is refused is not tried again in this scan: taking jobs never makes room for others.
        """
        heads = [(*entries[0][:2], kind) for kind, entries in self._kinds.items()]
        heapq.heapify(heads)
        while heads:
            kind = heads[0][2]
            entries = self._kinds[kind]
            if not start(entries[0][2], now_s):
                heapq.heappop(heads)
                continue
            heapq.heappop(entries)
            if entries:
                heapq.heapreplace(heads, (*entries[0][:2], kind))
            else:
                heapq.heappop(heads)
                del self._kinds[kind]
