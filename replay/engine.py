"""Engine: one run of a workload through a pool of GPUs, event by event.

Two kinds of events: a job arrives, a job ends. An arriving job gets a slice at once, by the policy, or, where moves
are allowed, after a few movable slices were moved out of its way; else it is refused, or waits. What happened is in
the tally. Called by `sweep`, once per seed.
"""

import heapq
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from allocator.placement.demand import Demand
from allocator.planning import migration
from allocator.planning.migration import GpuLayout
from replay.job import Job
from replay.pool import NO_GPU, GpuPool
from replay.reserved_room import ReservedRoom
from replay.tally import Tally
from replay.types import Discipline
from replay.waiting import AfterRefusal, Waiter, Waiting

_REWEIGH = 200  # jobs between two looks at the demand, for policies that follow it
_TELL = 2048  # jobs between two reports of progress


@dataclass(frozen=True, slots=True)
class Rules:
    """What happens to a job that does not fit: up to `moves` others are moved; then it waits or is lost, by the
    discipline. `patience_s` and `reservations` are those of the discipline `reserve`.

    A moved job runs `restart_s` longer. `demand_memory` and `demand_floor` are those of `Demand`.
    """

    discipline: Discipline = Discipline.REJECT
    moves: int = 0
    restart_s: float = 0.0
    demand_memory: float = 1000.0
    demand_floor: float = 0.1
    patience_s: float = 0.0
    reservations: int = 1


def replay(
    jobs: Iterable[Job], pool: GpuPool, rules: Rules, tally: Tally, progress: Callable[[float], None] | None = None
) -> float:
    """Run all jobs to their end; the seconds of processor time that took. `progress` gets the simulated time.

    Raises GeometryError if a step were illegal: the pool asks the automaton for each.
    """
    began = time.process_time()
    run = _Run(pool, rules, tally)
    for number, job in enumerate(jobs):
        run.arrive(job)
        if progress is not None and number % _TELL == 0:
            progress(job.arrival_s)
    run.finish()
    return time.process_time() - began


