"""PlanDocument: what a plan is asked for, read and checked.

    fleet:    [{model: a100-40gb, count: 40 | unlimited, price: 2.5, gpus_per_node: 8}]
    demand:   {3g.20gb: 12}
    services: [{name: chat, rate: 900, options: [{profile: 3g.20gb, throughput: 120}]}]
    models:   [{name: llama-3.1-8b, precision: fp8, context: 32k, replicas: 6}]
    pinned:   [{model: a100-40gb, count: 2, slices: [{profile: 3g.20gb, start: 4, idle: false}]}]
    goal:     gpus | cost
    headroom: [1g.5gb]

Every field is explained in docs/planning.md. Called by `plan.answer`; raises InputError for anything that cannot be
meant.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import ceil, gcd
from typing import Any

from allocator import errors
from allocator.mig import geometry, gpu_models
from allocator.mig.catalogue import Catalogue
from allocator.mig.geometry import Geometry
from allocator.mig.profile import Placement
from allocator.planning import reading
from allocator.planning.packing.covering import Menu, Option
from allocator.planning.plan import language_models

KEYS = ("fleet", "demand", "services", "models", "pinned", "goal", "headroom")
GOALS = ("gpus", "cost")
GPUS_PER_NODE = 8


@dataclass(frozen=True, slots=True)
class Stock:
    """GPUs of one model: how many there may be (None: any number), what one costs, how many a node has."""

    geometry: Geometry
    count: int | None
    price: Decimal | None
    gpus_per_node: int

    @property
    def model(self) -> str:
        """The model's name."""
        return self.geometry.catalogue.model


@dataclass(frozen=True, slots=True)
class Pinned:
    """GPUs that are cut already: slices in use stay somebody else's, idle ones may serve the demand."""

    geometry: Geometry
    state: int
    slices: tuple[Placement, ...]
    idle: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class PlanDocument:
    """A plan's question. `pinned` counts GPUs; `menus` and `needs_mib` are by the name of a service or model."""

    fleet: tuple[Stock, ...]
    demand: Mapping[str, int]
    menus: Mapping[str, Menu]
    needs_mib: Mapping[str, int]
    pinned: Mapping[Pinned, int]
    goal: str
    headroom: tuple[str, ...]


def parse(value: Any, catalogues: Mapping[str, Catalogue]) -> PlanDocument:
    """The document in a parsed mapping; `catalogues` are models known beside those of `gpu_models`."""
    top = reading.mapping(value, "", KEYS, required=("fleet",))
    goal = reading.choice(top.get("goal", "gpus"), "goal", GOALS)
    fleet = _fleet(top["fleet"], catalogues, goal)
    if not any(key in top for key in ("demand", "services", "models")):
        raise errors.InputError("demand", None, "is missing; write demand, services or models")
    demand = _demand(top.get("demand", {}), fleet)
    services = _services(top.get("services", ()), fleet)
    models, needs = _models(top.get("models", ()), fleet)
    for name in services:
        if name in models:
            raise errors.InputError("models", name, "a service has that name too; give one of them a label of its own")
    headroom = top.get("headroom", ())
    wanted = [headroom] if isinstance(headroom, str) else reading.sequence(headroom, "headroom")
    return PlanDocument(
        fleet=fleet,
        demand=demand,
        menus={**services, **models},
        needs_mib=needs,
        pinned=_pinned(top.get("pinned", ()), fleet),
        goal=goal,
        headroom=tuple(dict.fromkeys(offered(name, "headroom", fleet) for name in wanted)),
    )


def catalogue(value: Any, where: str, catalogues: Mapping[str, Catalogue]) -> Catalogue:
    """The catalogue of a model by name."""
    name = reading.text(value, where)
    if name in catalogues:
        return catalogues[name]
    try:
        return gpu_models.find(name)
    except errors.CatalogueError as error:
        raise errors.InputError(where, name, error.fix) from None


def offered(value: Any, where: str, fleet: Sequence[Stock]) -> str:
    """A profile that some GPU of the fleet offers."""
    name = reading.text(value, where)
    there = dict.fromkeys(p for stock in fleet if stock.count != 0 for p in stock.geometry.profiles)
    if not there:
        empty = ", ".join(stock.model for stock in fleet)
        raise errors.InputError(where, name, f"no GPU of the fleet offers it: count is 0 for {empty}; raise it")
    if name not in there:
        raise errors.InputError(where, name, "no GPU of the fleet offers it; use one of " + ", ".join(there))
    return name


