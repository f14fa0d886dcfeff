"""Geometry: the states one GPU can be in, as a finite automaton with precomputed tables.

A state is what a set of slices leaves possible: two sets of slices share a state exactly if every future is legal
for the one that is legal for the other and they cover the same memory slices. So a state knows the occupied mask
and, where the mask alone does not decide, the limits that bind beside it (one `+me` slice per GPU, the media engine
totals of an A30). Every question of the scheduler then is a look-up: no search when a pod waits.

Used by policy, fitting, fleet, and by packing for its patterns. Theory: docs/geometry.md.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator
from functools import cached_property
from typing import TypeVar, TypeVarTuple

import numpy as np
import numpy.typing as npt

from allocator import errors
from allocator.mig import exploration, gpu_models
from allocator.mig.catalogue import Catalogue
from allocator.mig.profile import Placement
from allocator.mig.recent import Recent

MAX_UNUSED = 4 * 2**20  # bytes of geometries that no GPU uses, or not any more
MAX_REFUSED = 64  # catalogues that are remembered to be too large: finding out is slow, and a bad report comes again

Multiset = tuple[int, ...]  # slices per profile, in catalogue order
_NOTHING = object()
_EACH = 1024  # bytes of a placement, its profile and its indexes
T = TypeVar("T")
Key = TypeVarTuple("Key")


class Geometry:
    """The compiled tables of one catalogue. Get one from `compiled`; it is immutable.

    `step[s, i]` is the state after adding placement `i` in state `s`, or -1 where that is illegal (int32, states ×
    placements). `masks[s]` is the occupied memory slices of state `s` (int64). `room[s, p]` is how many more slices
    of profile `p` fit at once (int16, states × profiles). State 0 is the empty GPU.
    """

    EMPTY = 0

    def __init__(self, catalogue: Catalogue, masks: npt.NDArray[np.int64], step: npt.NDArray[np.int32]) -> None:
        self.catalogue = catalogue
        self.placements: tuple[Placement, ...] = tuple(catalogue.placements())
        self.profiles: tuple[str, ...] = tuple(p.name for p in catalogue.profiles)
        self.profile_index = {name: i for i, name in enumerate(self.profiles)}
        self.placement_index = {p: i for i, p in enumerate(self.placements)}
        self.profile_of = np.array([self.profile_index[p.profile] for p in self.placements], dtype=np.int32)
        self.masks, self.step = masks, step
        self.room = self._room()
        for table in (self.masks, self.step, self.room):
            table.flags.writeable = False
        self._kept: dict[Hashable, OrderedDict[Hashable, object]] = {}

    @property
    def states(self) -> int:
        """Number of states."""
        return len(self.masks)

    def placements_of(self, profile: str) -> tuple[int, ...]:
        """Indices of the placements of a profile, starts as the catalogue lists them."""
        return self._by_profile[self.profile_index[profile]]

    @cached_property
    def _by_profile(self) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(i for i, p in enumerate(self.placements) if p.profile == name) for name in self.profiles)

    def state_of(self, placements: Iterable[Placement]) -> int:
        """The state that these slices make. Raises GeometryError naming the first that cannot be added."""
        state = self.EMPTY
        for placement in placements:
            index = self.placement_index.get(placement)
            after = -1 if index is None else int(self.step[state, index])
            if after < 0:
                why = "is not a legal placement" if index is None else "does not fit beside the others"
                raise errors.GeometryError(f"{self.catalogue.model}: {placement} {why}")
            state = after
        return state

    def free_slices(self, state: int) -> int:
        """Free memory slices in a state."""
        return self.catalogue.memory_slices - int(self.masks[state]).bit_count()

    def room_for(self, state: int, profile: str) -> int:
        """How many more slices of a profile fit; none of one that the catalogue does not have."""
        index = self.profile_index.get(profile)
        return 0 if index is None else int(self.room[state, index])

    def _room(self) -> npt.NDArray[np.int16]:
        """How many of one profile fit at once, from the fullest states backwards."""
        room = np.zeros((self.states, len(self.profiles)), dtype=np.int16)
        first_of_profile = np.flatnonzero(np.diff(self.profile_of, prepend=-1))
        taken = np.array([int(mask).bit_count() for mask in self.masks])
        for slices in range(self.catalogue.memory_slices - 1, -1, -1):
            states = np.flatnonzero(taken == slices)
            after = self.step[states]
            fitting = np.where(after >= 0, 1 + room[after, self.profile_of], 0)
            room[states] = np.maximum.reduceat(fitting, first_of_profile, axis=1)
        return room

    def keep(self, make: Callable[["Geometry", *Key], T], *key: *Key, most: int) -> T:
        """What a function makes of this geometry and a key, made once, and forgotten with the geometry.

        Of each function the latest `most` are kept. A cache of the function's own would keep the geometry as well.
        """
        kept = self._kept.get(make)
        if kept is None:
            kept = self._kept[make] = OrderedDict()
        value: T = kept.get(key, _NOTHING)  # type: ignore[assignment]  # a function's values are under its name
        if value is not _NOTHING:  # one look-up: a policy is slow to hash
            return value
        value = kept[key] = make(self, *key)
        if len(kept) > most:
            kept.popitem(last=False)
        return value

    @property
    def nbytes(self) -> int:
        """About how much memory it takes, without what is kept with it."""
        return int(self.step.nbytes + self.masks.nbytes + self.room.nbytes) + _EACH * len(self.placements)

    def legal_sets(self) -> Iterator[tuple[int, ...]]:
        """Every legal set of slices once, as ascending placement indices, the empty set included."""
        stack: list[tuple[tuple[int, ...], int]] = [((), self.EMPTY)]
        while stack:
            chosen, state = stack.pop()
            yield chosen
            first = chosen[-1] + 1 if chosen else 0
            for index in range(first, len(self.placements)):
                after = int(self.step[state, index])
                if after >= 0:
                    stack.append(((*chosen, index), after))

    def maximal_sets(self) -> Iterator[tuple[int, ...]]:
        """Every legal set to which no slice can be added."""
        for chosen in self.legal_sets():
            state = self.state_of(self.placements[i] for i in chosen)
            if (self.step[state] < 0).all():
                yield chosen

    def multiset(self, chosen: Iterable[int]) -> Multiset:
        """Counts per profile of a set of placement indices."""
        counts = Counter(int(self.profile_of[i]) for i in chosen)
        return tuple(counts.get(p, 0) for p in range(len(self.profiles)))

    def multisets(self) -> frozenset[Multiset]:
        """Every multiset of profiles that fits an empty GPU, the empty one included."""
        return frozenset(self.multiset(chosen) for chosen in self.legal_sets())


def compiled(catalogue: Catalogue) -> Geometry:
    """The geometry of a catalogue, built once as long as it is used. Raises CatalogueError if it is too large."""
    known = _recent.get(catalogue)
    if known is not None:
        return known
    return exploration.finished(compiling(catalogue))


def is_known(catalogue: Catalogue) -> bool:
    """Whether `compiled` answers at once, be it with a refusal."""
    return _recent.get(catalogue) is not None or catalogue in _refused


def is_shipped(catalogue: Catalogue) -> bool:
    """Whether a catalogue is in the table of known GPU models."""
    return catalogue.model in gpu_models.known() and catalogue == gpu_models.find(catalogue.model)


def compiling(catalogue: Catalogue) -> Generator[int, None, Geometry]:
    """As `compiled`, in parts of about a millisecond. Yields the number of placements tried since the last yield."""
    known = _recent.get(catalogue)
    if known is not None:
        return known
    refused = _refused.get(catalogue)
    if refused is not None:
        raise errors.CatalogueError(refused.field, refused.value, refused.fix)
    placements = tuple(catalogue.placements())
    try:
        explored = yield from exploration.explore(catalogue, placements)
    except errors.CatalogueError as error:
        _refused[catalogue] = errors.CatalogueError(error.field, error.value, error.fix)  # without its traceback
        if len(_refused) > MAX_REFUSED:
            del _refused[next(iter(_refused))]
        raise
    geometry = Geometry(catalogue, *(yield from exploration.merge(*explored)))
    _recent.put(catalogue, geometry, geometry.nbytes)
    if is_shipped(catalogue):
        _shipped[catalogue] = geometry
    return geometry


_recent: Recent[Catalogue, Geometry] = Recent(MAX_UNUSED)
_shipped: dict[Catalogue, Geometry] = {}  # a few, and kept
_refused: dict[Catalogue, errors.CatalogueError] = {}
