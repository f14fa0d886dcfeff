"""PlanProblem: a plan's document with its names looked up: what to cut on which GPUs, in whole numbers.

`build` checks what the document's type cannot: whether a model is known and offers a profile, whether slices can exist
together, whether names are distinct. Called by `plan.answer`; raises InputError naming field, value and fix.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import ceil, gcd

from msgspec import UNSET

from allocator import errors
from allocator.mig import geometry
from allocator.mig.catalogue import Catalogue
from allocator.mig.geometry import Geometry
from allocator.mig.profile import Placement
from allocator.planning import document_reader as reader
from allocator.planning import known_models
from allocator.planning.fields import MAX_COUNT
from allocator.planning.packing.covering import Menu, Option
from allocator.planning.plan import language_models
from allocator.planning.plan.types import (
    MAX_TOKENS,
    FleetModel,
    LanguageModel,
    PinnedGpus,
    PinnedSlice,
    PlanDocument,
    PlanGoal,
    ServiceDemand,
    ServiceOption,
)


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
    """A GPU that is cut already: slices in use stay as they are, idle ones may serve the demand."""

    geometry: Geometry
    state: int
    slices: tuple[Placement, ...]
    idle: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class PlanProblem:
    """What a plan must solve. `pinned` counts GPUs; `menus` and `needs_mib` are by the name of a service or model."""

    fleet: tuple[Stock, ...]
    demand: Mapping[str, int]
    menus: Mapping[str, Menu]
    needs_mib: Mapping[str, int]
    pinned: Mapping[Pinned, int]
    goal: PlanGoal
    headroom: tuple[str, ...]

    def pinned_of(self, model: str) -> int:
        """How many GPUs of a model are pinned."""
        return sum(number for gpu, number in self.pinned.items() if gpu.geometry.catalogue.model == model)


def build(document: PlanDocument, catalogues: Mapping[str, Catalogue]) -> PlanProblem:
    """The problem of a document; `catalogues` are models known beside those of `gpu_models`."""
    fleet = _fleet(document.fleet, catalogues, document.goal)
    if document.demand is UNSET and document.services is UNSET and document.models is UNSET:
        raise errors.InputError("demand", None, "is missing; write demand, services or models")
    demand = _demand(document.demand or {}, fleet)
    services = _services(document.services or (), fleet)
    models, needs_mib = _models(document.models or (), fleet)
    for name in services:
        if name in models:
            raise errors.InputError("models", name, "a service has that name too; give one of them a label of its own")
    headroom = [document.headroom] if isinstance(document.headroom, str) else document.headroom
    return PlanProblem(
        fleet=fleet,
        demand=demand,
        menus={**services, **models},
        needs_mib=needs_mib,
        pinned=_pinned(document.pinned, fleet),
        goal=document.goal,
        headroom=tuple(dict.fromkeys(_offered(name, "headroom", fleet) for name in headroom)),
    )


def _fleet(entries: Sequence[FleetModel], catalogues: Mapping[str, Catalogue], goal: PlanGoal) -> tuple[Stock, ...]:
    stocks: dict[str, Stock] = {}
    for number, entry in enumerate(entries):
        where = f"fleet[{number}]"
        catalogue = known_models.find(entry.model, f"{where}.model", catalogues)
        if catalogue.model in stocks:
            raise errors.InputError(f"{where}.model", entry.model, "is in the fleet already; merge the two entries")
        if entry.price is None and goal is PlanGoal.COST:
            raise errors.InputError(f"{where}.price", None, "is missing; goal cost needs a price for every model")
        stocks[catalogue.model] = Stock(
            geometry.compiled(catalogue),
            None if entry.count == "unlimited" else entry.count,
            None if entry.price is None else reader.number(entry.price, f"{where}.price"),
            entry.gpus_per_node,
        )
    return tuple(stocks.values())


def _offered(text: str, where: str, fleet: Sequence[Stock]) -> str:
    """A profile that some GPU of the fleet offers."""
    name = reader.profile(text, where)
    offered = dict.fromkeys(profile for stock in fleet if stock.count != 0 for profile in stock.geometry.profiles)
    if not offered:
        empty = ", ".join(stock.model for stock in fleet)
        raise errors.InputError(where, name, f"no GPU of the fleet offers it: count is 0 for {empty}; raise it")
    if name not in offered:
        raise errors.InputError(where, name, "no GPU of the fleet offers it; use one of " + ", ".join(offered))
    return name


def _member(model: str, where: str, fleet: Sequence[Stock]) -> Stock:
    """The stock of a model that must be in the fleet, in any case of letters."""
    stocks = {stock.model.lower(): stock for stock in fleet}
    return stocks[reader.one_of(model.strip().lower(), where, stocks)]


def _demand(counts: Mapping[str, int], fleet: Sequence[Stock]) -> Mapping[str, int]:
    for name in counts:
        _offered(name, f"demand.{name}", fleet)
    return {name: count for name, count in reader.profiles(counts, "demand").items() if count}


def _services(services: Sequence[ServiceDemand], fleet: Sequence[Stock]) -> dict[str, Menu]:
    menus: dict[str, Menu] = {}
    for number, service in enumerate(services):
        where = f"services[{number}]"
        if service.name in menus:
            raise errors.InputError(
                f"{where}.name", service.name, "another service has that name; names must be distinct"
            )
        rate = reader.number(service.rate, f"{where}.rate", positive=True)
        throughputs: dict[tuple[str, str | None], Decimal] = {}
        for index, option in enumerate(service.options):
            profile, model, throughput = _option(option, f"{where}.options[{index}]", fleet)
            if (profile, model) in throughputs:
                fix = "another option is for that profile already; keep one of them, or give each a model"
                raise errors.InputError(f"{where}.options[{index}].profile", profile, fix)
            throughputs[profile, model] = throughput
        menus[service.name] = _menu(rate, throughputs, where)
    return menus


def _option(option: ServiceOption, where: str, fleet: Sequence[Stock]) -> tuple[str, str | None, Decimal]:
    model = None if option.model is None else _member(option.model, f"{where}.model", fleet).model
    profile = _offered(option.profile, f"{where}.profile", [s for s in fleet if model in (None, s.model)])
    return profile, model, reader.number(option.throughput, f"{where}.throughput", positive=True)


def _menu(rate: Decimal, throughputs: Mapping[tuple[str, str | None], Decimal], where: str) -> Menu:
    """A menu (profile and model → throughput) in whole numbers: all rates times one factor."""
    exact = [Fraction(rate), *map(Fraction, throughputs.values())]
    factor = 10**reader.DECIMALS
    whole = [int(number * factor) for number in exact]
    if ceil(exact[0] / min(exact[1:])) > MAX_COUNT:
        raise errors.InputError(f"{where}.rate", str(rate), f"would take more than {MAX_COUNT:,} instances")
    common = gcd(*whole)
    options = [Option(p, m, number // common) for (p, m), number in zip(throughputs, whole[1:], strict=True)]
    return Menu(whole[0] // common, tuple(options))


def _models(models: Sequence[LanguageModel], fleet: Sequence[Stock]) -> tuple[dict[str, Menu], dict[str, int]]:
    menus: dict[str, Menu] = {}
    needs_mib: dict[str, int] = {}
    for number, model in enumerate(models):
        where = f"models[{number}]"
        label = model.label or model.name
        if label in menus:
            raise errors.InputError(
                f"{where}.label", label, "another model has that name; give each a label of its own"
            )
        need_mib = _need_mib(model, where)
        options = [
            Option(profile.name, stock.model, 1)
            for stock in fleet
            if stock.count != 0
            for profile in stock.geometry.catalogue.profiles
            if profile.plain and profile.memory_mib is not None and profile.memory_mib >= need_mib
        ]
        if not options:
            raise errors.InputError(where, label, f"needs {need_mib:,} MiB; {_largest(fleet)}")
        needs_mib[label] = need_mib
        menus[label] = Menu(model.replicas, tuple(options))
    return menus, needs_mib


def _need_mib(model: LanguageModel, where: str) -> int:
    utilisation = language_models.UTILISATION
    if model.utilisation is not None:
        utilisation = Fraction(reader.number(model.utilisation, f"{where}.utilisation", positive=True))
    return language_models.memory_mib(
        _architecture(model, where),
        model.precision,
        _tokens(model.context, f"{where}.context"),
        model.kv_precision,
        utilisation,
    )


def _architecture(model: LanguageModel, where: str) -> language_models.Architecture:
    """The architecture that the document gives in four numbers, or that of the known model of that name."""
    billions, layers, kv_heads, head_dim = model.parameters_b, model.layers, model.kv_heads, model.head_dim
    numbers = dict(zip(language_models.INLINE, (billions, layers, kv_heads, head_dim), strict=True))
    given = [key for key, number in numbers.items() if number is not UNSET]
    if not given:
        return language_models.find(model.name, f"{where}.name")
    if billions is UNSET or layers is UNSET or kv_heads is UNSET or head_dim is UNSET:
        missing = next(key for key in numbers if key not in given)
        fix = f"is missing; {given[0]} needs all of {', '.join(numbers)}"
        raise errors.InputError(f"{where}.{missing}", None, fix)
    millions = ceil(reader.number(billions, f"{where}.parameters_b", positive=True) * 1000)
    return language_models.Architecture(millions, layers, kv_heads, head_dim)


def _tokens(context: int | str, where: str) -> int:
    """A number of tokens, plain or as `32k` (1k is 1,024)."""
    if isinstance(context, int):
        return context
    digits = context.strip().lower()
    factor = {"k": 1 << 10, "m": 1 << 20}.get(digits[-1], 1)
    tokens = int(digits.rstrip("km")) * factor
    if tokens > MAX_TOKENS:
        raise errors.InputError(where, context, f"write a whole number of 1…{MAX_TOKENS}")
    return tokens


def _largest(fleet: Sequence[Stock]) -> str:
    plain = [
        (profile.memory_mib, profile.name, stock.model)
        for stock in fleet
        if stock.count != 0
        for profile in stock.geometry.catalogue.profiles
        if profile.plain
    ]
    sizes = [(mib, name, model) for mib, name, model in plain if mib is not None]
    unknown = [f"{name} of {model}" for mib, name, model in plain if mib is None]
    if not sizes:
        return "nobody has published how much memory the fleet's profiles have; plan with their counts instead"
    mib, name, model = max(sizes)
    if unknown:
        return (
            f"{name} of {model} has {mib:,} MiB, and nobody has published the memory of {', '.join(unknown)}, "
            "which may be enough; plan with their counts instead, or add a larger GPU of known memory"
        )
    return (
        f"the largest slice of the fleet is {name} of {model} with {mib:,} MiB; add a larger GPU or use less precision"
    )


def _pinned(entries: Sequence[PinnedGpus], fleet: Sequence[Stock]) -> Mapping[Pinned, int]:
    gpus: Counter[Pinned] = Counter()
    for number, entry in enumerate(entries):
        where = f"pinned[{number}]"
        stock = _member(entry.model, f"{where}.model", fleet)
        gpus[_cut(entry.slices, f"{where}.slices", stock.geometry)] += entry.count
    for stock in fleet:
        total = sum(number for gpu, number in gpus.items() if gpu.geometry is stock.geometry)
        if stock.count is not None and total > stock.count:
            fix = f"the fleet has {stock.count} GPUs of {stock.model}; raise its count or pin fewer"
            raise errors.InputError("pinned", total, fix)
    return {gpu: number for gpu, number in gpus.items() if number}


def _cut(slices: Sequence[PinnedSlice], where: str, on: Geometry) -> Pinned:
    placements: list[Placement] = []
    idle: Counter[str] = Counter()
    state = on.EMPTY
    for number, slice_ in enumerate(slices):
        here = f"{where}[{number}]"
        name = reader.one_of(reader.profile(slice_.profile, f"{here}.profile"), f"{here}.profile", on.profile_index)
        try:
            placement = on.catalogue.placement(name, slice_.start)
        except errors.CatalogueError as error:
            raise errors.InputError(f"{here}.start", slice_.start, error.fix) from None
        state = int(on.step[state, on.placement_index[placement]])
        if state < 0:
            fix = "cannot exist beside the slices before it; correct this GPU's slices"
            raise errors.InputError(here, str(placement), fix)
        placements.append(placement)
        idle[name] += slice_.idle
    order = sorted(placements, key=lambda placement: (-placement.size, placement.start))
    return Pinned(on, state, tuple(order), tuple(sorted((name, number) for name, number in idle.items() if number)))