def _fleet(value: Any, catalogues: Mapping[str, Catalogue], goal: str) -> tuple[Stock, ...]:
    found: dict[str, Stock] = {}
    for number, entry in enumerate(reading.sequence(value, "fleet", 64)):
        where = f"fleet[{number}]"
        entry = reading.mapping(entry, where, ("model", "count", "price", "gpus_per_node"), required=("model",))
        model = catalogue(entry["model"], f"{where}.model", catalogues)
        if model.model in found:
            raise errors.InputError(f"{where}.model", entry["model"], "is in the fleet already; merge the two entries")
        count = entry.get("count", "unlimited")
        price = entry.get("price")
        if price is None and goal == "cost":
            raise errors.InputError(f"{where}.price", None, "is missing; goal cost needs a price for every model")
        found[model.model] = Stock(
            geometry.compiled(model),
            None if count == "unlimited" else _stock(count, f"{where}.count"),
            None if price is None else reading.number(price, f"{where}.price", positive=False),
            reading.count(entry.get("gpus_per_node", GPUS_PER_NODE), f"{where}.gpus_per_node", 1, 64),
        )
    if not found:
        raise errors.InputError("fleet", value, "is empty; name at least one GPU model")
    return tuple(found.values())


def _stock(value: Any, where: str) -> int:
    if isinstance(value, str):
        raise errors.InputError(where, value, "write a whole number or unlimited")
    return reading.count(value, where)


def _member(value: Any, where: str, fleet: Sequence[Stock]) -> Stock:
    """The stock of a model that must be in the fleet, in any case of letters."""
    stocks = {s.model.lower(): s for s in fleet}
    return stocks[reading.choice(reading.text(value, where).strip().lower(), where, stocks)]


def _demand(value: Any, fleet: Sequence[Stock]) -> Mapping[str, int]:
    found = {}
    for name, number in reading.named(value, "demand").items():
        where = f"demand.{name}"
        offered(name, where, fleet)
        found[name] = reading.count(number, where)
    return {name: number for name, number in found.items() if number}


def _services(value: Any, fleet: Sequence[Stock]) -> dict[str, Menu]:
    found: dict[str, Menu] = {}
    for number, entry in enumerate(reading.sequence(value, "services")):
        where = f"services[{number}]"
        entry = reading.mapping(entry, where, ("name", "rate", "options"), required=("name", "rate", "options"))
        name = reading.text(entry["name"], f"{where}.name")
        if name in found:
            raise errors.InputError(f"{where}.name", name, "another service has that name; names must be distinct")
        rate = reading.number(entry["rate"], f"{where}.rate", positive=True)
        options = reading.sequence(entry["options"], f"{where}.options", 64)
        if not options:
            raise errors.InputError(f"{where}.options", options, "is empty; write at least one profile")
        menu: dict[tuple[str, str | None], Decimal] = {}
        for at, option in enumerate(options):
            profile, model, throughput = _option(option, f"{where}.options[{at}]", fleet)
            if (profile, model) in menu:
                fix = "another option is for that profile already; keep one of them, or give each a model"
                raise errors.InputError(f"{where}.options[{at}].profile", profile, fix)
            menu[profile, model] = throughput
        found[name] = _menu(rate, menu, where)
    return found


def _option(value: Any, where: str, fleet: Sequence[Stock]) -> tuple[str, str | None, Decimal]:
    value = reading.mapping(value, where, ("profile", "throughput", "model"), required=("profile", "throughput"))
    model = None
    if value.get("model") is not None:
        model = _member(value["model"], f"{where}.model", fleet).model
    within = [s for s in fleet if model in (None, s.model)]
    profile = offered(value["profile"], f"{where}.profile", within)
    return profile, model, reading.number(value["throughput"], f"{where}.throughput", positive=True)


