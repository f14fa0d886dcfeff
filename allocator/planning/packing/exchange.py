"""Exchange: which GPUs of a large fleet are worth clearing, and what clearing them costs at least.

A relaxation of `relocation`: GPUs that look alike are one class, and where the cleared pods go is left out. So it is
small at any fleet size; its cost is a lower bound of every repack, and the GPUs it clears are where to look.
Called by `repack.focus`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from allocator.mig.geometry import Geometry
from allocator.mig.profile import Placement
from allocator.planning.packing import patterns
from allocator.planning.packing.patterns import Counts, Names
from allocator.planning.packing.program import Program, SolveStatus, solve
from allocator.planning.packing.relocation import Budget, RelocationProblem

_Burden = tuple[int, ...]  # cost, then use of each budget that counts, in parts of a whole
_Movable = tuple[tuple[Placement, _Burden], ...]  # what may leave a GPU, each with the least that moving it takes
_Class = tuple[Geometry, tuple[Placement, ...], _Movable]

_MOST_CLASSES = 200  # of GPUs, up to which budgets count that only some pods draw on: they make GPUs differ
_PARTS = 60  # a pod with several slices shares its cost among them; 60 divides by 1…6


@dataclass(frozen=True, slots=True)
class Bound:
    """The least any repack costs, the GPUs (indices) that a cheapest relaxed one uses, all others by their cost.

    `used` says of each GPU what leaves it, `to_empty` are those that end up empty; the `next_best` are worth a try
    too. `status` is INFEASIBLE where not even the relaxation has an answer: then no repack has.
    """

    status: SolveStatus
    cost: int = 0
    used: Mapping[int, tuple[Placement, ...]] = field(default_factory=dict)
    to_empty: frozenset[int] = frozenset()
    next_best: tuple[int, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class _Clearing:
    """One way to use a GPU of a class: what it then takes, whether it is empty, what that costs and uses up."""

    takes: Counts
    empty: int
    burden: _Burden
    leaves: tuple[Placement, ...] = field(compare=False)

    @property
    def cost(self) -> int:
        """In parts."""
        return self.burden[0]


def bound(problem: RelocationProblem, time_limit_s: float) -> Bound:
    """The relaxation's answer."""
    wanted = [name for request in problem.requests for name in request.profiles]
    names = tuple(sorted(set(wanted)))
    budgets, classes = problem.budgets, _classes(problem, problem.budgets)
    if len(classes) > _MOST_CLASSES:
        budgets = tuple(_shared_budgets(problem))
        classes = _classes(problem, budgets)
    ways = {kind: tuple(_clearings(kind, names)) for kind in classes}
    program, columns = _program(problem, classes, ways, tuple(wanted.count(n) for n in names), budgets)
    solution = solve(program, time_limit_s)
    if solution.status is SolveStatus.INFEASIBLE:
        return Bound(solution.status, seconds=solution.seconds)
    used: dict[int, tuple[Placement, ...]] = {}
    to_empty: set[int] = set()
    for (kind, way), column in columns.items():
        number = solution.values[column] if solution.values else 0
        if number and (any(way.takes) or any(way.burden)):  # one that is empty already may stay out of it
            open_to = (w for w in classes[kind] if w not in used and (way.empty or w not in problem.emptied))
            chosen = sorted(open_to, key=lambda where: (where not in problem.emptied, where))[:number]
            used |= dict.fromkeys(chosen, way.leaves)
            to_empty |= set(chosen) if way.empty else set()
    cheap = sorted(
        (way.cost / (sum(way.takes) + way.empty), where)
        for kind, members in classes.items()
        for way in ways[kind]
        if any(way.takes) or any(way.burden)
        for where in members[:4]
    )
    rest = tuple(dict.fromkeys(where for _, where in cheap if where not in used))
    return Bound(solution.status, -(-solution.bound // _PARTS), used, frozenset(to_empty), rest, solution.seconds)


def _classes(problem: RelocationProblem, budgets: Sequence[Budget]) -> Mapping[_Class, list[int]]:
    leaving: list[list[tuple[Placement, _Burden]]] = [[] for _ in problem.bins]
    for number, job in enumerate(problem.jobs):
        whole = (job.cost, *(budget.weights.get(number, 0) for budget in budgets))
        for where, placement in job.home:
            leaving[where].append((placement, tuple(part * _PARTS // len(job.home) for part in whole)))
    classes: dict[_Class, list[int]] = {}
    for where, gpu in enumerate(problem.bins):
        kind = (gpu.geometry, tuple(sorted(gpu.fixed)), tuple(sorted(leaving[where])))
        classes.setdefault(kind, []).append(where)
    return classes


def _clearings(kind: _Class, names: Names) -> Iterator[_Clearing]:
    """The undominated ways to use a GPU."""
    gpu, fixed, movable = kind
    ways: set[_Clearing] = set()
    for number in range(0 if names else len(movable), len(movable) + 1):
        for kept in combinations(movable, len(movable) - number):
            state = gpu.state_of([*fixed, *(placement for placement, _ in kept)])
            burden = _less([b for _, b in movable], [b for _, b in kept])
            leaves = tuple(placement for placement, _ in movable if all(placement != stays for stays, _ in kept))
            ways |= {_Clearing(takes, 0, burden, leaves) for takes in patterns.maximal(gpu, state, names)}
            if not fixed and not kept:
                ways.add(_Clearing((0,) * len(names), 1, burden, leaves))
    for way in sorted(ways, key=lambda way: (way.takes, way.empty, way.burden)):
        if (any(way.takes) or way.empty) and not any(other != way and _beats(other, way) for other in ways):
            yield way


def _less(all_of: Sequence[_Burden], kept: Sequence[_Burden]) -> _Burden:
    """The burden of those that are not kept."""
    if not all_of:
        return (0,)
    return tuple(sum(b[i] for b in all_of) - sum(b[i] for b in kept) for i in range(len(all_of[0])))


def _beats(way: _Clearing, other: _Clearing) -> bool:
    """Whether a way gives as much for no more of anything."""
    return (
        way.empty >= other.empty
        and patterns.covers(way.takes, other.takes)
        and all(a <= b for a, b in zip(way.burden, other.burden, strict=True))
    )


def _shared_budgets(problem: RelocationProblem) -> list[Budget]:
    """The budgets that every job draws on."""
    return [budget for budget in problem.budgets if len(budget.weights) == len(problem.jobs)]


def _program(
    problem: RelocationProblem,
    classes: Mapping[_Class, Sequence[int]],
    ways: Mapping[_Class, Sequence[_Clearing]],
    wanted: Counts,
    budgets: Sequence[Budget],
) -> tuple[Program, dict[tuple[_Class, _Clearing], int]]:
    program = Program()
    columns: dict[tuple[_Class, _Clearing], int] = {}
    for kind, members in classes.items():
        for way in ways[kind]:
            columns[kind, way] = program.column(len(members), way.cost)
        own = [(columns[kind, way], 1) for way in ways[kind]]
        program.row(own, high=len(members))
        forced = sum(where in problem.emptied for where in members)
        if forced:
            program.row(((columns[kind, way], 1) for way in ways[kind] if way.empty), low=forced)
    for position, number in enumerate(wanted):
        terms = ((c, way.takes[position]) for (_, way), c in columns.items() if way.takes[position])
        program.row(terms, low=number)
    program.row(((c, 1) for (_, way), c in columns.items() if way.empty), low=problem.empty)
    for number, budget in enumerate(budgets, 1):
        terms = ((c, way.burden[number]) for (_, way), c in columns.items() if any(way.burden))
        program.row(terms, high=budget.limit * _PARTS)
    return program, columns
