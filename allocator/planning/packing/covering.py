"""Covering: how many GPUs a demand needs, exactly.

GPUs that are alike (same geometry, same state) are one supply; a column says how many of them take one maximal
pattern. That is the whole problem, because what fits an empty GPU is decided by counts alone, and what fits a used
one by its state. Services that may run on several profiles are chosen in the same program. Called by the planner and
the capacity answers. Theory: docs/planning.md.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from allocator.mig.geometry import Geometry
from allocator.planning.packing import patterns
from allocator.planning.packing.patterns import Counts, Names
from allocator.planning.packing.program import Program, Relaxed, Solution, SolveStatus, relax, solve


@dataclass(frozen=True, slots=True)
class Supply:
    """GPUs that are alike, and at most `stock` of them (None: any number).

    Using one costs `cost`; among plans of equal cost the least `tie` is taken. `idle` are slices that stand on each
    of them, in `state`, and are free to serve the demand.
    """

    geometry: Geometry
    state: int = Geometry.EMPTY
    stock: int | None = None
    cost: int = 1
    tie: int = 0
    idle: tuple[tuple[str, int], ...] = ()

    @property
    def model(self) -> str:
        """The GPU model."""
        return self.geometry.catalogue.model


@dataclass(frozen=True, slots=True)
class Option:
    """One way to serve a menu: a profile, on one GPU model or on any, what an instance adds and what it costs."""

    profile: str
    model: str | None
    rate: int
    cost: int = 0


@dataclass(frozen=True, slots=True)
class Menu:
    """Something served by any mix of options that together reach `rate`."""

    rate: int
    options: tuple[Option, ...]


@dataclass(frozen=True, slots=True)
class CoverDemand:
    """Slices by profile, and menus."""

    counts: Mapping[str, int]
    menus: tuple[Menu, ...] = ()

    @property
    def names(self) -> Names:
        """Every profile that is or may be wanted."""
        return tuple(
            sorted({n for n, c in self.counts.items() if c} | {o.profile for m in self.menus for o in m.options})
        )


@dataclass(frozen=True, slots=True)
class Use:
    """`number` GPUs of a supply (by index) that get `counts` more slices, in the order of the cover's names."""

    supply: int
    counts: Counts
    number: int


@dataclass(frozen=True, slots=True)
class Cover:
    """A demand, served: the GPUs used, instances per menu and option, the cost and a proven lower bound of it."""

    names: Names
    uses: tuple[Use, ...]
    chosen: tuple[tuple[int, ...], ...]
    cost: int
    bound: int
    status: SolveStatus


@dataclass(frozen=True, slots=True)
class Room:
    """How many more slices fit, and the proven most that could."""

    slices: int
    at_most: int


def cover(supplies: Sequence[Supply], demand: CoverDemand, time_limit_s: float) -> Cover:
    """The cheapest way to serve a demand; `status` INFEASIBLE or UNKNOWN, and no uses, where there is none (found)."""
    model = _Model(supplies, demand)
    lowest = relax(model.program)
    solution = solve(model.program, time_limit_s, _rounded(supplies, demand, model, lowest))
    if not solution.values and solution.status is not SolveStatus.OPTIMAL:
        return Cover(model.names, (), (), 0, lowest.bound, solution.status)
    bound = min(solution.cost, max(solution.bound, lowest.bound))
    status = SolveStatus.OPTIMAL if bound >= solution.cost else SolveStatus.FEASIBLE
    if _ties_matter(supplies):
        solution = _least_tie(supplies, model, solution, time_limit_s - solution.seconds)
    chosen = tuple(
        _enough(menu, [solution.values[c] for c in columns])
        for menu, columns in zip(demand.menus, model.menus, strict=True)
    )
    uses = _trimmed(supplies, demand, model.names, model.uses(solution.values), chosen)
    cost = sum(supplies[u.supply].cost * u.number for u in uses) + sum(
        option.cost * number
        for menu, numbers in zip(demand.menus, chosen, strict=True)
        for option, number in zip(menu.options, numbers, strict=True)
    )
    return Cover(model.names, uses, chosen, cost, bound, status)


