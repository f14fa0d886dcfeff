"""Planner: from a document to the answer, over `packing.covering`. Called by `plan.answer` alone."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from math import gcd
from typing import Any

from allocator.mig.catalogue import Catalogue
from allocator.planning import document_reader as reader
from allocator.planning.packing import covering
from allocator.planning.packing.covering import Cover, CoverDemand, Supply
from allocator.planning.packing.program import SolveStatus
from allocator.planning.plan import layouts, mig_parted, problem
from allocator.planning.plan.layouts import Layout
from allocator.planning.plan.problem import PlanProblem
from allocator.planning.plan.types import Headroom, PlanAnswer, PlanDocument, PlanGoal, PlanLayout, PlanSlice


def answer(value: Any, time_limit_s: float, catalogues: Mapping[str, Catalogue]) -> PlanAnswer:
    """See `plan.answer`."""
    task = problem.build(reader.read(value, PlanDocument), catalogues)
    limit_s = float(reader.number(time_limit_s, "time limit", positive=True))
    supplies = _supplies(task)
    demand = CoverDemand(task.demand, tuple(task.menus.values()))
    cover = covering.cover(supplies, demand, limit_s)
    if cover.status in (SolveStatus.INFEASIBLE, SolveStatus.UNKNOWN):
        return _refusal(task, supplies, demand, cover.status, limit_s)
    return _answer(task, supplies, demand, cover, limit_s)


def _supplies(task: PlanProblem) -> list[Supply]:
    """The pinned GPUs, in their order, at no cost; then the fleet's other GPUs, priced by the goal."""
    pinned = [Supply(gpu.geometry, gpu.state, n, 0, 0, gpu.idle) for gpu, n in task.pinned.items()]
    prices = _whole_prices(task)
    fresh = []
    for stock, price in zip(task.fleet, prices, strict=True):
        left = None if stock.count is None else stock.count - task.pinned_of(stock.model)
        cost, tie = (1, price) if task.goal is PlanGoal.GPUS else (price, 1)
        fresh.append(Supply(stock.geometry, stock=left, cost=cost, tie=tie))
    return pinned + fresh