class _Run:
    def __init__(self, pool: GpuPool, rules: Rules, tally: Tally) -> None:
        self._pool = pool
        self._rules = rules
        self._tally = tally
        self._waiting = Waiting()
        self._reserved = ReservedRoom(pool, rules.discipline, rules.patience_s, rules.reservations)
        self._demand = Demand(pool.geometry.profiles, rules.demand_memory, rules.demand_floor)
        self._weigh = pool.policy.weigh
        self._until_reweigh = _REWEIGH
        self._started = 0
        self._ends: list[tuple[float, int]] = []
        self._slice_of: dict[int, int] = {}  # number of the job → its slice
        self._job_of: dict[int, int] = {}  # and back, where slices may have to move
        self._pinned = [0] * pool.gpus  # placements on each GPU that may not
        self._late: dict[int, float] = {}  # number of the job → seconds that moves cost it

    def arrive(self, job: Job) -> None:
        """A job arrives, after everything that ended before."""
        self._end_until(job.arrival_s)
        self._tally.advance(job.arrival_s, self._pool)
        self._tally.offer(job.profiles[0], job.arrival_s)
        if self._weigh is not None:
            self._follow_demand(job.profiles[0])
        fits = self._may_fit(job) and self._start(job, job.arrival_s, self._through(job))
        if not fits and self._rules.discipline is not Discipline.REJECT:
            waiter = self._waiting.add(job)
            if self._reserved.refused(waiter, job.arrival_s) is AfterRefusal.RESERVED:
                self._waiting.reserve(waiter)

    def _may_fit(self, job: Job) -> bool:
        """Whether to try a job that arrives."""
        if self._rules.discipline is Discipline.FIFO:
            return not self._waiting.precedes(job)
        # Where one of its kind waits already, nothing has made room since that one was last tried; but that one may
        # have had to leave reserved room alone that this one may use.
        return not self._waiting.holds(job.profiles) or bool(self._through(job))

    def finish(self) -> None:
        """No more arrivals: all that runs and waits comes to its end."""
        self._end_until(float("inf"))
        self._tally.close(self._pool)

    def _end_until(self, now_s: float) -> None:
        while self._ends and self._ends[0][0] <= now_s:
            at, number = heapq.heappop(self._ends)
            late = self._late.pop(number, 0.0)
            if late:
                heapq.heappush(self._ends, (at + late, number))
                continue
            self._tally.advance(at, self._pool)
            self._remove(number)
            self._tally.end(at)
            if self._waiting:
                self._scan(at)

    def _scan(self, now_s: float) -> None:
        """Room has arisen: look at those who wait."""

        def start(waiter: Waiter) -> bool:
            through = self._reserved.through(waiter.rank, waiter.number, now_s + waiter.job.expected_s)
            started = self._start(waiter.job, now_s, through)
            if started:
                self._reserved.started(waiter)
            return started

        self._waiting.scan(start, lambda waiter: self._reserved.refused(waiter, now_s))

    def _through(self, job: Job) -> Collection[int]:
        """The GPUs whose reserved places a job may use that arrives now."""
        return self._reserved.through(-job.priority, float("inf"), job.arrival_s + job.expected_s)

    def _start(self, job: Job, now_s: float, through: Collection[int]) -> bool:
        """Give a job a slice, if there is one."""
        pool = self._pool
        end_s = now_s + job.expected_s
        gpu, profile = pool.choose(job.profiles[0], now_s, end_s, through), job.profiles[0]
        if len(job.profiles) > 1:
            gpu, profile = self._best_alternative(job, now_s, through)
        if gpu != NO_GPU:
            self._run(job, pool.place(gpu, pool.placement(profile, gpu, through), end_s), now_s, moves=0)
            return True
        return self._rules.moves > 0 and self._start_by_moving(job, now_s)

    def _best_alternative(self, job: Job, now_s: float, through: Collection[int]) -> tuple[int, int]:
        """GPU and profile with the least loss; the job's order of preference decides among equals."""
        end_s = now_s + job.expected_s
        options = [(self._pool.choose(profile, now_s, end_s, through), profile) for profile in job.profiles]
        fitting = [option for option in options if option[0] != NO_GPU]
        return min(fitting, key=lambda option: self._pool.loss(option[1], option[0], through), default=options[0])

    def _start_by_moving(self, job: Job, now_s: float) -> bool:
        """Make room by moving others. The alternative that moves least is taken."""
        pool = self._pool
        layouts = [
            GpuLayout(pool.geometry, slices, slices & ~pinned)
            for slices, pinned in zip(pool.slices, self._pinned, strict=True)
        ]
        plans = (
            migration.plan(layouts, pool.geometry.profiles[profile], pool.policy, self._rules.moves)
            for profile in job.profiles
        )
        possible = [plan for plan in plans if plan is not None]
        if not possible:
            return False
        plan = min(possible, key=lambda plan: plan.cost)
        index = pool.geometry.placement_index
        moved = [pool.number(move.source.gpu, index[move.source.placement]) for move in plan.moves]
        owners = [self._job_of.pop(number) for number in moved]
        ends = [pool.remove(number) for number in moved]
        placed = pool.place(plan.placed.gpu, index[plan.placed.placement], now_s + job.expected_s)
        for move, owner, end_s in zip(plan.moves, owners, ends, strict=True):
            number = pool.place(move.target.gpu, index[move.target.placement], end_s + self._rules.restart_s)
            self._slice_of[owner] = number
            self._job_of[number] = owner
            if self._rules.restart_s:
                self._late[owner] = self._late.get(owner, 0.0) + self._rules.restart_s
        self._run(job, placed, now_s, len(plan.moves))
        return True

    def _run(self, job: Job, number: int, now_s: float, moves: int) -> None:
        """A job runs in the slice of this number from now on."""
        self._started += 1
        heapq.heappush(self._ends, (now_s + job.duration_s, self._started))
        self._slice_of[self._started] = number
        if self._rules.moves:
            self._job_of[number] = self._started
            if not job.movable:
                gpu, placement = self._pool.where(number)
                self._pinned[gpu] |= 1 << placement
        self._tally.accept(job.profiles[0], job.arrival_s, now_s, moves)

    def _remove(self, job: int) -> None:
        number = self._slice_of.pop(job)
        self._pool.remove(number)
        if self._rules.moves:
            del self._job_of[number]
            gpu, placement = self._pool.where(number)
            self._pinned[gpu] &= ~(1 << placement)

    def _follow_demand(self, profile: int) -> None:
        self._demand.saw(profile)
        self._until_reweigh -= 1
        if self._weigh is not None and self._until_reweigh == 0:
            self._until_reweigh = _REWEIGH
            by = self._weigh(self._demand.weights())
            if by != self._pool.policy:
                self._pool.use(by)