def _menu(rate: Decimal, options: Mapping[tuple[str, str | None], Decimal], where: str) -> Menu:
    """A menu (profile and model → throughput) in whole numbers: all rates times one factor."""
    exact = [Fraction(rate), *map(Fraction, options.values())]
    factor = 10**reading.DECIMALS
    whole = [int(one * factor) for one in exact]
    if ceil(exact[0] / min(exact[1:])) > reading.MAX_COUNT:
        raise errors.InputError(f"{where}.rate", str(rate), f"would take more than {reading.MAX_COUNT:,} instances")
    common = gcd(*whole)
    menu = [Option(p, m, r // common) for (p, m), r in zip(options, whole[1:], strict=True)]
    return Menu(whole[0] // common, tuple(menu))


def _models(value: Any, fleet: Sequence[Stock]) -> tuple[dict[str, Menu], dict[str, int]]:
    menus: dict[str, Menu] = {}
    needs: dict[str, int] = {}
    keys = ("name", "label", "precision", "context", "replicas", "kv_precision", "utilisation", *language_models.INLINE)
    for number, entry in enumerate(reading.sequence(value, "models")):
        where = f"models[{number}]"
        entry = reading.mapping(entry, where, keys, required=("name", "precision", "context", "replicas"))
        label = reading.text(entry.get("label", entry["name"]), f"{where}.label")
        if label in menus:
            raise errors.InputError(
                f"{where}.label", label, "another model has that name; give each a label of its own"
            )
        need = _need_mib(entry, where)
        options = [
            Option(profile.name, stock.model, 1)
            for stock in fleet
            if stock.count != 0
            for profile in stock.geometry.catalogue.profiles
            if profile.plain and profile.memory_mib is not None and profile.memory_mib >= need
        ]
        if not options:
            raise errors.InputError(where, label, f"needs {need:,} MiB; {_largest(fleet)}")
        needs[label] = need
        menus[label] = Menu(reading.count(entry["replicas"], f"{where}.replicas", 1), tuple(options))
    return menus, needs


def _need_mib(entry: Mapping[str, Any], where: str) -> int:
    given = [key for key in language_models.INLINE if key in entry]
    if given and len(given) < len(language_models.INLINE):
        missing = next(k for k in language_models.INLINE if k not in entry)
        raise errors.InputError(
            f"{where}.{missing}", None, f"is missing; {given[0]} needs all of {', '.join(language_models.INLINE)}"
        )
    name = reading.text(entry["name"], f"{where}.name")
    if given:
        billions = reading.number(entry["parameters_b"], f"{where}.parameters_b", positive=True)
        rest = [reading.count(entry[key], f"{where}.{key}", 1, 100_000) for key in language_models.INLINE[1:]]
        architecture = language_models.Architecture(ceil(billions * 1000), *rest)
    else:
        architecture = language_models.find(name, f"{where}.name")
    share = entry.get("utilisation")
    utilisation = language_models.UTILISATION
    if share is not None:
        utilisation = Fraction(reading.number(share, f"{where}.utilisation", positive=True))
        if utilisation > 1:
            raise errors.InputError(
                f"{where}.utilisation", share, "write a share of the slice's memory, above 0 and at most 1"
            )
    return language_models.memory_mib(
        architecture,
        reading.choice(entry["precision"], f"{where}.precision", language_models.BYTES_PER_WEIGHT),
        reading.tokens(entry["context"], f"{where}.context"),
        reading.choice(entry.get("kv_precision", "bf16"), f"{where}.kv_precision", language_models.BYTES_PER_KV),
        utilisation,
    )


def _largest(fleet: Sequence[Stock]) -> str:
    sizes = [
        (p.memory_mib, p.name, s.model)
        for s in fleet
        if s.count != 0
        for p in s.geometry.catalogue.profiles
        if p.memory_mib is not None
    ]
    if not sizes:
        return "nobody has published how much memory the fleet's profiles have; plan with their counts instead"
    mib, name, model = max(sizes)
    return (
        f"the largest slice of the fleet is {name} of {model} with {mib:,} MiB; add a larger GPU or use less precision"
    )


def _pinned(value: Any, fleet: Sequence[Stock]) -> Mapping[Pinned, int]:
    found: Counter[Pinned] = Counter()
    for number, entry in enumerate(reading.sequence(value, "pinned")):
        where = f"pinned[{number}]"
        entry = reading.mapping(entry, where, ("model", "slices", "count"), required=("model", "slices"))
        stock = _member(entry["model"], f"{where}.model", fleet)
        there = reading.count(entry.get("count", 1), f"{where}.count")
        found[_cut(entry["slices"], f"{where}.slices", stock.geometry)] += there
    for stock in fleet:
        total = sum(n for gpu, n in found.items() if gpu.geometry is stock.geometry)
        if stock.count is not None and total > stock.count:
            fix = f"the fleet has {stock.count} GPUs of {stock.model}; raise its count or pin fewer"
            raise errors.InputError("pinned", total, fix)
    return {gpu: n for gpu, n in found.items() if n}


def _cut(value: Any, where: str, on: Geometry) -> Pinned:
    placements: list[Placement] = []
    idle: Counter[str] = Counter()
    state = on.EMPTY
    for number, entry in enumerate(reading.sequence(value, where, 64)):
        at = f"{where}[{number}]"
        entry = reading.mapping(entry, at, ("profile", "start", "idle"), required=("profile", "start"))
        name = reading.choice(entry["profile"], f"{at}.profile", on.profile_index)
        start = reading.count(entry["start"], f"{at}.start", 0, 64)
        try:
            one = on.catalogue.placement(name, start)
        except errors.CatalogueError as error:
            raise errors.InputError(f"{at}.start", start, error.fix) from None
        state = int(on.step[state, on.placement_index[one]])
        if state < 0:
            raise errors.InputError(at, str(one), "cannot exist beside the slices before it; correct this GPU's slices")
        placements.append(one)
        if reading.flag(entry.get("idle", False), f"{at}.idle"):
            idle[name] += 1
    order = sorted(placements, key=lambda one: (-one.size, one.start))
    return Pinned(on, state, tuple(order), tuple(sorted(idle.items())))
