"""Slow and obvious answers that the core's fast ones are checked against.

Nothing here uses the core's tables: a GPU model is the plain data of tests/data/mig_profiles.json, and what may stand
on it together is decided by NVML's four rules, each time anew: instances overlap nowhere, there are no more of a
profile than the driver allows, and neither compute slices nor media engines run out.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from itertools import product
from pathlib import Path
from typing import Any

from allocator.mig.catalogue import Catalogue

Item = tuple[str, int]  # profile name, start
Items = frozenset[Item]
Counts = tuple[tuple[str, int], ...]

PUBLISHED: Mapping[str, Any] = json.loads((Path(__file__).parent / "data" / "mig_profiles.json").read_text())
ENGINES = ("dec", "enc", "jpeg", "ofa")


@dataclass(frozen=True)
class Shape:
    """What one profile takes of a chip."""

    name: str
    size: int
    compute: int
    instances: int
    starts: tuple[int, ...]
    engines: tuple[int, ...] | None


@dataclass(frozen=True, eq=False)
class Chip:
    """One GPU model, and what may stand on it together. Answers are kept by chip: one is equal to itself alone."""

    memory_slices: int
    compute_slices: int
    shapes: tuple[Shape, ...]
    engine_totals: tuple[int, ...] | None

    @cached_property
    def items(self) -> tuple[Item, ...]:
        """Every single placement."""
        return tuple((shape.name, start) for shape in self.shapes for start in shape.starts)

    def shape(self, name: str) -> Shape:
        """The profile of that name."""
        return self._by_name[name]

    def slots(self, item: Item) -> frozenset[int]:
        """The memory slices that a placement covers."""
        return self._covered[item]

    @cached_property
    def _by_name(self) -> Mapping[str, Shape]:
        return {shape.name: shape for shape in self.shapes}

    @cached_property
    def _covered(self) -> Mapping[Item, frozenset[int]]:
        return {(name, start): frozenset(range(start, start + self.shape(name).size)) for name, start in self.items}

    def legal(self, items: Iterable[Item]) -> bool:
        """Whether these may stand together."""
        chosen = [(self.shape(name), start) for name, start in items]
        covered = Counter(slot for item in items for slot in self.slots(item))
        if any(n > 1 for n in covered.values()):
            return False
        counts = Counter(shape for shape, _ in chosen)
        if any(n > shape.instances for shape, n in counts.items()):
            return False
        if sum(shape.compute for shape, _ in chosen) > self.compute_slices:
            return False
        if self.engine_totals is None or any(shape.engines is None for shape in self.shapes):
            return True
        used = [sum(shape.engines[i] for shape, _ in chosen if shape.engines) for i in range(len(ENGINES))]
        return all(u <= total for u, total in zip(used, self.engine_totals, strict=True))

    def mask(self, items: Iterable[Item]) -> int:
        """The memory slices that these cover, as bits."""
        return sum(1 << slot for item in items for slot in self.slots(item))

    def only(self, names: Iterable[str]) -> "Chip":
        """The same chip with only these profiles."""
        kept = tuple(shape for shape in self.shapes if shape.name in set(names))
        return Chip(self.memory_slices, self.compute_slices, kept, self.engine_totals)

    def without_engine_totals(self) -> "Chip":
        """The same chip with media engines without end."""
        return Chip(self.memory_slices, self.compute_slices, self.shapes, None)


@cache
def published_chip(model: str) -> Chip:
    """The chip of a model in the published table."""
    row = PUBLISHED[model]
    totals = row["max_engines"]
    return Chip(
        row["memory_slices"],
        row["compute_slices"],
        tuple(_published_shape(p) for p in row["profiles"]),
        None if totals is None else tuple(totals[e] for e in ENGINES),
    )


def _published_shape(row: Mapping[str, Any]) -> Shape:
    engines = tuple(row["attributes"][e] for e in ENGINES)
    return Shape(
        row["name"],
        row["memory_slices"],
        row["compute_slices"],
        row["instances"],
        tuple(start for start, _ in row["placements"]),
        None if None in engines else engines,
    )


def chip_of(catalogue: Catalogue) -> Chip:
    """The chip that a catalogue describes, for made-up ones."""
    return Chip(
        catalogue.memory_slices,
        catalogue.compute_slices,
        tuple(
            Shape(
                p.name,
                p.memory_slices,
                p.compute_slices,
                p.max_instances,
                p.starts,
                None if p.engines is None else p.engines.values(),
            )
            for p in catalogue.profiles
        ),
        None if catalogue.engine_totals is None else catalogue.engine_totals.values(),
    )


@lru_cache(maxsize=32)
def legal_sets(chip: Chip) -> frozenset[Items]:
    """Every set of placements that may stand together, the empty one included."""
    items = chip.items

    def grow(chosen: tuple[Item, ...], first: int) -> Iterator[Items]:
        yield frozenset(chosen)
        for i in range(first, len(items)):
            if chip.legal((*chosen, items[i])):
                yield from grow((*chosen, items[i]), i + 1)

    return frozenset(grow((), 0))


def additions(chip: Chip, chosen: Items) -> frozenset[Item]:
    """The placements that may still be added to a legal set."""
    legal = legal_sets(chip)
    return frozenset(item for item in chip.items if item not in chosen and chosen | {item} in legal)


def maximal_sets(chip: Chip) -> frozenset[Items]:
    """The legal sets to which nothing can be added."""
    return frozenset(chosen for chosen in legal_sets(chip) if not additions(chip, chosen))


def counts(chosen: Iterable[Item]) -> Counts:
    """How many of each profile, without positions."""
    return tuple(sorted(Counter(name for name, _ in chosen).items()))


@lru_cache(maxsize=200_000)
def room(chip: Chip, chosen: Items, name: str) -> int:
    """How many more of one profile can be added at most."""
    more = [item for item in additions(chip, chosen) if item[0] == name]
    return max((1 + room(chip, chosen | {item}, name) for item in more), default=0)


def futures(chip: Chip) -> Mapping[Items, int]:
    """A number per legal set: equal exactly if both cover the same slices and allow the same additions for ever.

    Built from the fullest sets backwards: two sets have the same future if the same placements can be added to both
    and each addition leads to sets with the same future.
    """
    numbers: dict[tuple[int, tuple[tuple[Item, int], ...]], int] = {}
    future: dict[Items, int] = {}
    for chosen in sorted(legal_sets(chip), key=len, reverse=True):
        onward = tuple(sorted((item, future[chosen | {item}]) for item in additions(chip, chosen)))
        future[chosen] = numbers.setdefault((chip.mask(chosen), onward), len(numbers))
    return future


def packs(chips: tuple[tuple[Chip, Items], ...], names: tuple[str, ...]) -> bool:
    """Whether these slices fit on these half-full chips together, by trying everything."""
    return _packs(chips, tuple(sorted(names)))


@lru_cache(maxsize=200_000)
def _packs(chips: tuple[tuple[Chip, Items], ...], names: tuple[str, ...]) -> bool:
    if not names:
        return True
    name, *rest = names
    for i, (chip, chosen) in enumerate(chips):
        for item in chip.items:
            if item[0] == name and item not in chosen and chip.legal(chosen | {item}):
                after = (*chips[:i], (chip, chosen | {item}), *chips[i + 1 :])
                if _packs(after, tuple(rest)):
                    return True
    return False


def cheapest(
    chips: tuple[tuple[Chip, Items], ...],
    names: tuple[str, ...],
    cost: Callable[[int, Items, Item], float],
    containers: tuple[str, ...] = (),
) -> tuple[int, float]:
    """The fewest surplus slices, and with these the least sum of costs, of putting all of these on half-full chips, by
    trying everything; the sum is inf if they do not fit.

    `cost(chip, present, item)` is what one more placement costs beside what is there, by the number of the chip. On
    each chip slices come by memory, then compute, large before small, then by name. `containers` says whose each is; a
    container's slices beyond its first on one chip are surplus. Without them none is.
    """
    least: dict[tuple[int, tuple[str, ...]], float] = {}

    def on(number: int, chosen: Items, names: tuple[str, ...]) -> float:
        if not names:
            return 0.0
        chip, _ = chips[number]
        items = [item for item in chip.items if item[0] == names[0] and item not in chosen]
        legal = [item for item in items if chip.legal(chosen | {item})]
        return min((cost(number, chosen, i) + on(number, chosen | {i}, names[1:]) for i in legal), default=math.inf)

    def alone(number: int, names: tuple[str, ...]) -> float:
        chip, present = chips[number]
        if not {shape.name for shape in chip.shapes}.issuperset(names):
            return math.inf
        if (number, names) not in least:
            large_first = sorted(names, key=lambda name: (-chip.shape(name).size, -chip.shape(name).compute, name))
            least[number, names] = on(number, present, tuple(large_first))
        return least[number, names]

    def shared_out(where: tuple[int, ...]) -> tuple[int, float]:
        """The surplus slices and the least sum, given on which chip each goes."""
        surplus = len(containers) - len(set(zip(where, containers, strict=False)))
        on_chip = [sorted(n for w, n in zip(where, names, strict=True) if w == number) for number in range(len(chips))]
        loss = sum(alone(number, tuple(of_chip)) for number, of_chip in enumerate(on_chip))
        return (surplus, loss) if loss < math.inf else (len(names), math.inf)

    return min(map(shared_out, product(range(len(chips)), repeat=len(names))), default=(0, math.inf))
