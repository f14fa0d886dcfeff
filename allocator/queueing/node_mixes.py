"""Mixes: how many pods of each kind GPUs can take at once, by their geometry. Asked by `gang_search`.

A mix is a vector, one number per kind; only those are listed to which nothing can be added. What a GPU takes is walked
once per state and kept with its geometry; the answer for several is the sums over them.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from allocator.mig.geometry import Geometry
from allocator.mig.profile import Placement
from allocator.placement.fitting import GpuState

Vector = tuple[int, ...]
MAX_MIXES = 300  # of one node, that are looked at; to compare them all takes some milliseconds
_MOST_KEPT = 4_096  # answers about one state, kept with each geometry


@dataclass(frozen=True, slots=True)
class Mixes:
    """The largest mixes that GPUs take; `whole` says that none is left out."""

    largest: tuple[Vector, ...]
    whole: bool = True


@dataclass(frozen=True, slots=True)
class IndexedPlace:
    """Where one slice goes: index of the GPU among those given, and placement."""

    gpu: int
    placement: Placement


def of_gpus(gpus: Sequence[GpuState], kinds: Sequence[Vector], profiles: Sequence[str], most: Vector) -> Mixes:
    """The largest mixes of kinds for GPUs; a kind is how many slices of each profile its pod takes.

    `most` is how many pods of each kind are asked for: more is of no use.
    """
    caps = tuple(sum(kind[p] * n for kind, n in zip(kinds, most, strict=True)) for p in range(len(profiles)))
    slices = _slices(gpus, tuple(profiles), caps)
    mixes: set[Vector] = set()
    whole = slices.whole
    for offered in slices.largest:
        for mix in _largest_of_kinds(offered, kinds, most):
            mixes.add(mix)
            if len(mixes) > MAX_MIXES:
                return Mixes(largest(mixes), whole=False)
    return Mixes(largest(mixes), whole)


def places(gpus: Sequence[GpuState], profiles: Sequence[str], wanted: Vector) -> tuple[tuple[IndexedPlace, ...], ...]:
    """Where slices go of which GPUs take so many of each profile, by profile; () if they do not take them all."""
    shares = _shares(gpus, tuple(profiles), wanted)
    found: list[list[IndexedPlace]] = [[] for _ in profiles]
    for index, ((geometry, state), share) in enumerate(zip(gpus, shares, strict=False)):
        for profile, placement in _cut(geometry, state, tuple(profiles), share):
            found[profile].append(IndexedPlace(index, placement))
    return tuple(map(tuple, found)) if shares else ()


def largest(vectors: Iterable[Vector]) -> tuple[Vector, ...]:
    """Those to which no other adds anything, in a certain order: the larger sums first."""
    kept: list[Vector] = []
    for vector in sorted(set(vectors), key=lambda v: (-sum(v), v)):
        if not any(all(map(int.__le__, vector, other)) for other in kept):
            kept.append(vector)
    return tuple(kept)


def _slices(gpus: Sequence[GpuState], profiles: tuple[str, ...], caps: Vector) -> Mixes:
    """The largest numbers of slices of each profile that GPUs take together."""
    sums: tuple[Vector, ...] = (tuple(0 for _ in profiles),)
    whole = True
    for geometry, state in gpus:
        each = geometry.keep(_of_state, state, profiles, most=_MOST_KEPT)
        if any(map(any, each)):
            more = {tuple(map(min, map(int.__add__, a, b), caps)) for a in sums for b in each}
            sums = largest(more)
            if len(sums) > MAX_MIXES:
                sums, whole = sums[:MAX_MIXES], False
    return Mixes(sums, whole)


def _of_state(geometry: Geometry, state: int, profiles: tuple[str, ...]) -> tuple[Vector, ...]:
    """The largest numbers of slices of each profile that a GPU in this state takes."""
    vectors = {tuple(0 for _ in profiles)}
    for position, profile in enumerate(profiles):
        if not geometry.room_for(state, profile):
            continue
        for after in {int(geometry.step[state, index]) for index in geometry.placements_of(profile)} - {-1}:
            for rest in geometry.keep(_of_state, after, profiles, most=_MOST_KEPT):
                vectors.add((*rest[:position], rest[position] + 1, *rest[position + 1 :]))
    return largest(vectors)


def _largest_of_kinds(offered: Vector, kinds: Sequence[Vector], most: Vector) -> Iterator[Vector]:
    """The mixes of kinds that so many slices suffice for and to which no pod can be added."""

    def choose(position: int, left: Vector, chosen: Vector) -> Iterator[Vector]:
        if position == len(kinds):
            if not any(n < limit and _fits(kind, left) for kind, n, limit in zip(kinds, chosen, most, strict=True)):
                yield chosen
            return
        kind = kinds[position]
        highest = min((have // need for have, need in zip(left, kind, strict=True) if need), default=0)
        for number in range(min(most[position], highest), -1, -1):
            rest = tuple(have - number * need for have, need in zip(left, kind, strict=True))
            yield from choose(position + 1, rest, (*chosen, number))

    return choose(0, offered, ())


def _fits(kind: Vector, left: Vector) -> bool:
    return any(kind) and all(map(int.__le__, kind, left))


def _shares(gpus: Sequence[GpuState], profiles: tuple[str, ...], wanted: Vector) -> tuple[Vector, ...]:
    """What each GPU takes of so many slices; () if they do not take them all."""
    failed: set[tuple[int, Vector]] = set()

    def share(index: int, left: Vector) -> tuple[Vector, ...] | None:
        if not any(left):
            return tuple(tuple(0 for _ in profiles) for _ in gpus[index:])
        if index == len(gpus) or (index, left) in failed:
            return None
        geometry, state = gpus[index]
        for vector in geometry.keep(_of_state, state, profiles, most=_MOST_KEPT):
            taken = tuple(map(min, vector, left))
            rest = share(index + 1, tuple(map(int.__sub__, left, taken)))
            if rest is not None:
                return (taken, *rest)
        failed.add((index, left))
        return None

    return share(0, wanted) or ()


def _cut(geometry: Geometry, state: int, profiles: tuple[str, ...], share: Vector) -> tuple[tuple[int, Placement], ...]:
    """Placements for a GPU's share, each with its profile's position."""
    if not any(share):
        return ()
    for position, profile in enumerate(profiles):
        if not share[position]:
            continue
        rest = (*share[:position], share[position] - 1, *share[position + 1 :])
        for index in geometry.placements_of(profile):
            after = int(geometry.step[state, index])
            if after >= 0 and any(
                all(map(int.__le__, rest, vector))
                for vector in geometry.keep(_of_state, after, profiles, most=_MOST_KEPT)
            ):
                return ((position, geometry.placements[index]), *_cut(geometry, after, profiles, rest))
    raise AssertionError(f"{share} of {profiles} fits no longer")  # never: `share` is below one of `_of_state`
