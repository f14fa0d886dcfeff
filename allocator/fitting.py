"""Exact joint placement of several slices on the GPUs of one node.

One slice is a table look-up; several are a small packing question over the node's GPUs, answered exactly: `fits`
says whether all slices of a request fit together, `place` chooses where, each at its least loss that leaves room
for the rest. Called by fleet (which nodes), inventory (where at bind) and the planners.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from allocator import errors, policy
from allocator.geometry import Geometry
from allocator.policy import Policy
from allocator.profile import Placement

Demand = tuple[int, ...]  # slices still wanted, in the order of the names asked for
GpuState = tuple[Geometry, int]

MAX_DEAD_ENDS = 5_000  # while packing one node; only requests of many different profiles get near


class TooComplexError(errors.MigschedError):
    """A request mixes so many profiles that an exact answer would cost too much; it is refused, not guessed."""


@dataclass(frozen=True, slots=True)
class Placed:
    """Where one slice goes: index of the GPU among those given, placement, and what it costs by the policy."""

    gpu: int
    placement: Placement
    loss: float


def fits(gpus: Sequence[GpuState], counts: Mapping[str, int]) -> bool:
    """Whether slices of these profiles fit on these GPUs together. Raises TooComplexError rather than guess."""
    names = tuple(sorted(name for name, n in counts.items() if n > 0))
    if not names:
        return True
    states = tuple(sorted(((g, s) for g, s in gpus), key=lambda gs: (id(gs[0]), gs[1])))
    return _fits(states, names, tuple(counts[name] for name in names))


@lru_cache(maxsize=65_536)
def _fits(gpus: tuple[GpuState, ...], names: tuple[str, ...], demand: Demand) -> bool:
    for position, name in enumerate(names):
        if sum(_room(g, s, name) for g, s in gpus) < demand[position]:
            return False
    if len(names) == 1:
        return True
    return _Search(gpus, names).fits(0, demand)


class _Search:
    """Depth-first over the GPUs: each takes one of its maximal packs; what is left goes on to the next."""

    def __init__(self, gpus: tuple[GpuState, ...], names: tuple[str, ...]) -> None:
        self._packs = [_packs(g, s, names) for g, s in gpus]
        self._sizes = [_size(gpus, name) for name in names]
        self._dead: set[tuple[int, Demand]] = set()
        free = [g.free_slices(s) for g, s in gpus]
        self._free_from = [sum(free[i:]) for i in range(len(free) + 1)]

    def fits(self, gpu: int, demand: Demand) -> bool:
        """Whether the GPUs from this one on hold the demand."""
        weight = self._weight(demand)
        if weight == 0:
            return True
        if weight > self._free_from[gpu] or (gpu, demand) in self._dead:
            return False
        rests = {
            tuple(max(0, wanted - held) for wanted, held in zip(demand, pack, strict=True)) for pack in self._packs[gpu]
        }
        if any(self.fits(gpu + 1, rest) for rest in sorted(rests, key=self._weight)):
            return True
        self._dead.add((gpu, demand))
        if len(self._dead) > MAX_DEAD_ENDS:
            raise TooComplexError(f"{MAX_DEAD_ENDS} dead ends")
        return False

    def _weight(self, demand: Demand) -> int:
        return sum(map(int.__mul__, demand, self._sizes))


def place(gpus: Sequence[GpuState], profiles: Sequence[str], by: Policy) -> tuple[Placed, ...] | None:
    """A place for each of these slices, in the order given; None if they do not fit together.

    Large slices choose first. Each takes the least loss by the policy among the places that leave room for the
    rest, so the answer is found whenever there is one. Raises TooComplexError rather than guess.
    """
    if len(profiles) == 1:
        return _place_one(gpus, profiles[0], by)
    counts = {name: profiles.count(name) for name in set(profiles)}
    if not fits(gpus, counts):
        return None
    states = list(gpus)
    chosen: dict[int, Placed] = {}
    for slot in sorted(range(len(profiles)), key=lambda i: (-_size(gpus, profiles[i]), profiles[i], i)):
        name = profiles[slot]
        counts[name] -= 1
        tried = ((one, _after(states, one)) for one in _candidates(states, name, by))
        chosen[slot], states = next((one, rest) for one, rest in tried if fits(rest, counts))  # `fits` promised one
    return tuple(chosen[slot] for slot in range(len(profiles)))


def _after(gpus: Sequence[GpuState], one: Placed) -> list[GpuState]:
    """The GPUs with one more slice on them."""
    geometry, state = gpus[one.gpu]
    after = int(geometry.step[state, geometry.placement_index[one.placement]])
    return [*gpus[: one.gpu], (geometry, after), *gpus[one.gpu + 1 :]]


def _place_one(gpus: Sequence[GpuState], name: str, by: Policy) -> tuple[Placed, ...] | None:
    """The best place for one slice: a look-up per GPU."""
    least, found = float("inf"), -1
    for index, (geometry, state) in enumerate(gpus):
        profile = geometry.profile_index.get(name)
        if profile is not None:
            loss = policy.tables(by, geometry).loss.item(state, profile)
            if loss < least:
                least, found = loss, index
    if found < 0:
        return None
    geometry, state = gpus[found]
    choice = policy.tables(by, geometry).choice.item(state, geometry.profile_index[name])
    return (Placed(found, geometry.placements[choice], least),)


def _candidates(gpus: Sequence[GpuState], name: str, by: Policy) -> list[Placed]:
    """Every place for one slice, best first; equal GPUs are tried once."""
    found = []
    seen: set[tuple[int, int]] = set()
    for index, (geometry, state) in enumerate(gpus):
        if name not in geometry.profile_index or (id(geometry), state) in seen:
            continue
        seen.add((id(geometry), state))
        losses = policy.tables(by, geometry).step_loss[state]
        found += [
            Placed(index, geometry.placements[i], float(losses[i]))
            for i in geometry.placements_of(name)
            if geometry.step[state, i] >= 0
        ]
    return sorted(found, key=lambda one: (one.loss, one.gpu, one.placement.start))


def _size(gpus: Iterable[GpuState], name: str) -> int:
    """Memory slices of a profile, on the GPU where it takes least: a name may be 1 slice of one model, 2 of another."""
    return min((g.catalogue.by_name[name].memory_slices for g, _ in gpus if name in g.catalogue.by_name), default=0)


def _room(geometry: Geometry, state: int, name: str) -> int:
    index = geometry.profile_index.get(name)
    return 0 if index is None else int(geometry.room[state, index])


@lru_cache(maxsize=65_536)
def _packs(geometry: Geometry, state: int, names: tuple[str, ...]) -> frozenset[Demand]:
    """The maximal multisets over `names` that still fit in a state; the zero one if nothing does."""
    found: set[Demand] = set()
    for position, name in enumerate(names):
        if name not in geometry.profile_index:
            continue
        for index in geometry.placements_of(name):
            after = int(geometry.step[state, index])
            if after >= 0:
                found |= {
                    (*pack[:position], pack[position] + 1, *pack[position + 1 :])
                    for pack in _packs(geometry, after, names)
                }
    return frozenset(_maximal(found)) if found else frozenset([(0,) * len(names)])


def _maximal(vectors: set[Demand]) -> set[Demand]:
    return {
        one
        for one in vectors
        if not any(other != one and all(o >= v for o, v in zip(other, one, strict=True)) for other in vectors)
    }