def room(supplies: Sequence[Supply], demand: CoverDemand, profile: str, time_limit_s: float) -> Room | None:
    """How many more slices of a profile fit once a demand is served; None if the demand itself does not fit.

    Idle slices that the demand leaves over count. Supplies need a stock. Past the time limit `slices` is what was found
    and `at_most` what is proven.
    """
    most = sum(
        _stock(s) * int(s.geometry.room[s.state, s.geometry.profile_index[profile]])
        for s in _offering(supplies, profile)
    ) + _idle(supplies, profile, None)
    more = {**demand.counts, profile: demand.counts.get(profile, 0) + most}
    free = tuple(replace(s, cost=0, tie=0) for s in supplies)
    model = _Model(free, CoverDemand(more, demand.menus), spare=(profile, most))
    solution = solve(model.program, time_limit_s)
    if solution.status is SolveStatus.INFEASIBLE:
        return None
    if not solution.values and solution.status is SolveStatus.UNKNOWN:
        return Room(0, most)
    return Room(most - solution.cost, most - solution.bound)


class _Model:
    """The program of a demand: columns per (supply, pattern), then per (menu, option), then what may be left out."""

    def __init__(self, supplies: Sequence[Supply], demand: CoverDemand, spare: tuple[str, int] = ("", 0)) -> None:
        self.program = Program()
        self.names = demand.names
        self._patterns: list[tuple[int, Counts, int]] = []
        self.menus = [self._menu(menu) for menu in demand.menus]
        most = _most_slices(demand)
        for number, supply in enumerate(supplies):
            self._supply(number, supply, most)
        left_out = self.program.column(spare[1], 1) if spare[1] else None
        for position, name in enumerate(self.names):
            self._rows_of(supplies, demand, position, left_out if name == spare[0] else None)

    def _menu(self, menu: Menu) -> list[int]:
        columns = [self.program.column(-(-menu.rate // o.rate), o.cost) for o in menu.options]
        self.program.row(((c, o.rate) for c, o in zip(columns, menu.options, strict=True)), low=menu.rate)
        return columns

    def _supply(self, number: int, supply: Supply, most: int) -> None:
        upper = most if supply.stock is None else min(supply.stock, most)
        columns = []
        for pattern in patterns.maximal(supply.geometry, supply.state, self.names):
            if any(pattern):
                columns.append(self.program.column(upper, supply.cost))
                self._patterns.append((number, pattern, columns[-1]))
        if supply.stock is not None and len(columns) > 1:
            self.program.row(((c, 1) for c in columns), high=supply.stock)

    def _rows_of(self, supplies: Sequence[Supply], demand: CoverDemand, position: int, left_out: int | None) -> None:
        """Enough of one profile in all, and on each model that some option insists on.

        These rows suffice: what may run anywhere takes what the insisting ones leave over.
        """
        name = self.names[position]
        per_model: dict[str | None, list[tuple[int, int]]] = {}
        for menu, columns in zip(demand.menus, self.menus, strict=True):
            for option, column in zip(menu.options, columns, strict=True):
                if option.profile == name:
                    per_model.setdefault(option.model, []).append((column, -1))
        wanted = [term for terms in per_model.values() for term in terms]
        spare = [] if left_out is None else [(left_out, 1)]
        low = demand.counts.get(name, 0) - _idle(supplies, name, None)
        self.program.row([*self._made(supplies, position, None), *wanted, *spare], low=low)
        for model, terms in per_model.items():
            if model is not None:
                low = -_idle(supplies, name, model)
                self.program.row([*self._made(supplies, position, model), *terms], low=low)

    def _made(self, supplies: Sequence[Supply], position: int, model: str | None) -> Iterator[tuple[int, int]]:
        for number, pattern, column in self._patterns:
            if pattern[position] and model in (None, supplies[number].model):
                yield column, pattern[position]

    def uses(self, values: Sequence[int]) -> list[Use]:
        """The patterns used."""
        return [Use(number, pattern, values[c]) for number, pattern, c in self._patterns if values[c]]

    def with_ties(self, supplies: Sequence[Supply], at_most: int) -> Program:
        """The same program, costing no more than `at_most`, and asking for the least tie."""
        tied = Program(list(self.program.uppers), [0] * len(self.program.costs), list(self.program.rows))
        tied.row(enumerate(self.program.costs), high=at_most)
        for number, _, column in self._patterns:
            tied.costs[column] = supplies[number].tie
        return tied


def _rounded(supplies: Sequence[Supply], demand: CoverDemand, model: _Model, lowest: Relaxed) -> tuple[int, ...]:
    """A whole-numbered plan from the fractional one, to start from and to fall back on; may break a stock."""
    if not lowest.values:
        return ()
    chosen = {c: math.ceil(lowest.values[c] - 1e-6) for columns in model.menus for c in columns}
    fixed = _Model(supplies, demand)
    for column, number in chosen.items():
        fixed.program.row([(column, 1)], low=number, high=number)
    again = relax(fixed.program) if chosen else lowest
    if not again.values:
        return ()
    values = [math.ceil(v - 1e-6) for v in again.values]
    for column in sorted(
        (c for c, v in enumerate(again.values) if values[c] > v + 1e-6), key=lambda c: again.values[c] % 1
    ):
        values[column] -= 1
        if not model.program.satisfied(values):
            values[column] += 1
    return tuple(values) if model.program.satisfied(values) else ()


def _ties_matter(supplies: Sequence[Supply]) -> bool:
    ratios = {s.tie / s.cost if s.cost else math.inf for s in supplies if s.cost or s.tie}
    return len(ratios) > 1 or math.inf in ratios


def _least_tie(supplies: Sequence[Supply], model: _Model, solution: Solution, time_limit_s: float) -> Solution:
    if time_limit_s <= 0:
        return solution
    tied = solve(model.with_ties(supplies, solution.cost), time_limit_s, solution.values)
    return tied if tied.values else solution


def _enough(menu: Menu, numbers: list[int]) -> tuple[int, ...]:
    """The same choice without the instances that it can do without, weakest first."""
    spare = sum(o.rate * n for o, n in zip(menu.options, numbers, strict=True)) - menu.rate
    for i in sorted(range(len(numbers)), key=lambda i: menu.options[i].rate):
        dropped = min(numbers[i], spare // menu.options[i].rate)
        numbers[i] -= dropped
        spare -= dropped * menu.options[i].rate
    return tuple(numbers)


def _trimmed(
    supplies: Sequence[Supply], demand: CoverDemand, names: Names, uses: Sequence[Use], chosen: Sequence[Sequence[int]]
) -> tuple[Use, ...]:
    """The same GPUs without the slices that nobody asked for, taken where least else is cut."""
    cut: Counter[tuple[int, Counts]] = Counter()
    for use in uses:
        cut[use.supply, use.counts] += use.number
    for position, name in enumerate(names):
        spare = _spare(supplies, demand, chosen, name, cut, position)
        while spare[None] > 0:
            held = [k for k, n in cut.items() if n and k[1][position] and spare[supplies[k[0]].model] > 0]
            if not held:
                break
            number, counts = min(held, key=lambda k: (sum(k[1]), k))
            model = supplies[number].model
            gpus = min(cut[number, counts], spare[None], spare[model])
            cut[number, counts] -= gpus
            cut[number, (*counts[:position], counts[position] - 1, *counts[position + 1 :])] += gpus
            spare[None] -= gpus
            spare[model] -= gpus
    return tuple(Use(n, counts, gpus) for (n, counts), gpus in sorted(cut.items()) if gpus and any(counts))


def _spare(
    supplies: Sequence[Supply],
    demand: CoverDemand,
    chosen: Sequence[Sequence[int]],
    name: str,
    cut: Counter[tuple[int, Counts]],
    position: int,
) -> dict[str | None, int]:
    """Slices of a profile beyond those needed: in all (None), and on each model beyond what insists on it."""
    spare: dict[str | None, int] = {model: _idle(supplies, name, model) for model in {s.model for s in supplies}}
    for (number, counts), gpus in cut.items():
        spare[supplies[number].model] += counts[position] * gpus
    spare[None] = sum(spare.values()) - demand.counts.get(name, 0)
    for menu, numbers in zip(demand.menus, chosen, strict=True):
        for option, number in zip(menu.options, numbers, strict=True):
            if option.profile == name:
                spare[None] -= number
                if option.model is not None:
                    spare[option.model] -= number
    return spare


def _idle(supplies: Sequence[Supply], name: str, model: str | None) -> int:
    """Idle slices of a profile, on one model or on all."""
    return sum(_stock(s) * dict(s.idle).get(name, 0) for s in supplies if s.idle and model in (None, s.model))


def _most_slices(demand: CoverDemand) -> int:
    per_menu = (max((-(-m.rate // o.rate) for o in m.options), default=0) for m in demand.menus)
    return sum(demand.counts.values()) + sum(per_menu)


def _stock(supply: Supply) -> int:
    if supply.stock is None:
        raise ValueError("a supply without end has no room to measure")
    return supply.stock


def _offering(supplies: Sequence[Supply], profile: str) -> Iterator[Supply]:
    return (s for s in supplies if profile in s.geometry.profile_index)
