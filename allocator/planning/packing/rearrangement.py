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
from allocator.planning.packing.relocation import JobMove, Place, RelocationProblem, RelocationSolution


def applies(problem: RelocationProblem) -> bool:
    """Whether all pods in question, movable ones and requests, have one slice and may go to any node that takes some,
    whose CPU and memory suffice for any of them.

    A node whose GPUs are all to be emptied takes none.
    """
    takers = {gpu.node for where, gpu in enumerate(problem.bins) if where not in problem.emptied}
    return not problem.limits() and all(
        len(job.profiles) == 1 and (job.nodes is None or takers <= job.nodes)
        for job in (*problem.jobs, *problem.requests)
    )


def destination(problem: RelocationProblem, time_limit_s: float) -> RelocationSolution:
    """The cheapest set of moves whose end is legal, the way there left open. For questions to which this `applies`."""
    model = _Model(problem)
    solution = solve(model.program, time_limit_s)
    if not solution.values:
        return RelocationSolution(solution.status, bound=solution.bound, seconds=solution.seconds)
    leaving, places = model.chosen(solution)
    placed = tuple((places[request.profiles[0]].pop(),) for request in problem.requests)
    moves = tuple(_moves(problem, leaving, places))
    cost = sum(problem.jobs[move.job].cost for move in moves)
    bound = min(solution.bound, cost)
    status = SolveStatus.OPTIMAL if bound == cost else SolveStatus.FEASIBLE
    return RelocationSolution(status, moves, placed, cost, bound, solution.seconds)


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

    def __init__(self, problem: RelocationProblem) -> None:
        self.problem = problem
        self.names: Names = tuple(sorted({job.profiles[0] for job in (*problem.jobs, *problem.requests)}))
        self.program = Program()
        self._ways: list[tuple[int, _Way, int]] = []
        at: list[list[int]] = [[] for _ in problem.bins]
        for number, job in enumerate(problem.jobs):
            at[job.home[0][0]].append(number)
        for where in range(len(problem.bins)):
            self._gpu(where, at[where])
        self._rows()

    def _gpu(self, where: int, jobs: Sequence[int]) -> None:
        columns = []
        for way in _undominated(self._ways_of(where, jobs)):
            columns.append(self.program.column(1, way.burden[0]))
            self._ways.append((where, way, columns[-1]))
        self.program.row(((c, 1) for c in columns), 1, 1)
        if where in self.problem.emptied:
            self.program.row(((c, 1) for w, way, c in self._ways if w == where and way.empty), low=1)

    def _ways_of(self, where: int, jobs: Sequence[int]) -> Iterator[_Way]:
        gpu = self.problem.bins[where]
        for number in range(len(jobs) + 1):
            for leaving in combinations(jobs, number):
                stay = [self.problem.jobs[j].home[0][1] for j in jobs if j not in leaving]
                state = gpu.geometry.state_of([*gpu.fixed, *stay])
                burden = self._burden(leaving)
                ways = [(takes, False) for takes in patterns.maximal(gpu.geometry, state, self.names)]
                if not gpu.fixed and not stay:
                    ways.append(((0,) * len(self.names), True))
                for takes, empty in ways:
                    yield _Way(leaving, takes, empty, self._net(leaving, takes), burden)

    def _burden(self, leaving: Sequence[int]) -> Counts:
        cost = sum(self.problem.jobs[j].cost for j in leaving)
        return (cost, *(sum(b.weights.get(j, 0) for j in leaving) for b in self.problem.budgets))

    def _net(self, leaving: Sequence[int], takes: Counts) -> Counts:
        gone = [self.problem.jobs[j].profiles[0] for j in leaving]
        return tuple(n - gone.count(name) for name, n in zip(self.names, takes, strict=True))

    def _rows(self) -> None:
        wanted = [request.profiles[0] for request in self.problem.requests]
        for position, name in enumerate(self.names):
            self.program.row(((c, way.net[position]) for _, way, c in self._ways), low=wanted.count(name))
        if self.problem.empty:
            self.program.row(((c, 1) for _, way, c in self._ways if way.empty), low=self.problem.empty)
        for number, budget in enumerate(self.problem.budgets, 1):
            self.program.row(((c, way.burden[number]) for _, way, c in self._ways), high=budget.limit)

    def chosen(self, solution: Solution) -> tuple[list[int], dict[str, list[Place]]]:
        """The jobs that leave their GPU, and the places there are for slices of each profile."""
        leaving: list[int] = []
        places: dict[str, list[Place]] = {name: [] for name in self.names}
        for where, way, column in self._ways:
            if solution.values[column]:
                leaving += way.leaving
                for placement in self._arranged(where, way):
                    places[placement.profile].append((where, placement))
        return sorted(leaving), places

    def _arranged(self, where: int, way: _Way) -> tuple[Placement, ...]:
        gpu = self.problem.bins[where]
        stay = [
            p for j, job in enumerate(self.problem.jobs) for w, p in job.home if w == where and j not in way.leaving
        ]
        counts = dict(zip(self.names, way.takes, strict=True))
        return patterns.arrange(gpu.geometry, gpu.geometry.state_of([*gpu.fixed, *stay]), counts)


def _undominated(ways: Iterator[_Way]) -> list[_Way]:
    """The ways that no other one beats; of equal ones the first."""
    kept: list[_Way] = []
    for way in ways:
        if not any(other.beats(way) for other in kept):
            kept = [other for other in kept if not way.beats(other)] + [way]
    return kept


def _moves(problem: RelocationProblem, leaving: Sequence[int], places: dict[str, list[Place]]) -> Iterator[JobMove]:
    """The jobs that leave dealt out to the places, each staying on its GPU where that is as good."""
    for number in leaving:
        job = problem.jobs[number]
        free = places[job.profiles[0]]
        target = min(free, key=lambda place: (place != job.home[0], place[0], place[1].start))
        free.remove(target)
        if target != job.home[0]:
            yield JobMove(number, (target,))
