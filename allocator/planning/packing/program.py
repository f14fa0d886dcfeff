"""Program: a small integer program, and its exact solution by CP-SAT.

Everything that migsched solves exactly is stated as one of these: columns are whole numbers from 0 up, rows bound a
weighted sum of columns, the objective is least cost. Solved on one thread with a fixed seed, so that the same
question gets the same answer. Called by `covering` and `relocation`.
"""

import enum
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from allocator import errors

Terms = tuple[tuple[int, int], ...]  # (column, weight)

MAX_EXACT = 2**53  # the solver's border is in double precision: weights and sums must stay whole numbers there
_PARAMETERS = "num_workers:1 random_seed:1 mip_max_bound:1e10"
_NEARLY = 1e-6  # what an LP value may be above a whole number and still mean it


class SolveStatus(enum.Enum):
    """How a search ended."""

    OPTIMAL = "optimal"
    FEASIBLE = "feasible"  # the time limit came first: a solution, and a bound on how much better one could be
    INFEASIBLE = "infeasible"
    UNKNOWN = "unknown"  # the time limit came first: no solution, no proof that there is none


@dataclass(frozen=True, slots=True)
class Constraint:
    """`low <= sum of weight × column <= high`; None is no bound."""

    terms: Terms
    low: int | None
    high: int | None


@dataclass(slots=True)
class Program:
    """Columns with their upper ends and costs, and the rows between them."""

    uppers: list[int] = field(default_factory=list)
    costs: list[int] = field(default_factory=list)
    rows: list[Constraint] = field(default_factory=list)

    def column(self, upper: int, cost: int = 0) -> int:
        """A new column of 0…upper; its number."""
        self.uppers.append(upper)
        self.costs.append(cost)
        return len(self.uppers) - 1

    def row(self, terms: Iterable[tuple[int, int]], low: int | None = None, high: int | None = None) -> None:
        """A new row. Terms of one column are added up."""
        weights: dict[int, int] = {}
        for column, weight in terms:
            weights[column] = weights.get(column, 0) + weight
        self.rows.append(Constraint(tuple((c, w) for c, w in weights.items() if w), low, high))

    def cost(self, values: Sequence[int]) -> int:
        """What these values cost."""
        return sum(c * v for c, v in zip(self.costs, values, strict=True))

    def satisfied(self, values: Sequence[int]) -> bool:
        """Whether these values keep every row and every end, reckoned exactly."""
        return all(0 <= v <= upper for v, upper in zip(values, self.uppers, strict=True)) and all(
            _within(sum(weight * values[column] for column, weight in row.terms), row) for row in self.rows
        )


@dataclass(frozen=True, slots=True)
class Solution:
    """What was found: `values` per column (empty if none), their cost, and a proven lower bound of any cost."""

    status: SolveStatus
    values: tuple[int, ...] = ()
    cost: int = 0
    bound: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Relaxed:
    """The optimum over fractions: a lower bound, rounded up to the next whole cost, and where it is reached.

    Without values nothing was found, and the bound is 0.
    """

    bound: int
    values: tuple[float, ...]


def solve(program: Program, time_limit_s: float, hint: Sequence[int] = ()) -> Solution:
    """The cheapest whole-numbered solution, or the best one within the time limit with its proven bound.

    A `hint` that satisfies the program is never made worse. Raises InputError if the numbers are too large for
    the solver's precision.
    """
    if not program.uppers:
        fits = program.satisfied(())
        return Solution(SolveStatus.OPTIMAL if fits else SolveStatus.INFEASIBLE)
    _check_precision(program)
    pywraplp = _solvers()
    solver, columns = _compile(program, pywraplp.Solver.CreateSolver("SAT"), whole=True)
    solver.SetSolverSpecificParametersAsString(_PARAMETERS)
    solver.SetTimeLimit(max(1, math.ceil(time_limit_s * 1000)))
    hinted = bool(hint) and program.satisfied(hint)
    if hinted:
        solver.SetHint(columns, [float(v) for v in hint])
    exact = pywraplp.MPSolverParameters()
    exact.SetDoubleParam(pywraplp.MPSolverParameters.RELATIVE_MIP_GAP, 0.0)
    ended = solver.Solve(exact)
    seconds = solver.wall_time() / 1000
    if ended == pywraplp.Solver.INFEASIBLE:
        return Solution(SolveStatus.INFEASIBLE, seconds=seconds)
    if ended not in (pywraplp.Solver.OPTIMAL, pywraplp.Solver.FEASIBLE):
        return _fallback(program, hint if hinted else (), seconds)
    values = tuple(round(c.solution_value()) for c in columns)
    if not program.satisfied(values):
        raise errors.MigschedError("the solver's answer breaks the program it was given; please report this")
    cost = program.cost(values)
    if ended == pywraplp.Solver.OPTIMAL:
        return Solution(SolveStatus.OPTIMAL, values, cost, cost, seconds)
    bound = max(0, _up(solver.Objective().BestBound()))
    return Solution(
        SolveStatus.OPTIMAL if bound >= cost else SolveStatus.FEASIBLE, values, cost, min(bound, cost), seconds
    )


def relax(program: Program) -> Relaxed:
    """The optimum if columns could be fractions, by GLOP. That there is none is for `solve` to prove, exactly."""
    _check_precision(program)
    pywraplp = _solvers()
    solver, columns = _compile(program, pywraplp.Solver.CreateSolver("GLOP"), whole=False)
    ended = solver.Solve()
    if ended != pywraplp.Solver.OPTIMAL:
        return Relaxed(0, ())
    return Relaxed(max(0, _up(solver.Objective().Value())), tuple(c.solution_value() for c in columns))


def _fallback(program: Program, hint: Sequence[int], seconds: float) -> Solution:
    if not hint:
        return Solution(SolveStatus.UNKNOWN, seconds=seconds)
    return Solution(SolveStatus.FEASIBLE, tuple(hint), program.cost(hint), 0, seconds)


def _solvers() -> Any:
    """OR-Tools, loaded when something is solved: whoever only imports a planner does not pay for it."""
    from ortools.linear_solver import pywraplp

    return pywraplp


def _compile(program: Program, solver: Any, *, whole: bool) -> tuple[Any, list[Any]]:
    columns = [solver.Var(0, upper, whole, "") for upper in program.uppers]
    endless = solver.infinity()
    for row in program.rows:
        low = -endless if row.low is None else row.low
        compiled = solver.RowConstraint(low, endless if row.high is None else row.high, "")
        for column, weight in row.terms:
            compiled.SetCoefficient(columns[column], weight)
    objective = solver.Objective()
    objective.SetMinimization()
    for column, cost in zip(columns, program.costs, strict=True):
        if cost:
            objective.SetCoefficient(column, cost)
    return solver, columns


def _check_precision(program: Program) -> None:
    largest = sum(abs(c) * u for c, u in zip(program.costs, program.uppers, strict=True))
    for row in program.rows:
        largest = max(largest, sum(abs(weight) * program.uppers[column] for column, weight in row.terms))
    if largest >= MAX_EXACT:
        raise errors.InputError("size of the question", largest, "too large to be exact; use smaller numbers")


def _within(total: int, row: Constraint) -> bool:
    return (row.low is None or total >= row.low) and (row.high is None or total <= row.high)


def _up(value: float) -> int:
    """The next whole number, forgiving the solver's last digits."""
    return math.ceil(value - _NEARLY * max(1.0, abs(value)))
