"""Swaps: which other profiles serve as well as the one asked for, and how far from it each is. Called by `changes`."""

import re
from collections.abc import Iterable, Mapping, Sequence

from allocator.mig.catalogue import Catalogue
from allocator.mig.profile import Profile
from allocator.planning.packing.hosting import Swaps

_CHANGED = 10_000  # cost of asking for another profile, beside how different it is in hundredths
_GB = re.compile(r"\.([0-9]+)gb")
_ATTRIBUTE = re.compile(r"[+-][a-z.]+$")

_ByName = Mapping[str, Sequence[Profile]]  # a name may stand for a slightly different slice on each model


def of_fleet(catalogues: Iterable[Catalogue], asked: Iterable[str]) -> Swaps:
    """For each profile asked for, every other that serves: no less memory, the same attributes, by how different."""
    by_name: dict[str, list[Profile]] = {}
    for catalogue in catalogues:
        for profile in catalogue.profiles:
            by_name.setdefault(profile.name, []).append(profile)
    return {
        name: tuple(
            (other, _difference(by_name, name, other))
            for other in by_name
            if other != name and _attribute(other) == _attribute(name) and _serves(by_name, name, other)
        )
        for name in asked
    }


def _serves(by_name: _ByName, name: str, other: str) -> bool:
    memory, other_memory = _memory(by_name, name, other)
    return other_memory >= memory > 0


def _difference(by_name: _ByName, name: str, other: str) -> int:
    """How far another profile is from this one, in hundredths of it: memory, and compute, double where it is less."""
    memory, other_memory = _memory(by_name, name, other)
    compute, other_compute = by_name[name][0].compute_slices, by_name[other][0].compute_slices
    less = compute - other_compute
    return _CHANGED + 100 * (other_memory - memory) // memory + (200 if less > 0 else 100) * abs(less) // compute


def _memory(by_name: _ByName, name: str, other: str) -> tuple[int, int]:
    """The least memory of slices of both names: MiB where all of it is published, else the GB that the names say.

    Memory slices of two models are of different sizes and say nothing.
    """
    sizes = [[profile.memory_mib for profile in by_name[one]] for one in (name, other)]
    published = [[mib for mib in of_name if mib] for of_name in sizes]
    if all(len(mib) == len(of_name) for mib, of_name in zip(published, sizes, strict=True)):
        return min(published[0]), min(published[1])
    return _named_gb(name), _named_gb(other)


def _named_gb(name: str) -> int:
    match = _GB.search(name)
    return int(match[1]) if match else 0


def _attribute(name: str) -> str:
    match = _ATTRIBUTE.search(name)
    return match[0] if match else ""
