"""Rearrangement: the cheapest end of a repack, for pods of one slice each.

The same answer as `relocation.destination`, by a stronger program. There a column says that one pod lies at one place,
and many columns say the same thing of equal pods and places; here a column says of one GPU which pods leave it and what
it takes instead, in counts, so that nothing is said twice. Nearly full fleets, where most ways are dead ends, need it.
Called by `repack.search`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from allocator.mig.profile import Placement
from allocator.planning.packing import patterns
from allocator.planning.packing.patterns import Counts, Names
from allocator.planning.packing.program import Program, Solution, SolveStatus, solve
from allocator.planning.packing.relocation import Found, JobMove, Place, RelocationProblem


def applies(asked: RelocationProblem) -> bool:
    """Whether all pods in question, movable ones and requests, have one slice."""
    return all(len(job.profiles) == 1 for job in (*asked.jobs, *asked.requests))


def destination(asked: RelocationProblem, time_limit_s: float) -> Found:
    """The cheapest set of moves whose end is legal, the way there left open. For questions to which this `applies`."""
    model = _Model(asked)
    found = solve(model.program, time_limit_s)
    if not found.values:
        return Found(found.status, bound=found.bound, seconds=found.seconds)
    leaving, places = model.chosen(found)
    placed = tuple((places[request.profiles[0]].pop(),) for request in asked.requests)
    moves = tuple(_moves(asked, leaving, places))
    cost = sum(asked.jobs[move.job].cost for move in moves)
    bound = min(found.bound, cost)
    status = SolveStatus.OPTIMAL if bound == cost else SolveStatus.FEASIBLE
    return Found(status, moves, placed, cost, bound, found.seconds)


@dataclass(frozen=True, slots=True)
class _Way:
    """One way to use a GPU: which jobs leave it, what it then takes, whether nothing is left on it.

    `net` is what it takes less what leaves it, by name; `burden` the cost and the use of every budget.
    """

    leaving: tuple[int, ...]
    takes: Counts
    empty: bool
    net: Counts
    burden: Counts

    def beats(self, other: "_Way") -> bool:
        """Whether it gives as much for no more of anything."""
        return (
            self.empty >= other.empty
            and patterns.covers(self.net, other.net)
            and patterns.covers(other.burden, self.burden)
        )


class _Model:
    """The program: a column per GPU and way, one way per GPU, enough taken of every profile."""

    def __init__(self, asked: RelocationProblem) -> None:
        self.asked = asked
        self.names: Names = tuple(sorted({job.profiles[0] for job in (*asked.jobs, *asked.requests)}))
        self.program = Program()
        self._ways: list[tuple[int, _Way, int]] = []
        at: list[list[int]] = [[] for _ in asked.bins]
        for number, job in enumerate(asked.jobs):
            at[job.home[0][0]].append(number)
        for where in range(len(asked.bins)):
            self._gpu(where, at[where])
        self._rows()

    def _gpu(self, where: int, jobs: Sequence[int]) -> None:
        columns = []
        for way in _undominated(self._ways_of(where, jobs)):
            columns.append(self.program.column(1, way.burden[0]))
            self._ways.append((where, way, columns[-1]))
        self.program.row(((c, 1) for c in columns), 1, 1)
        if where in self.asked.emptied:
            self.program.row(((c, 1) for w, way, c in self._ways if w == where and way.empty), low=1)

    def _ways_of(self, where: int, jobs: Sequence[int]) -> Iterator[_Way]:
        gpu = self.asked.bins[where]
        for number in range(len(jobs) + 1):
            for leaving in combinations(jobs, number):
                stay = [self.asked.jobs[j].home[0][1] for j in jobs if j not in leaving]
                state = gpu.geometry.state_of([*gpu.fixed, *stay])
                burden = self._burden(leaving)
                ways = [(takes, False) for takes in patterns.maximal(gpu.geometry, state, self.names)]
                if not gpu.fixed and not stay:
                    ways.append(((0,) * len(self.names), True))
                for takes, empty in ways:
                    yield _Way(leaving, takes, empty, self._net(leaving, takes), burden)

    def _burden(self, leaving: Sequence[int]) -> Counts:
        cost = sum(self.asked.jobs[j].cost for j in leaving)
        return (cost, *(sum(b.weights.get(j, 0) for j in leaving) for b in self.asked.budgets))

    def _net(self, leaving: Sequence[int], takes: Counts) -> Counts:
        gone = [self.asked.jobs[j].profiles[0] for j in leaving]
        return tuple(n - gone.count(name) for name, n in zip(self.names, takes, strict=True))

    def _rows(self) -> None:
        wanted = [request.profiles[0] for request in self.asked.requests]
        for position, name in enumerate(self.names):
            self.program.row(((c, way.net[position]) for _, way, c in self._ways), low=wanted.count(name))
        if self.asked.empty:
            self.program.row(((c, 1) for _, way, c in self._ways if way.empty), low=self.asked.empty)
        for number, budget in enumerate(self.asked.budgets, 1):
            self.program.row(((c, way.burden[number]) for _, way, c in self._ways), high=budget.limit)

    def chosen(self, found: Solution) -> tuple[list[int], dict[str, list[Place]]]:
        """The jobs that leave their GPU, and the places there are for slices of each profile."""
        leaving: list[int] = []
        places: dict[str, list[Place]] = {name: [] for name in self.names}
        for where, way, column in self._ways:
            if found.values[column]:
                leaving += way.leaving
                for placement in self._arranged(where, way):
                    places[placement.profile].append((where, placement))
        return sorted(leaving), places

    def _arranged(self, where: int, way: _Way) -> tuple[Placement, ...]:
        gpu = self.asked.bins[where]
        stay = [p for j, job in enumerate(self.asked.jobs) for w, p in job.home if w == where and j not in way.leaving]
        counts = dict(zip(self.names, way.takes, strict=True))
        return patterns.arrange(gpu.geometry, gpu.geometry.state_of([*gpu.fixed, *stay]), counts)


def _undominated(ways: Iterator[_Way]) -> list[_Way]:
    """The ways that no other one beats; of equal ones the first."""
    kept: list[_Way] = []
    for way in ways:
        if not any(other.beats(way) for other in kept):
            kept = [other for other in kept if not way.beats(other)] + [way]
    return kept


def _moves(asked: RelocationProblem, leaving: Sequence[int], places: dict[str, list[Place]]) -> Iterator[JobMove]:
    """The jobs that leave dealt out to the places, each staying on its GPU where that is as good."""
    for number in leaving:
        job = asked.jobs[number]
        free = places[job.profiles[0]]
        target = min(free, key=lambda place: (place != job.home[0], place[0], place[1].start))
        free.remove(target)
        if target != job.home[0]:
            yield JobMove(number, (target,))
