"""Exploration: every state that a catalogue allows, found in small parts. Called by `geometry`, which makes tables.

What is described by somebody else may take long, so each function here that may is a generator: between two of its
yields it works for about a millisecond, and the caller may do something else, or give up.
"""

from collections.abc import Generator, Iterable
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from allocator import errors
from allocator.mig.catalogue import Catalogue
from allocator.mig.profile import Placement

MAX_STEPS = 100_000  # placements tried while exploring; of the known models an A100 takes most, 16,425
_ROWS = 1_000  # of tables, between two yields

Masks = npt.NDArray[np.int64]
Step = npt.NDArray[np.int32]
T = TypeVar("T")


def finished(parts: Generator[int, None, T]) -> T:
    """What work in parts makes, done at once."""
    while True:
        try:
            next(parts)
        except StopIteration as end:
            made: T = end.value
            return made


def explore(
    catalogue: Catalogue, placements: tuple[Placement, ...], max_steps: int = MAX_STEPS
) -> Generator[int, None, tuple[Masks, Step]]:
    """Reach every (mask, use of the limited things) from the empty GPU; the transitions between them.

    Yields the number of placements tried since the last yield. Raises CatalogueError for a catalogue that takes more
    than `max_steps`: this is refused, not searched.
    """
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
        if len(order) * len(placements) > max_steps:
            raise errors.CatalogueError(
                f"catalogue of {catalogue.model}: profiles",
                len(catalogue.profiles),
                f"more than {max_steps} steps between states; this is not a GPU",
            )
        yield len(placements)
    return np.array([m for m, _ in order], dtype=np.int64), np.array(rows, dtype=np.int32)


def merge(masks: Masks, step: Step) -> Generator[int, None, tuple[Masks, Step]]:
    """Moore's minimisation: merge states that cover the same slices and allow the same futures.

    Groups are numbered by their first member, so that the empty GPU stays state 0. Yields 0 now and then.
    """
    group = yield from _numbered(masks[:, None])
    count = -1
    while count != group.max():
        count = int(group.max())
        after = np.where(step >= 0, group[step], -1)
        group = yield from _numbered(np.column_stack([group, after]))
    _, members = np.unique(group, return_index=True)
    merged = np.where(step[members] >= 0, group[step[members]], -1).astype(np.int32)
    return masks[members], merged


def _numbered(rows: npt.NDArray[np.int64]) -> Generator[int, None, npt.NDArray[np.int64]]:
    """A number per row, equal for equal rows, in the order in which they first come."""
    rows = np.ascontiguousarray(rows)
    keys = rows.view(np.dtype((np.void, rows.shape[1] * rows.itemsize))).ravel()
    numbers: dict[bytes, int] = {}
    numbered = []
    for first in range(0, len(keys), _ROWS):
        numbered += [numbers.setdefault(key, len(numbers)) for key in keys[first : first + _ROWS].tolist()]
        yield 0
    return np.array(numbered, dtype=np.int64)


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
