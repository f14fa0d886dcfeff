"""Geometry: the states one GPU can be in, as a finite automaton with precomputed tables.

A state is what a set of slices leaves possible: two sets of slices share a state exactly if every future is legal
for the one that is legal for the other and they cover the same memory slices. So a state knows the occupied mask
and, where the mask alone does not decide, the limits that bind beside it (one `+me` slice per GPU, the media engine
totals of an A30). Every question of the scheduler then is a look-up: no search when a pod waits.

Used by policy, fitting, fleet, and by packing for its patterns. Theory: docs/geometry.md.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from allocator import errors
from allocator.mig.catalogue import Catalogue
from allocator.mig.profile import Placement

MAX_STEPS = 500_000  # placements tried while exploring; an A100 takes 16,425. What needs more is refused, not searched

Multiset = tuple[int, ...]  # slices per profile, in catalogue order


class Geometry:
    """The compiled tables of one catalogue. Get one from `compiled`; it is immutable.

    `step[s, i]` is the state after adding placement `i` in state `s`, or -1 where that is illegal (int32, states ×
    placements). `masks[s]` is the occupied memory slices of state `s` (int64). `room[s, p]` is how many more slices
    of profile `p` fit at once (int16, states × profiles). State 0 is the empty GPU.
    """

    EMPTY = 0

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.placements: tuple[Placement, ...] = tuple(catalogue.placements())
        self.profiles: tuple[str, ...] = tuple(p.name for p in catalogue.profiles)
        self.profile_index = {name: i for i, name in enumerate(self.profiles)}
        self.placement_index = {p: i for i, p in enumerate(self.placements)}
        self.profile_of = np.array([self.profile_index[p.profile] for p in self.placements], dtype=np.int32)
        raw_masks, raw_step = _explore(catalogue, self.placements)
        self.masks, self.step = _merge(raw_masks, raw_step)
        self.room = self._room()

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
        fullest_first = sorted(range(self.states), key=lambda s: -int(self.masks[s]).bit_count())
        for state in fullest_first:
            for index, after in enumerate(self.step[state]):
                if after >= 0:
                    profile = self.profile_of[index]
                    room[state, profile] = max(room[state, profile], 1 + room[after, profile])
        room.flags.writeable = False
        return room

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
    """The geometry of a catalogue, built once per distinct catalogue. Raises CatalogueError if it is too large."""
    geometry = _compiled(catalogue)
    if isinstance(geometry, errors.CatalogueError):
        raise errors.CatalogueError(geometry.field, geometry.value, geometry.fix)
    return geometry


@lru_cache(maxsize=256)
def _compiled(catalogue: Catalogue) -> Geometry | errors.CatalogueError:
    try:
        return Geometry(catalogue)
    except errors.CatalogueError as refused:  # remembered too: finding out costs seconds, and a bad report comes again
        return refused


def _explore(
    catalogue: Catalogue, placements: tuple[Placement, ...]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Reach every (mask, use of the limited things) from the empty GPU; the transitions between them."""
    caps, uses = limits(catalogue, placements)
    masks = [p.mask for p in placements]
    start = (0, (0,) * len(caps))
    numbers: dict[tuple[int, tuple[int, ...]], int] = {start: 0}
    order = [start]
    rows: list[list[int]] = []
    for mask, used in order:  # grows while we walk it: a breadth-first search
        row = []
        for added, cost in zip(masks, uses, strict=True):
            after_use = tuple(map(int.__add__, used, cost))
            if mask & added or any(u > limit for u, limit in zip(after_use, caps, strict=True)):
                row.append(-1)
                continue
            after = (mask | added, after_use)
            number = numbers.setdefault(after, len(numbers))
            if number == len(order):
                order.append(after)
            row.append(number)
        rows.append(row)
        if len(order) * len(placements) > MAX_STEPS:
            raise errors.CatalogueError(
                f"catalogue of {catalogue.model}: profiles",
                len(catalogue.profiles),
                f"more than {MAX_STEPS} steps between states; this is not a GPU",
            )
    return np.array([m for m, _ in order], dtype=np.int64), np.array(rows, dtype=np.int32)


def limits(
    catalogue: Catalogue, placements: tuple[Placement, ...]
) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]:
    """What can run out before memory does, and what each placement uses of it.

    Of compute slices, instances per profile, and media engines (where their totals and every profile's share are
    known) those that slices which overlap nowhere could ask too much of.
    """
    profiles = catalogue.profiles
    caps = [catalogue.compute_slices, *(p.max_instances for p in profiles)]
    costs = {p.name: [p.compute_slices, *(int(p.name == other.name) for other in profiles)] for p in profiles}
    if catalogue.engine_totals is not None and all(p.engines is not None for p in profiles):
        caps += catalogue.engine_totals.values()
        for p in profiles:
            costs[p.name] += p.engines.values() if p.engines is not None else ()
    uses = [[costs[p.profile][i] for p in placements] for i in range(len(caps))]
    bind = [i for i, cap in enumerate(caps) if _most(uses[i], placements, catalogue.memory_slices) > cap]
    return tuple(caps[i] for i in bind), tuple(tuple(uses[i][j] for i in bind) for j in range(len(placements)))


def _most(uses: Iterable[int], placements: tuple[Placement, ...], memory_slices: int) -> int:
    """The most that placements which overlap nowhere use together."""
    ending: dict[int, list[tuple[int, int]]] = {}
    for use, placement in zip(uses, placements, strict=True):
        ending.setdefault(placement.start + placement.size, []).append((placement.start, use))
    most = [0]  # by the number of memory slices looked at
    for end in range(1, memory_slices + 1):
        most.append(max([most[-1], *(most[start] + use for start, use in ending.get(end, ()))]))
    return most[-1]


def _merge(
    masks: npt.NDArray[np.int64], step: npt.NDArray[np.int32]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Moore's minimisation: merge states that cover the same slices and allow the same futures."""
    _, group = np.unique(masks, return_inverse=True)
    count = -1
    while count != group.max():
        count = group.max()
        after = np.where(step >= 0, group[step], -1)
        _, group = np.unique(np.column_stack([group, after]), axis=0, return_inverse=True)
        group = group.ravel()
    # Number the groups by their first member, so that the empty GPU stays state 0.
    firsts = np.full(group.max() + 1, len(group), dtype=np.int64)
    np.minimum.at(firsts, group, np.arange(len(group)))
    rank = np.empty_like(firsts)
    rank[np.argsort(firsts)] = np.arange(len(firsts))
    members = np.sort(firsts)
    merged = np.where(step[members] >= 0, rank[group[step[members]]], -1).astype(np.int32)
    merged.flags.writeable = False
    merged_masks = masks[members]
    merged_masks.flags.writeable = False
    return merged_masks, merged
