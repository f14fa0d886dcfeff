"""Relocation: where pods go when room must be made, and in which order, at the least cost.

Programs over the same GPUs. `destination` asks only where everything ends: its cost is a lower bound of any plan, and
with `one_by_one` every pod moves at most once, into places that pods before it have left. `sequence` asks for the
whole way, one restart per step, every step legal; it is exact for plans of at most so many steps, pods that move twice
included. A restart frees a pod's own slices before it takes the new ones. Called by `repack.search`, which decides
what is enough, and by the capacity answers.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from allocator.eligibility.amounts import NO_LIMIT, NOTHING, Amounts
from allocator.mig import exploration
from allocator.mig.geometry import Geometry
from allocator.mig.profile import Placement
from allocator.planning.packing import node_limits
from allocator.planning.packing.node_limits import Spare
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
    """A pod: its profiles, where they are (nowhere for one that room is made for), what one restart of it costs, and
    the nodes (those of the bins) to which it may go; None for all. `one_container` says that all its slices are one
    container's, and `asked` what it takes of a node beside slices.
    """

    profiles: tuple[str, ...]
    home: Places = ()
    cost: int = 0
    nodes: frozenset[int] | None = None
    one_container: bool = False
    asked: Amounts = NOTHING


@dataclass(frozen=True, slots=True)
class Budget:
    """At most `limit` over all restarts, each weighed by its job (by index; 0 if absent)."""

    limit: int
    weights: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class RelocationProblem:
    """GPUs, pods that may move, pods to make room for, GPUs to be empty in the end, budgets.

    `empty` is how many GPUs must end up empty, any of them; `emptied` names some that must. `spare` is what nodes have
    left beside all pods where they are.
    """

    bins: tuple[Bin, ...]
    jobs: tuple[MovableJob, ...]
    requests: tuple[MovableJob, ...] = ()
    empty: int = 0
    emptied: frozenset[int] = frozenset()
    budgets: tuple[Budget, ...] = ()
    spare: Spare = field(default_factory=dict)

    def limits(self) -> Spare:
        """Of what nodes have left, that which the pods in question could exceed."""
        asking = {job.asked for job in (*self.jobs, *self.requests)} - {NOTHING}
        if not asking:
            return {}
        slices: Counter[int] = Counter()
        for gpu in self.bins:
            slices[gpu.node] += gpu.geometry.catalogue.memory_slices
        limits = {node: node_limits.binding(spare, asking, slices[node]) for node, spare in self.spare.items()}
        return {node: left for node, left in limits.items() if left != NO_LIMIT}

    def node_of(self, places: Places) -> int:
        """The node of a pod's slices."""
        return self.bins[places[0][0]].node


@dataclass(frozen=True, slots=True)
class JobMove:
    """One restart: the job (by index) and where its slices are afterwards."""

    job: int
    places: Places


@dataclass(frozen=True, slots=True)
class RelocationSolution:
    """An answer: moves (in order, from `sequence`), where each request goes, the cost and a proven lower bound."""

    status: SolveStatus
    moves: tuple[JobMove, ...] = ()
    placed: tuple[Places, ...] = ()
    cost: int = 0
    bound: int = 0
    seconds: float = 0.0


