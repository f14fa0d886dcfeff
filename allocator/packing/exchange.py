"""Exchange: which GPUs of a large fleet are worth clearing, and what clearing them costs at least.

A relaxation of `relocation`: GPUs that look alike are one class, and where the cleared pods go is left out. So it is
small at any fleet size; its cost is a lower bound of every repack, and the GPUs it clears are where to look.
Called by `repack.focus`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from allocator.geometry import Geometry
from allocator.packing import patterns
from allocator.packing.patterns import Counts, Names
from allocator.packing.program import Program, Status, solve
from allocator.packing.relocation import Question
from allocator.profile import Placement

_Movable = tuple[tuple[Placement, int], ...]  # what may leave a GPU, each with the least that moving it costs
_Class = tuple[Geometry, tuple[Placement, ...], _Movable]


@dataclass(frozen=True, slots=True)
class Bound:
    """The least any repack costs, the GPUs (indices) that a cheapest relaxed one uses, all others by their cost.

    `status` is INFEASIBLE where not even the relaxation has an answer: then no repack has.
    """

    status: Status
    cost: int = 0
    used: tuple[int, ...] = ()
    next_best: tuple[int, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class _Clearing:
    """One way to use a GPU of a class: what it then takes, whether it is empty, what that costs."""

    takes: Counts
    empty: int
    cost: int


def bound(asked: Question, time_limit_s: float) -> Bound:
    """The relaxation's answer."""
    wanted = [name for request in asked.requests for name in request.profiles]
    names = tuple(sorted(set(wanted)))
    classes = _classes(asked)
    ways = {kind: tuple(_clearings(kind, names)) for kind in classes}
    program, columns = _program(asked, classes, ways, tuple(wanted.count(n) for n in names))
    found = solve(program, time_limit_s)
    if found.status is Status.INFEASIBLE:
        return Bound(found.status, seconds=found.seconds)
    used: dict[int, None] = {}
    for (kind, _), column in columns.items():
        number = found.values[column] if found.values else 0
        if number:
            used |= dict.fromkeys([where for where in classes[kind] if where not in used][:number])
    cheap = sorted(
        (way.cost / (sum(way.takes) + way.empty), where)
        for kind, members in classes.items()
        for way in ways[kind]
        if any(way.takes) or way.empty
        for where in members[:4]
    )
    rest = tuple(dict.fromkeys(where for _, where in cheap if where not in used))
    return Bound(found.status, found.bound, tuple(used), rest, found.seconds)


def _classes(asked: Question) -> Mapping[_Class, list[int]]:
    leaving: list[list[tuple[Placement, int]]] = [[] for _ in asked.bins]
    for job in asked.jobs:
        for where, placement in job.home:
            leaving[where].append((placement, job.cost // len(job.home)))
    classes: dict[_Class, list[int]] = {}
    for where, gpu in enumerate(asked.bins):
        kind = (gpu.geometry, tuple(sorted(gpu.fixed)), tuple(sorted(leaving[where])))
        classes.setdefault(kind, []).append(where)
    return classes


def _clearings(kind: _Class, names: Names) -> Iterator[_Clearing]:
    """The undominated ways to use a GPU."""
    gpu, fixed, movable = kind
    cheapest: dict[tuple[Counts, int], int] = {}
    for number in range(len(movable) + 1):
        for kept in combinations(movable, len(movable) - number):
            state = gpu.state_of([*fixed, *(placement for placement, _ in kept)])
            cost = sum(c for _, c in movable) - sum(c for _, c in kept)
            ways = [(takes, 0) for takes in patterns.maximal(gpu, state, names)]
            if not fixed and not kept:
                ways.append(((0,) * len(names), 1))
            for way in ways:
                cheapest[way] = min(cost, cheapest.get(way, cost))
    for (takes, empty), cost in cheapest.items():
        better = (
            other
            for other, its_cost in cheapest.items()
            if other != (takes, empty) and its_cost <= cost and patterns.covers((*other[0], other[1]), (*takes, empty))
        )
        if (any(takes) or empty) and not any(True for _ in better):
            yield _Clearing(takes, empty, cost)


def _program(
    asked: Question, classes: Mapping[_Class, Sequence[int]], ways: Mapping[_Class, Sequence[_Clearing]], wanted: Counts
) -> tuple[Program, dict[tuple[_Class, _Clearing], int]]:
    program = Program()
    columns: dict[tuple[_Class, _Clearing], int] = {}
    for kind, members in classes.items():
        for way in ways[kind]:
            columns[kind, way] = program.column(len(members), way.cost)
        own = [(columns[kind, way], 1) for way in ways[kind]]
        program.row(own, high=len(members))
        forced = sum(where in asked.emptied for where in members)
        if forced:
            program.row(((columns[kind, way], 1) for way in ways[kind] if way.empty), low=forced)
    for position, number in enumerate(wanted):
        terms = ((c, way.takes[position]) for (_, way), c in columns.items() if way.takes[position])
        program.row(terms, low=number)
    program.row(((c, 1) for (_, way), c in columns.items() if way.empty), low=asked.empty)
    return program, columns