def _whole_prices(task: PlanProblem) -> list[int]:
    """Prices in whole units; all alike where the fleet has none."""
    if any(stock.price is None for stock in task.fleet):
        return [1] * len(task.fleet)
    whole = [int((stock.price or Decimal(0)).scaleb(reader.DECIMALS)) for stock in task.fleet]
    common = gcd(*whole) or 1
    return [price // common for price in whole]


def _answer(
    task: PlanProblem, supplies: Sequence[Supply], demand: CoverDemand, cover: Cover, time_limit_s: float
) -> PlanAnswer:
    gpus_by_layout = layouts.of_cover(cover, supplies, task.pinned)
    gpus = _gpus(task, gpus_by_layout)
    profiles = frozenset(cover.names)
    lower_bound = _lower_bound(task, cover)
    cost = _cost(task, gpus)
    reached = cost if task.goal is PlanGoal.COST else Decimal(sum(gpus.values()))
    optimal = cover.status is SolveStatus.OPTIMAL
    return PlanAnswer(
        feasible=True,
        gpus=gpus,
        new_gpus={model: number - task.pinned_of(model) for model, number in gpus.items()},
        cost=None if cost is None else _number(cost),
        goal=task.goal,
        lower_bound=_number(lower_bound),
        optimal=optimal,
        gap=0.0 if optimal or not reached else float(1 - lower_bound / reached),
        layouts=[_layout(layout, number) for layout, number in gpus_by_layout.items()],
        services=_services(task, cover),
        needs_mib=dict(task.needs_mib),
        headroom=_headroom(task, supplies, demand, gpus, time_limit_s / 4),
        stranded_memory_slices=sum(layout.stranded(profiles) * n for layout, n in gpus_by_layout.items()),
        mig_parted=mig_parted.render(gpus_by_layout, {stock.model: stock.gpus_per_node for stock in task.fleet}),
    )


def _gpus(task: PlanProblem, gpus_by_layout: Mapping[Layout, int]) -> dict[str, int]:
    """GPUs per model, pinned ones included."""
    gpus = {stock.model: 0 for stock in task.fleet}
    for layout, number in gpus_by_layout.items():
        gpus[layout.geometry.catalogue.model] += number
    return gpus


def _cost(task: PlanProblem, gpus: Mapping[str, int]) -> Decimal | None:
    """The price of all GPUs of the plan; None where one of them has none."""
    total = Decimal(0)
    for stock in task.fleet:
        if gpus[stock.model]:
            if stock.price is None:
                return None
            total += stock.price * gpus[stock.model]
    return total


def _lower_bound(task: PlanProblem, cover: Cover) -> Decimal:
    """The proven least of the goal, in its own unit: nothing can be below it."""
    if task.goal is PlanGoal.GPUS:
        return Decimal(cover.bound + sum(task.pinned.values()))
    pinned = sum(((s.price or Decimal(0)) * task.pinned_of(s.model) for s in task.fleet), Decimal(0))
    whole = _whole_prices(task)
    unit = next(((s.price or Decimal(0)) / w for s, w in zip(task.fleet, whole, strict=True) if w), Decimal(0))
    return pinned + cover.bound * unit


def _layout(layout: Layout, number: int) -> PlanLayout:
    pinned = [PlanSlice(profile=slice_.profile, start=slice_.start, pinned=True) for slice_ in layout.pinned]
    new = [PlanSlice(profile=slice_.profile, start=slice_.start) for slice_ in layout.new]
    return PlanLayout(model=layout.geometry.catalogue.model, count=number, slices=pinned + new)


def _services(task: PlanProblem, cover: Cover) -> dict[str, dict[str, int]]:
    chosen: dict[str, dict[str, int]] = {}
    for (name, menu), numbers in zip(task.menus.items(), cover.chosen, strict=True):
        chosen[name] = {}
        for option, number in zip(menu.options, numbers, strict=True):
            if number:
                chosen[name][option.profile] = chosen[name].get(option.profile, 0) + number
    return chosen


def _headroom(
    task: PlanProblem, supplies: Sequence[Supply], demand: CoverDemand, gpus: Mapping[str, int], time_limit_s: float
) -> dict[str, Headroom]:
    """How many more of a profile fit: on the whole stock of a model, or on the planned GPUs where it has no end."""
    limited = []
    for number, supply in enumerate(supplies):
        if number >= len(task.pinned) and supply.stock is None:
            supply = replace(supply, stock=gpus[supply.model] - task.pinned_of(supply.model))
        limited.append(supply)
    headroom = {}
    for profile in task.headroom:
        room = covering.room(limited, demand, profile, time_limit_s / len(task.headroom))
        if room is not None:
            optimal = room.slices == room.at_most
            headroom[profile] = Headroom(slices=room.slices, optimal=optimal, at_most=room.at_most)
    return headroom


def _refusal(
    task: PlanProblem, supplies: Sequence[Supply], demand: CoverDemand, status: SolveStatus, time_limit_s: float
) -> PlanAnswer:
    """No plan: the stock is too small, and this is what would do; or the time limit came first."""
    endless = [s if n < len(task.pinned) else replace(s, stock=None) for n, s in enumerate(supplies)]
    enough = covering.cover(endless, demand, time_limit_s / 4)
    needed = _gpus(task, layouts.of_cover(enough, endless, task.pinned)) if enough.uses else {}
    impossible = status is SolveStatus.INFEASIBLE
    return PlanAnswer(
        feasible=False if impossible else None,
        reason=_why_not(task, needed) if impossible else f"no plan was found within {time_limit_s:g} s; allow more",
        needed=needed,
        gpus={},
        new_gpus={},
        cost=None,
        goal=task.goal,
        lower_bound=_number(_lower_bound(task, enough)),
        optimal=impossible,
        gap=None,
        layouts=[],
        services={},
        needs_mib=dict(task.needs_mib),
        headroom={},
        stranded_memory_slices=0,
        mig_parted="",
    )


def _why_not(task: PlanProblem, needed: Mapping[str, int]) -> str:
    stock = " + ".join(f"{s.count} × {s.model}" for s in task.fleet if s.count is not None)
    would_do = " + ".join(f"{n} × {model}" for model, n in needed.items() if n)
    return f"{stock} cannot hold the demand" + (f"; {would_do} would do" if would_do else "")


def _number(value: Decimal) -> int | float:
    """A number as JSON has it, whole where it is."""
    return int(value) if value == value.to_integral_value() else float(value)