def destination(problem: RelocationProblem, time_limit_s: float, *, one_by_one: bool = False) -> RelocationSolution:
    """The cheapest set of moves whose end is legal, the way there left open. Of equal costs it prefers ends in which
    what moves or comes has fewer surplus slices, and then targets that are free now.

    With `one_by_one` there is an order in which no pod takes memory that another one has still to leave; `order`
    finds it. (Limits that count, such as media engines, may still forbid it.)
    """
    model = _Model(problem)
    end = model.stage(homes=True)
    surplus = 1 + sum(len(job.profiles) for job in (*problem.jobs, *problem.requests))  # above all targets not free
    unit = surplus * surplus if any(_may_be_apart(job) for job in (*problem.jobs, *problem.requests)) else surplus
    for number, job in enumerate(problem.jobs):
        model.program.costs[end.moved[number]] = job.cost * unit
    for number, job_places in end.places.items():
        for (where, placement), column in job_places.items():
            if any(number != other and _meets(home, where, placement) for other, home in model.homes):
                model.program.costs[column] = 1
    model.finish(end)
    model.apart(end, surplus)
    model.budgets([end])
    if one_by_one:
        model.one_by_one(end)
    solution = solve(model.program, time_limit_s)
    moves = tuple(
        JobMove(j, end.places_of(j, solution)) for j, c in end.moved.items() if solution.values and solution.values[c]
    )
    bound = -(-(solution.bound - unit + 1) // unit) if solution.bound else 0
    return _relocation_solution(problem, end, solution, moves, solution.cost // unit, max(0, bound))


def sequence(problem: RelocationProblem, steps: int, at_least: int, time_limit_s: float) -> RelocationSolution:
    """The cheapest legal order of at most so many moves; INFEASIBLE if none has an end. `at_least` is a known bound."""
    model = _Model(problem)
    stages = [model.stage(homes=False) for _ in range(steps)]
    before: _Stage | None = None
    for stage in stages:
        for number, job in enumerate(problem.jobs):
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
    solution = solve(model.program, time_limit_s)
    moves = tuple(
        JobMove(j, stage.places_of(j, solution))
        for stage in stages
        for j, c in stage.moved.items()
        if solution.values and solution.values[c]
    )
    return _relocation_solution(problem, stages[-1], solution, moves, solution.cost, solution.bound)


def size(problem: RelocationProblem) -> int:
    """About how many columns `destination` has; `sequence` has as many per step."""
    kinds: dict[Geometry, int] = {}
    for gpu in problem.bins:
        kinds[gpu.geometry] = kinds.get(gpu.geometry, 0) + 1
    return sum(
        gpus * len(kind.placements_of(name))
        for job in (*problem.jobs, *problem.requests)
        for name in set(job.profiles)
        for kind, gpus in kinds.items()
        if name in kind.profile_index
    )


@dataclass(frozen=True, slots=True)
class _Stage:
    """The columns of one moment: whether a job moves (or, in `sequence`, moves into it), and where its slices are."""

    moved: dict[int, int]
    places: dict[int, dict[Place, int]]
    homes: bool  # whether a job without a move stands at home, in no column
    hosts: dict[int, dict[int, list[int]]] = field(
        default_factory=dict
    )  # per job and node: one of them, if it is there

    def places_of(self, number: int, solution: Solution) -> Places:
        """Where a job is."""
        return tuple(place for place, c in self.places[number].items() if solution.values[c])


class _Model:
    """The program being built. Jobs are numbered, requests after them."""

    def __init__(self, problem: RelocationProblem) -> None:
        self.problem = problem
        self.program = Program()
        self.all = (*problem.jobs, *problem.requests)
        self.homes = [(number, home) for number, job in enumerate(problem.jobs) for home in job.home]
        self.nodes: dict[int, list[int]] = {}
        for where, gpu in enumerate(problem.bins):
            self.nodes.setdefault(gpu.node, []).append(where)
        self._limits = [_binding_limits(gpu.geometry) for gpu in problem.bins]
        self._spare = problem.limits()

    def stage(self, *, homes: bool) -> _Stage:
        """A moment at which every job is somewhere. With `homes`, a job that does not move is at home."""
        numbers = range(len(self.problem.jobs))
        stage = _Stage({n: self.program.column(1) for n in numbers}, {}, homes)
        for number in numbers:
            self._somewhere(stage, number, stage.moved[number] if homes else None)
        return stage

    def finish(self, stage: _Stage) -> None:
        """At this moment the requests are placed too, all is legal, and enough GPUs are empty."""
        first = len(self.problem.jobs)
        for number in range(first, len(self.all)):
            self._somewhere(stage, number, None)
        self.legal(stage, self._empties())

    def budgets(self, stages: Sequence[_Stage]) -> None:
        """The budgets over all moments."""
        for budget in self.problem.budgets:
            terms = [(s.moved[j], w) for s in stages for j, w in budget.weights.items() if j in s.moved]
            self.program.row(terms, high=budget.limit)

    def apart(self, stage: _Stage, cost: int) -> None:
        """Each surplus slice of what moves or comes costs so much."""
        for number, places in stage.places.items():
            if _may_be_apart(self.all[number]):
                on: dict[int, list[tuple[int, int]]] = {}
                for (where, _), column in places.items():
                    on.setdefault(where, []).append((column, 1))
                for terms in on.values():
                    surplus = self.program.column(len(self.all[number].profiles) - 1)
                    self.program.costs[surplus] = cost
                    self.program.row([*terms, (surplus, -1)], high=1)

    def one_by_one(self, stage: _Stage) -> None:
        """Jobs get positions, and who takes another's place comes after it."""
        last = len(self.problem.jobs)
        position = [self.program.column(last) for _ in self.problem.jobs]
        for number in range(last):
            for (where, placement), column in stage.places[number].items():
                for other in {
                    other for other, home in self.homes if other != number and _meets(home, where, placement)
                }:
                    # position[number] >= position[other] + 1, if this place is taken
                    self.program.row([(position[number], 1), (position[other], -1), (column, -last - 1)], low=-last)

    def _somewhere(self, stage: _Stage, number: int, moved: int | None) -> None:
        """Columns of a job's places: all its slices on one node, if it is placed at all."""
        job = self.all[number]
        profiles = job.profiles
        counts = {name: profiles.count(name) for name in profiles}
        places: dict[Place, int] = {}
        chosen: list[int] = []
        hosts = stage.hosts.setdefault(number, {})
        stage.places[number] = places
        for node_number, bins in self.nodes.items():
            here = {name: self._places(bins, name) for name in counts}
            if job.nodes is not None and node_number not in job.nodes:  # it may stay where it is, and nothing else
                here = {name: [place for place in places if place in job.home] for name, places in here.items()}
            if any(len(here[name]) < n for name, n in counts.items()):
                continue
            columns = {place: self.program.column(1) for name in counts for place in here[name]}
            places |= columns
            if len(profiles) == 1:
                chosen += columns.values()
                hosts[node_number] = list(columns.values())
                continue
            node = self.program.column(1)
            chosen.append(node)
            hosts[node_number] = [node]
            for name, n in counts.items():
                self.program.row([*((columns[p], 1) for p in here[name]), (node, -n)], low=0, high=0)
        placed = [(c, 1) for c in chosen]
        if moved is None:
            self.program.row(placed, low=1, high=1)
        else:
            self.program.row([*placed, (moved, -1)], low=0, high=0)

    def _places(self, bins: Iterable[int], name: str) -> list[Place]:
        """Where a slice could ever be on these GPUs."""
        places = []
        for where in bins:
            kind, fixed = self.problem.bins[where].geometry, self.problem.bins[where].fixed
            if name in kind.profile_index:
                state = kind.state_of(fixed)
                places += [(where, kind.placements[i]) for i in kind.placements_of(name) if kind.step[state, i] >= 0]
        return places

    def legal(self, stage: _Stage, empty: Mapping[int, int] = MappingProxyType({})) -> None:
        """No memory slice twice, no limit exceeded, on any GPU at this moment; `empty` are columns of GPUs (if so)."""
        on: dict[int, list[tuple[Placement, int, int]]] = {}  # GPU → what, column, ±1
        base: dict[int, list[Placement]] = {w: list(gpu.fixed) for w, gpu in enumerate(self.problem.bins)}
        for places in stage.places.values():
            for (where, placement), column in places.items():
                on.setdefault(where, []).append((placement, column, 1))
        for number, (where, placement) in self.homes if stage.homes else ():
            base[where].append(placement)
            on.setdefault(where, []).append((placement, stage.moved[number], -1))
        for where, movable in on.items():
            kind = self.problem.bins[where].geometry
            for bit in range(kind.catalogue.memory_slices):
                taken = sum(placement.mask >> bit & 1 for placement in base[where])
                terms = [(c, sign) for placement, c, sign in movable if placement.mask >> bit & 1]
                if terms and where in empty:  # being empty takes every memory slice
                    terms.append((empty[where], 1))
                self.program.row(terms, high=1 - taken)
            for limit, uses in self._limits[where]:
                taken = sum(uses[kind.placement_index[placement]] for placement in base[where])
                terms = [(c, sign * uses[kind.placement_index[placement]]) for placement, c, sign in movable]
                self.program.row(terms, high=limit - taken)
        for node, spare in self._spare.items():
            self._within(stage, node, spare)

    def _within(self, stage: _Stage, node: int, spare: Amounts) -> None:
        """The pods on a node ask for no more than it has; pods at home have taken theirs already."""
        terms = []
        for number, hosts in stage.hosts.items():
            job = self.all[number]
            at_home = bool(job.home) and self.problem.node_of(job.home) == node
            if at_home and stage.homes:
                terms.append((stage.moved[number], NOTHING - job.asked))
            elif at_home:
                spare += job.asked
            terms += [(column, job.asked) for column in hosts.get(node, ())]
        node_limits.rows(self.program, spare, terms)

    def _empties(self) -> dict[int, int]:
        """Columns that say of a GPU that nothing is on it, if enough of them must be empty."""
        if not self.problem.empty and not self.problem.emptied:
            return {}
        empty = {where: self.program.column(1) for where, gpu in enumerate(self.problem.bins) if not gpu.fixed}
        self.program.row(((c, 1) for c in empty.values()), low=self.problem.empty)
        for where in self.problem.emptied:
            self.program.row([(empty[where], 1)] if where in empty else [], low=1)
        return empty


def _relocation_solution(
    problem: RelocationProblem, end: _Stage, solution: Solution, moves: tuple[JobMove, ...], cost: int, bound: int
) -> RelocationSolution:
    if not solution.values:
        return RelocationSolution(solution.status, bound=bound, seconds=solution.seconds)
    first = len(problem.jobs)
    placed = tuple(end.places_of(number, solution) for number in range(first, first + len(problem.requests)))
    status = SolveStatus.OPTIMAL if solution.status is SolveStatus.OPTIMAL or bound >= cost else SolveStatus.FEASIBLE
    return RelocationSolution(
        status, moves, placed, cost, cost if status is SolveStatus.OPTIMAL else bound, solution.seconds
    )


def _binding_limits(kind: Geometry) -> list[tuple[int, tuple[int, ...]]]:
    """Limits that disjoint placements could exceed, each with what every placement uses of it."""
    limits, uses = exploration.limits(kind.catalogue, kind.placements)
    slices = kind.catalogue.memory_slices
    return [
        (limit, use)
        for limit, use in zip(limits, zip(*uses, strict=True), strict=True)
        if max(u / placement.size for u, placement in zip(use, kind.placements, strict=True)) * slices > limit
    ]


def _may_be_apart(job: MovableJob) -> bool:
    """Whether it has slices that are better on different GPUs."""
    return job.one_container and len(job.profiles) > 1


def _meets(home: Place, where: int, placement: Placement) -> bool:
    return home[0] == where and home[1].overlaps(placement)
