"""Planner: from a checked document to the answer, over `packing.covering`. Called by `plan.answer` alone."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from math import gcd
from typing import Any

from allocator.mig.catalogue import Catalogue
from allocator.planning import reading
from allocator.planning.packing import covering
from allocator.planning.packing.covering import Cover, CoverDemand, Supply
from allocator.planning.packing.program import SolveStatus
from allocator.planning.plan import document, layouts, mig_parted
from allocator.planning.plan.document import PlanDocument
from allocator.planning.plan.layouts import Layout


def answer(value: Any, time_limit_s: float, catalogues: Mapping[str, Catalogue]) -> dict[str, Any]:
    """See `plan.answer`."""
    asked = document.parse(value, catalogues)
    limit = float(reading.number(time_limit_s, "time limit", positive=True))
    supplies = _supplies(asked)
    demand = CoverDemand(asked.demand, tuple(asked.menus.values()))
    found = covering.cover(supplies, demand, limit)
    if found.status in (SolveStatus.INFEASIBLE, SolveStatus.UNKNOWN):
        return _refusal(asked, supplies, demand, found.status, limit)
    return _answer(asked, supplies, demand, found, limit)


def _supplies(asked: PlanDocument) -> list[Supply]:
    """The pinned GPUs, in their order, at no cost; then the fleet's other GPUs, priced by the goal."""
    pinned = [Supply(gpu.geometry, gpu.state, n, 0, 0, gpu.idle) for gpu, n in asked.pinned.items()]
    prices = _whole_prices(asked)
    fresh = []
    for stock, price in zip(asked.fleet, prices, strict=True):
        left = None if stock.count is None else stock.count - _pinned_of(asked, stock.model)
        cost, tie = (1, price) if asked.goal == "gpus" else (price, 1)
        fresh.append(Supply(stock.geometry, stock=left, cost=cost, tie=tie))
    return pinned + fresh


