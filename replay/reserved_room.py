"""ReservedRoom: who waits with a reservation in a replay, where, and who must leave it alone. Owned by `engine`.

Of the disciplines, `reserve` keeps the place whose draining costs least for jobs that have waited long, as the
scheduler does (`allocator.queueing.reservation`). `easy` is the literature's: the first job that does not fit gets the
place that is free soonest, for which the jobs' ends must be known; another may use it if it ends before.
"""

from collections.abc import Collection
from dataclasses import dataclass, field

from replay.pool import GpuPool
from replay.types import Discipline
from replay.waiting import AfterRefusal, Waiter

STUCK = 10.0  # times the patience, after which a reservation that nobody has made room for is made elsewhere


@dataclass(slots=True)
class _Place:
    waiter: Waiter
    gpu: int
    profile: int
    placement: int
    cost: float  # memory slices in use there
    free_s: float  # when the last of those is expected to end
    progress_s: float  # when somebody left it last
    tried: set[int] = field(default_factory=set)  # GPUs where nobody left


class ReservedRoom:
    """The reservations of one run: at most `most`, of jobs that have waited for `patience_s`."""

    def __init__(self, pool: GpuPool, discipline: Discipline, patience_s: float, most: int) -> None:
        self._pool = pool
        self._easy = discipline is Discipline.EASY
        self._patience_s = 0.0 if self._easy else patience_s
        self._most = {Discipline.EASY: 1, Discipline.RESERVE: most}.get(discipline, 0)
        self._after = AfterRefusal.STOP if discipline is Discipline.FIFO else AfterRefusal.GO_ON
        self._places: dict[int, _Place] = {}  # by the waiter's number

    def through(self, rank: int, number: float, end_s: float) -> Collection[int]:
        """The GPUs whose reserved places a job may use that has this place in the queue and is expected to end then."""
        if not self._places:
            return ()
        return [
            place.gpu
            for place in self._places.values()
            if (rank, number) <= place.waiter[:2] or (self._easy and end_s <= place.free_s)
        ]

    def refused(self, waiter: Waiter, now_s: float) -> AfterRefusal:
        """A waiting job found no place: it may get a reservation, or have one already."""
        place = self._places.get(waiter.number)
        if place is not None:
            if not self._easy:
                self._follow(place, now_s)
            return AfterRefusal.RESERVED
        if len(self._places) >= self._most or now_s - waiter.job.arrival_s < self._patience_s:
            return self._after
        chosen = self._choose(waiter, now_s, set())
        if chosen is None:
            return self._after
        self._places[waiter.number] = chosen
        self._pool.reserve(chosen.gpu, chosen.placement)
        return AfterRefusal.RESERVED

    def started(self, waiter: Waiter) -> None:
        """A waiting job has got a place, reserved or not."""
        place = self._places.pop(waiter.number, None)
        if place is not None:
            self._pool.unreserve(place.gpu)

    def _follow(self, place: _Place, now_s: float) -> None:
        """Keep a reservation where it is, unless somebody has come between, or nobody leaves."""
        cost, _ = self._now(place)
        if cost < place.cost:
            place.cost, place.progress_s = cost, now_s
            return
        is_stuck = now_s - place.progress_s >= STUCK * self._patience_s
        if cost == place.cost and not is_stuck:
            return
        tried = place.tried | ({place.gpu} if is_stuck else set())
        self._pool.unreserve(place.gpu)
        chosen = self._choose(place.waiter, now_s, tried) or self._choose(place.waiter, now_s, set())
        assert chosen is not None  # the place that it had is one
        chosen.tried = tried
        self._places[place.waiter.number] = chosen
        self._pool.reserve(chosen.gpu, chosen.placement)

    def _now(self, place: _Place) -> tuple[float, float]:
        placement = self._pool.geometry.placements[place.placement]
        drains = self._pool.drains(place.gpu, place.profile)
        return next((drain.cost, free_s) for drain, free_s in drains if drain.placement == placement)

    def _choose(self, waiter: Waiter, now_s: float, tried: set[int]) -> _Place | None:
        taken = {place.gpu for place in self._places.values() if place.waiter is not waiter} | tried
        best: tuple[float, float, _Place] | None = None
        for profile in waiter.job.profiles:
            for gpu in range(self._pool.gpus):
                least = self._pool.drain_cost(gpu, profile)
                if gpu in taken or (best is not None and not self._easy and least >= best[0]):
                    continue
                for drain, free_s in self._pool.drains(gpu, profile):
                    placement = self._pool.geometry.placement_index[drain.placement]
                    place = _Place(waiter, gpu, profile, placement, drain.cost, free_s, now_s)
                    key = (free_s, drain.cost) if self._easy else (drain.cost, len(drain.blockers))
                    if best is None or key < best[:2]:
                        best = (*key, place)
        return None if best is None else best[2]
