"""Relocation: where pods go when room must be made, and in which order, at the least cost.

Programs over the same GPUs. `destination` asks only where everything ends: its cost is a lower bound of any plan, and
with `one_by_one` every pod moves at most once, into places that pods before it have left. `sequence` asks for the
whole way, one restart per step, every step legal; it is exact for plans of at most so many steps, pods that move twice
included. A restart frees a pod's own slices before it takes the new ones. Called by `repack.search`, which decides
what is enough, and by the capacity answers.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from allocator.mig import geometry
from allocator.mig.geometry import Geometry
from allocator.mig.profile import Placement
from allocator.planning.packing.program import Program, Solution, SolveStatus, solve

Place = tuple[int, Placement]  # GPU (index into the bins) and where on it
Places = tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class Bin:
    """One GPU: the slices on it that stay whatever happens, and the node it is in."""

    geometry: Geometry
    fixed: tuple[Placement, ...]
    node: int


@dataclass(frozen=True, slots=True)
class MovableJob:
    """A pod: its profiles, where they are (nowhere for one that room is made for), what one restart of it costs."""

    profiles: tuple[str, ...]
    home: Places = ()
    cost: int = 0


@dataclass(frozen=True, slots=True)
class Budget:
    """At most `limit` over all restarts, each weighed by its job (by index; 0 if absent)."""

    limit: int
    weights: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class RelocationProblem:
    """GPUs, pods that may move, pods to make room for, GPUs to be empty in the end, budgets.

    `empty` is how many GPUs must end up empty, any of them; `emptied` names some that must.
    """

    bins: tuple[Bin, ...]
    jobs: tuple[MovableJob, ...]
    requests: tuple[MovableJob, ...] = ()
    empty: int = 0
    emptied: frozenset[int] = frozenset()
    budgets: tuple[Budget, ...] = ()


@dataclass(frozen=True, slots=True)
class JobMove:
    """One restart: the job (by index) and where its slices are afterwards."""

    job: int
    places: Places


@dataclass(frozen=True, slots=True)
class Found:
    """An answer: moves (in order, from `sequence`), where each request goes, the cost and a proven lower bound."""

    status: SolveStatus
    moves: tuple[JobMove, ...] = ()
    placed: tuple[Places, ...] = ()
    cost: int = 0
    bound: int = 0
    seconds: float = 0.0


def destination(asked: RelocationProblem, time_limit_s: float, *, one_by_one: bool = False) -> Found:
    """The cheapest set of moves whose end is legal, the way there left open. Prefers targets that are free now.

    With `one_by_one` there is an order in which no pod takes memory that another one has still to leave; `order`
    finds it. (Limits that count, such as media engines, may still forbid it.)
    """
    model = _Model(asked)
    end = model.stage(homes=True)
    unit = 1 + sum(len(job.profiles) for job in (*asked.jobs, *asked.requests))
    for number, job in enumerate(asked.jobs):
        model.program.costs[end.moved[number]] = job.cost * unit
    for number, job_places in end.places.items():
        for (where, placement), column in job_places.items():
            if any(number != other and _meets(home, where, placement) for other, home in model.homes):
                model.program.costs[column] = 1
    model.finish(end)
    model.budgets([end])
    if one_by_one:
        model.one_by_one(end)
    found = solve(model.program, time_limit_s)
    moves = tuple(JobMove(j, end.found(j, found)) for j, c in end.moved.items() if found.values and found.values[c])
    bound = -(-(found.bound - unit + 1) // unit) if found.bound else 0
    return _found(asked, end, found, moves, found.cost // unit, max(0, bound))


def sequence(asked: RelocationProblem, steps: int, at_least: int, time_limit_s: float) -> Found:
    """The cheapest legal order of at most so many moves; INFEASIBLE if none has an end. `at_least` is a known bound."""
    model = _Model(asked)
    stages = [model.stage(homes=False) for _ in range(steps)]
    before: _Stage | None = None
    for stage in stages:
        for number, job in enumerate(asked.jobs):
            model.program.costs[stage.moved[number]] = job.cost
            for place, column in stage.places[number].items():
                was = int(place in job.home) if before is None else 0
                terms = [(column, 1), (stage.moved[number], -1)]
                model.program.row(terms if before is None else [*terms, (before.places[number][place], -1)], high=was)
        model.program.row(((c, 1) for c in stage.moved.values()), high=1)
        if before is not None:  # idle steps come last
            terms = [(c, 1) for c in stage.moved.values()] + [(c, -1) for c in before.moved.values()]
            model.program.row(terms, high=0)
        before = stage
    for stage in stages[:-1]:
        model.legal(stage)
    model.finish(stages[-1])
    model.budgets(stages)
    model.program.row(enumerate(model.program.costs), low=at_least)
    found = solve(model.program, time_limit_s)
    moves = tuple(
        JobMove(j, stage.found(j, found))
        for stage in stages
        for j, c in stage.moved.items()
        if found.values and found.values[c]
    )
    return _found(asked, stages[-1], found, moves, found.cost, found.bound)


def size(asked: RelocationProblem) -> int:
    """About how many columns `destination` has; `sequence` has as many per step."""
    kinds: dict[Geometry, int] = {}
    for gpu in asked.bins:
        kinds[gpu.geometry] = kinds.get(gpu.geometry, 0) + 1
    return sum(
        gpus * len(kind.placements_of(name))
        for job in (*asked.jobs, *asked.requests)
        for name in set(job.profiles)
        for kind, gpus in kinds.items()
        if name in kind.profile_index
    )


def order(asked: RelocationProblem, moves: Sequence[JobMove]) -> tuple[JobMove, ...] | None:
    """These moves in an order in which each is legal; None if none was found.

    Whatever can move does so at once. That finds an order if there is one, but for limits that count (media engines).
    """
    there = [list(gpu.fixed) for gpu in asked.bins]
    for job in asked.jobs:
        _shift(there, (), job.home)
    at = {move.job: asked.jobs[move.job].home for move in moves}
    left, done = list(moves), []
    while left:
        ready = next((m for m in left if _can_move(asked, there, at[m.job], m.places)), None)
        if ready is None:
            return None
        _shift(there, at[ready.job], ready.places)
        at[ready.job] = ready.places
        left.remove(ready)
        done.append(ready)
    return tuple(done)


def _can_move(asked: RelocationProblem, there: list[list[Placement]], source: Places, target: Places) -> bool:
    """Whether the GPUs that a restart touches are legal after it; leaves everything as it was."""
    _shift(there, source, target)
    fits = all(_stands(asked.bins[where].geometry, there[where]) for where in {where for where, _ in target})
    _shift(there, target, source)
    return fits


def _shift(there: list[list[Placement]], source: Places, target: Places) -> None:
    for where, placement in source:
        there[where].remove(placement)
    for where, placement in target:
        there[where].append(placement)


def _stands(kind: Geometry, placements: Iterable[Placement]) -> bool:
    state = kind.EMPTY
    for one in placements:
        state = int(kind.step[state, kind.placement_index[one]])
        if state < 0:
            return False
    return True


@dataclass(frozen=True, slots=True)
class _Stage:
    """The columns of one moment: whether a job moves (or, in `sequence`, moves into it), and where its slices are."""

    moved: dict[int, int]
    places: dict[int, dict[Place, int]]
    homes: bool  # whether a job without a move stands at home, in no column

    def found(self, number: int, solution: Solution) -> Places:
        """Where a job is."""
        return tuple(place for place, c in self.places[number].items() if solution.values[c])


class _Model:
    """The program being built. Jobs are numbered, requests after them."""

    def __init__(self, asked: RelocationProblem) -> None:
        self.asked = asked
        self.program = Program()
        self.all = (*asked.jobs, *asked.requests)
        self.homes = [(number, home) for number, job in enumerate(asked.jobs) for home in job.home]
        self.nodes: dict[int, list[int]] = {}
        for where, gpu in enumerate(asked.bins):
            self.nodes.setdefault(gpu.node, []).append(where)
        self._limits = [_binding_limits(gpu.geometry) for gpu in asked.bins]

    def stage(self, *, homes: bool) -> _Stage:
        """A moment at which every job is somewhere. With `homes`, a job that does not move is at home."""
        numbers = range(len(self.asked.jobs))
        stage = _Stage({n: self.program.column(1) for n in numbers}, {}, homes)
        for number in numbers:
            stage.places[number] = self._somewhere(number, stage.moved[number] if homes else None)
        return stage

    def finish(self, stage: _Stage) -> None:
        """At this moment the requests are placed too, all is legal, and enough GPUs are empty."""
        first = len(self.asked.jobs)
        for number in range(first, len(self.all)):
            stage.places[number] = self._somewhere(number, None)
        self.legal(stage, self._empties())

    def budgets(self, stages: Sequence[_Stage]) -> None:
        """The budgets over all moments."""
        for budget in self.asked.budgets:
            terms = [(s.moved[j], w) for s in stages for j, w in budget.weights.items() if j in s.moved]
            self.program.row(terms, high=budget.limit)

    def one_by_one(self, stage: _Stage) -> None:
        """Jobs get positions, and who takes another's place comes after it."""
        last = len(self.asked.jobs)
        position = [self.program.column(last) for _ in self.asked.jobs]
        for number in range(last):
            for (where, placement), column in stage.places[number].items():
                for other in {
                    other for other, home in self.homes if other != number and _meets(home, where, placement)
                }:
                    # position[number] >= position[other] + 1, if this place is taken
                    self.program.row([(position[number], 1), (position[other], -1), (column, -last - 1)], low=-last)

    def _somewhere(self, number: int, moved: int | None) -> dict[Place, int]:
        """Columns of a job's places: all its slices on one node, if it is placed at all."""
        profiles = self.all[number].profiles
        counts = {name: profiles.count(name) for name in profiles}
        places: dict[Place, int] = {}
        chosen: list[int] = []
        for bins in self.nodes.values():
            here = {name: self._places(bins, name) for name in counts}
            if any(len(here[name]) < n for name, n in counts.items()):
                continue
            columns = {place: self.program.column(1) for name in counts for place in here[name]}
            places |= columns
            if len(profiles) == 1:
                chosen += columns.values()
                continue
            node = self.program.column(1)
            chosen.append(node)
            for name, n in counts.items():
                self.program.row([*((columns[p], 1) for p in here[name]), (node, -n)], low=0, high=0)
        placed = [(c, 1) for c in chosen]
        if moved is None:
            self.program.row(placed, low=1, high=1)
        else:
            self.program.row([*placed, (moved, -1)], low=0, high=0)
        return places

    def _places(self, bins: Iterable[int], name: str) -> list[Place]:
        """Where a slice could ever be on these GPUs."""
        found = []
        for where in bins:
            kind, fixed = self.asked.bins[where].geometry, self.asked.bins[where].fixed
            if name in kind.profile_index:
                state = kind.state_of(fixed)
                found += [(where, kind.placements[i]) for i in kind.placements_of(name) if kind.step[state, i] >= 0]
        return found

    def legal(self, stage: _Stage, empty: Mapping[int, int] = MappingProxyType({})) -> None:
        """No memory slice twice, no limit exceeded, on any GPU at this moment; `empty` are columns of GPUs (if so)."""
        on: dict[int, list[tuple[Placement, int, int]]] = {}  # GPU → what, column, ±1
        base: dict[int, list[Placement]] = {w: list(gpu.fixed) for w, gpu in enumerate(self.asked.bins)}
        for places in stage.places.values():
            for (where, placement), column in places.items():
                on.setdefault(where, []).append((placement, column, 1))
        for number, (where, placement) in self.homes if stage.homes else ():
            base[where].append(placement)
            on.setdefault(where, []).append((placement, stage.moved[number], -1))
        for where, movable in on.items():
            kind = self.asked.bins[where].geometry
            for bit in range(kind.catalogue.memory_slices):
                taken = sum(one.mask >> bit & 1 for one in base[where])
                terms = [(c, sign) for one, c, sign in movable if one.mask >> bit & 1]
                if terms and where in empty:  # being empty takes every memory slice
                    terms.append((empty[where], 1))
                self.program.row(terms, high=1 - taken)
            for limit, uses in self._limits[where]:
                taken = sum(uses[kind.placement_index[one]] for one in base[where])
                terms = [(c, sign * uses[kind.placement_index[one]]) for one, c, sign in movable]
                self.program.row(terms, high=limit - taken)

    def _empties(self) -> dict[int, int]:
        """Columns that say of a GPU that nothing is on it, if enough of them must be empty."""
        if not self.asked.empty and not self.asked.emptied:
            return {}
        empty = {where: self.program.column(1) for where, gpu in enumerate(self.asked.bins) if not gpu.fixed}
        self.program.row(((c, 1) for c in empty.values()), low=self.asked.empty)
        for where in self.asked.emptied:
            self.program.row([(empty[where], 1)] if where in empty else [], low=1)
        return empty


def _found(
    asked: RelocationProblem, end: _Stage, found: Solution, moves: tuple[JobMove, ...], cost: int, bound: int
) -> Found:
    if not found.values:
        return Found(found.status, bound=bound, seconds=found.seconds)
    first = len(asked.jobs)
    placed = tuple(end.found(number, found) for number in range(first, first + len(asked.requests)))
    status = SolveStatus.OPTIMAL if found.status is SolveStatus.OPTIMAL or bound >= cost else SolveStatus.FEASIBLE
    return Found(status, moves, placed, cost, cost if status is SolveStatus.OPTIMAL else bound, found.seconds)


def _binding_limits(kind: Geometry) -> list[tuple[int, tuple[int, ...]]]:
    """Limits that disjoint placements could exceed, each with what every placement uses of it."""
    limits, uses = geometry.limits(kind.catalogue, kind.placements)
    slices = kind.catalogue.memory_slices
    return [
        (limit, use)
        for limit, use in zip(limits, zip(*uses, strict=True), strict=True)
        if max(u / one.size for u, one in zip(use, kind.placements, strict=True)) * slices > limit
    ]


def _meets(home: Place, where: int, placement: Placement) -> bool:
    return home[0] == where and home[1].overlaps(placement)
