"""RepackDocument: what a repack is asked for, read and checked.

    requests: [{name: train, profiles: {3g.20gb: 1}, count: 2}]
    empty:    {gpus: 1, nodes: [gpu-7]}
    budgets:  {moves: 10, gpc: 40, pods_per_service: 1}
    priority: 0
    prices:   {a100-40gb: 2.5}

Every field is explained in docs/planning.md. Called by `repack.answer` and, for its requests and limits, by the
capacity answers; raises InputError for anything that cannot be meant.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from allocator import errors
from allocator.planning import reading
from allocator.planning.repack.problem import RepackLimits
from allocator.request import MAX_SLICES_PER_POD

KEYS = ("requests", "empty", "budgets", "priority", "prices")
MOVES = 10  # default budget; each is a pod that restarts
MAX_MOVES = 200
MAX_REQUESTS = 1_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """A pod to make room for: a name for people, and its slices, all on one node."""

    name: str
    profiles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RepackDocument:
    """A repack's question: pods to make room for, GPUs to empty beside those empty now, nodes to empty."""

    requests: tuple[Wanted, ...]
    empty_gpus: int
    empty_nodes: tuple[str, ...]
    limits: RepackLimits
    prices: Mapping[str, Decimal]


def parse(value: Any, nodes: Collection[str], models: Collection[str]) -> RepackDocument:
    """The document in a parsed mapping, about a cluster with these nodes and GPU models."""
    top = reading.mapping(value, "", KEYS)
    empty = reading.mapping(top.get("empty", {}), "empty", ("gpus", "nodes"))
    found = RepackDocument(
        requests=requests(top.get("requests", ()), "requests"),
        empty_gpus=reading.count(empty.get("gpus", 0), "empty.gpus"),
        empty_nodes=tuple(
            reading.choice(name, f"empty.nodes[{number}]", nodes)
            for number, name in enumerate(reading.sequence(empty.get("nodes", ()), "empty.nodes"))
        ),
        limits=limits(top),
        prices=_prices(top.get("prices", {}), models),
    )
    if not (found.requests or found.empty_gpus or found.empty_nodes):
        raise errors.InputError("requests", value, "nothing is asked for; write requests, empty.gpus or empty.nodes")
    return found


def requests(value: Any, where: str) -> tuple[Wanted, ...]:
    """Pods to make room for, one entry per pod."""
    found: list[Wanted] = []
    for number, entry in enumerate(reading.sequence(value, where, MAX_REQUESTS)):
        at = f"{where}[{number}]"
        entry = reading.mapping(entry, at, ("name", "profiles", "count"), required=("profiles",))
        name = reading.text(entry.get("name", f"request-{number + 1}"), f"{at}.name")
        profiles = reading.named(entry["profiles"], f"{at}.profiles")
        slices = tuple(
            profile
            for profile, n in profiles.items()
            for _ in range(reading.count(n, f"{at}.profiles.{profile}", 0, MAX_SLICES_PER_POD))
        )
        if not 1 <= len(slices) <= MAX_SLICES_PER_POD:
            fix = f"ask for 1…{MAX_SLICES_PER_POD} slices in one pod"
            raise errors.InputError(f"{at}.profiles", dict(profiles), fix)
        copies = reading.count(entry.get("count", 1), f"{at}.count", 0, MAX_REQUESTS)
        found += [Wanted(name if copies == 1 else f"{name}-{copy + 1}", slices) for copy in range(copies)]
    if len(found) > MAX_REQUESTS:
        raise errors.InputError(where, f"{len(found)} pods", f"ask for at most {MAX_REQUESTS} pods at once")
    return tuple(found)


def limits(top: Mapping[str, Any]) -> RepackLimits:
    """The budgets and the priority of a document that has them at its top."""
    given = reading.mapping(top.get("budgets", {}), "budgets", ("moves", "gpc", "pods_per_service"))
    optional = {
        key: None if given.get(key) is None else reading.count(given[key], f"budgets.{key}")
        for key in ("gpc", "pods_per_service")
    }
    return RepackLimits(
        moves=reading.count(given.get("moves", MOVES), "budgets.moves", 0, MAX_MOVES),
        gpc=optional["gpc"],
        pods_per_service=optional["pods_per_service"],
        priority=reading.count(top.get("priority", 0), "priority", -(2**31), 2**31),
    )


def _prices(value: Any, models: Collection[str]) -> Mapping[str, Decimal]:
    found = {}
    for model, price in reading.named(value, "prices").items():
        reading.choice(model, "prices", models)
        found[model] = reading.number(price, f"prices.{model}", positive=False)
    return found