def _whole_prices(asked: PlanDocument) -> list[int]:
    """Prices in whole units; all alike where the fleet has none."""
    if any(stock.price is None for stock in asked.fleet):
        return [1] * len(asked.fleet)
    whole = [int((stock.price or Decimal(0)).scaleb(reading.DECIMALS)) for stock in asked.fleet]
    common = gcd(*whole) or 1
    return [price // common for price in whole]


def _pinned_of(asked: PlanDocument, model: str) -> int:
    return sum(n for gpu, n in asked.pinned.items() if gpu.geometry.catalogue.model == model)


def _answer(
    asked: PlanDocument, supplies: Sequence[Supply], demand: CoverDemand, found: Cover, time_limit_s: float
) -> dict[str, Any]:
    cut = layouts.of_cover(found, supplies, asked.pinned)
    gpus = _gpus(asked, cut)
    wanted = frozenset(found.names)
    lower = _lower_bound(asked, found)
    reached = _cost(asked, gpus) if asked.goal == "cost" else Decimal(sum(gpus.values()))
    return {
        "feasible": True,
        "gpus": gpus,
        "new_gpus": {model: n - _pinned_of(asked, model) for model, n in gpus.items()},
        "cost": _number(_cost(asked, gpus)),
        "goal": asked.goal,
        "lower_bound": _number(lower),
        "optimal": found.status is SolveStatus.OPTIMAL,
        "gap": 0.0 if found.status is SolveStatus.OPTIMAL or not reached else float(1 - lower / reached),
        "layouts": [_layout(layout, n) for layout, n in cut.items()],
        "services": _services(asked, found),
        "needs_mib": dict(asked.needs_mib),
        "headroom": _headroom(asked, supplies, demand, gpus, time_limit_s / 4),
        "stranded_memory_slices": sum(layout.stranded(wanted) * n for layout, n in cut.items()),
        "mig_parted": mig_parted.render(cut, {s.model: s.gpus_per_node for s in asked.fleet}),
    }


def _gpus(asked: PlanDocument, cut: Mapping[Layout, int]) -> dict[str, int]:
    """GPUs per model, pinned ones included."""
    gpus = {stock.model: 0 for stock in asked.fleet}
    for layout, number in cut.items():
        gpus[layout.geometry.catalogue.model] += number
    return gpus


def _cost(asked: PlanDocument, gpus: Mapping[str, int]) -> Decimal | None:
    """The price of all GPUs of the plan; None where one of them has none."""
    total = Decimal(0)
    for stock in asked.fleet:
        if gpus[stock.model]:
            if stock.price is None:
                return None
            total += stock.price * gpus[stock.model]
    return total


def _lower_bound(asked: PlanDocument, found: Cover) -> Decimal:
    """The proven least of the goal, in its own unit: nothing can be below it."""
    if asked.goal == "gpus":
        return Decimal(found.bound + sum(asked.pinned.values()))
    pinned = sum(((s.price or Decimal(0)) * _pinned_of(asked, s.model) for s in asked.fleet), Decimal(0))
    whole = _whole_prices(asked)
    unit = next(((s.price or Decimal(0)) / w for s, w in zip(asked.fleet, whole, strict=True) if w), Decimal(0))
    return pinned + found.bound * unit


def _layout(layout: Layout, number: int) -> dict[str, Any]:
    there = len(layout.pinned)
    slices: list[dict[str, Any]] = [{"profile": one.profile, "start": one.start} for one in layout.slices]
    for one in slices[:there]:
        one["pinned"] = True
    return {"model": layout.geometry.catalogue.model, "count": number, "slices": slices}


def _services(asked: PlanDocument, found: Cover) -> dict[str, dict[str, int]]:
    chosen: dict[str, dict[str, int]] = {}
    for (name, menu), numbers in zip(asked.menus.items(), found.chosen, strict=True):
        chosen[name] = {}
        for option, number in zip(menu.options, numbers, strict=True):
            if number:
                chosen[name][option.profile] = chosen[name].get(option.profile, 0) + number
    return chosen


def _headroom(
    asked: PlanDocument, supplies: Sequence[Supply], demand: CoverDemand, gpus: Mapping[str, int], time_limit_s: float
) -> dict[str, dict[str, Any]]:
    """How many more of a profile fit: on the whole stock of a model, or on the planned GPUs where it has no end."""
    within = []
    for number, supply in enumerate(supplies):
        if number >= len(asked.pinned) and supply.stock is None:
            supply = replace(supply, stock=gpus[supply.model] - _pinned_of(asked, supply.model))
        within.append(supply)
    found = {}
    for profile in asked.headroom:
        room = covering.room(within, demand, profile, time_limit_s / len(asked.headroom))
        if room is not None:
            found[profile] = {"slices": room.slices, "optimal": room.slices == room.at_most, "at_most": room.at_most}
    return found


def _refusal(
    asked: PlanDocument, supplies: Sequence[Supply], demand: CoverDemand, status: SolveStatus, time_limit_s: float
) -> dict[str, Any]:
    """No plan: the stock is too small, and this is what would do; or the time limit came first."""
    endless = [s if n < len(asked.pinned) else replace(s, stock=None) for n, s in enumerate(supplies)]
    enough = covering.cover(endless, demand, time_limit_s / 4)
    needed = _gpus(asked, layouts.of_cover(enough, endless, asked.pinned)) if enough.uses else {}
    impossible = status is SolveStatus.INFEASIBLE
    return {
        "feasible": False if impossible else None,
        "reason": _why_not(asked, needed) if impossible else f"no plan was found within {time_limit_s:g} s; allow more",
        "needed": needed,
        "gpus": {},
        "new_gpus": {},
        "cost": None,
        "goal": asked.goal,
        "lower_bound": _number(_lower_bound(asked, enough)),
        "optimal": impossible,
        "gap": None,
        "layouts": [],
        "services": {},
        "needs_mib": dict(asked.needs_mib),
        "headroom": {},
        "stranded_memory_slices": 0,
        "mig_parted": "",
    }


def _why_not(asked: PlanDocument, needed: Mapping[str, int]) -> str:
    stock = " + ".join(f"{s.count} × {s.model}" for s in asked.fleet if s.count is not None)
    would_do = " + ".join(f"{n} × {model}" for model, n in needed.items() if n)
    return f"{stock} cannot hold the demand" + (f"; {would_do} would do" if would_do else "")


def _number(value: Decimal | None) -> int | float | None:
    """A number as JSON has it, whole where it is."""
    if value is None:
        return None
    return int(value) if value == value.to_integral_value() else float(value)
