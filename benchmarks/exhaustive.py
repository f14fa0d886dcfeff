"""Exhaustive: the cheapest sequence of moves that makes room for one slice, by trying all of them.

The judge of `repacking`, which shares nothing with the planner but the geometry. A move takes one slice away and puts
it anywhere that is then legal; it costs 1 and the slice's compute slices. Slices of one profile are worth the same,
and so are GPUs with the same slices on them: what is searched is arrangements, not pods, which keeps it small. What
lies in the way of the cheapest window has to move whatever else is done, so the search looks there first (A*).
"""

import heapq
from collections.abc import Iterator, Sequence
from functools import lru_cache

from allocator import errors
from allocator.mig.geometry import Geometry

Gpu = tuple[int, int]  # slices that stay and slices that may move, each as bits of placement indices
Arrangement = tuple[Gpu, ...]

MOST_ARRANGEMENTS = 100_000  # arrangements looked at before giving up
NEVER = 1_000_000  # costs more than any sequence


class TooManyError(errors.MigschedError):
    """There are more arrangements than are looked at."""


def cheapest(
    geometry: Geometry,
    gpus: Sequence[Gpu],
    profile: str,
    most_moves: int,
    most_cost: int | None,
    most_arrangements: int = MOST_ARRANGEMENTS,
) -> int | None:
    """The least cost of any legal sequence of at most so many moves after which the profile fits; None if none.

    Sequences dearer than `most_cost` are not looked at: None then means that there is no cheaper one. Raises
    TooManyError where more than `most_arrangements` would have to be looked at.
    """
    start = tuple(sorted(gpus))
    waiting: list[tuple[int, int, int, Arrangement]] = [(_least(geometry, start, profile), 0, 0, start)]
    fewest_moves: dict[Arrangement, int] = {}  # → the fewest moves that it was reached with so far; costs only grow
    while waiting:
        at_least, cost, moves, here = heapq.heappop(waiting)
        if at_least >= NEVER or fewest_moves.get(here, most_moves + 1) <= moves:
            continue
        fewest_moves[here] = moves
        if len(fewest_moves) > most_arrangements:
            raise TooManyError(f"more than {most_arrangements} arrangements")
        if any(_fits(geometry, stay | move, profile) for stay, move in set(here)):
            return cost
        if moves < most_moves:
            for step, after in _moves(geometry, here):
                total = cost + step + _least(geometry, after, profile)
                dear = most_cost is not None and total > most_cost
                if not dear and fewest_moves.get(after, most_moves + 1) > moves + 1:
                    heapq.heappush(waiting, (total, cost + step, moves + 1, after))
    return None


def _least(geometry: Geometry, here: Arrangement, profile: str) -> int:
    """What making room costs at least: moving what lies in the way of the cheapest window."""
    return min((_least_of(geometry, stay, move, profile) for stay, move in set(here)), default=NEVER)


@lru_cache(maxsize=200_000)
def _least_of(geometry: Geometry, stay: int, move: int, profile: str) -> int:
    least = NEVER
    for index in geometry.placements_of(profile):
        window = geometry.placements[index]
        if not any(geometry.placements[i].overlaps(window) for i in _bits(stay)):
            blockers = [i for i in _bits(move) if geometry.placements[i].overlaps(window)]
            least = min(least, sum(_cost(geometry, i) for i in blockers))
    return least


def _cost(geometry: Geometry, index: int) -> int:
    return 1 + geometry.catalogue.profile(geometry.placements[index].profile).compute_slices


def _moves(geometry: Geometry, here: Arrangement) -> Iterator[tuple[int, Arrangement]]:
    """Cost and outcome of every legal move, alike ones once."""
    done = set()
    for source, gpu in enumerate(here):
        if gpu in here[:source]:
            continue
        for taken in _bits(gpu[1]):
            profile = geometry.placements[taken].profile
            without = [*here[:source], (gpu[0], gpu[1] & ~(1 << taken)), *here[source + 1 :]]
            for target, (stay, move) in enumerate(without):
                for placed in geometry.placements_of(profile):
                    if (placed, target) == (taken, source) or not _legal(geometry, stay | move, placed):
                        continue
                    after = [*without[:target], (stay, move | 1 << placed), *without[target + 1 :]]
                    key = tuple(sorted(after))
                    if key not in done:
                        done.add(key)
                        yield _cost(geometry, taken), key


def _bits(number: int) -> Iterator[int]:
    while number:
        yield (number & -number).bit_length() - 1
        number &= number - 1


def _fits(geometry: Geometry, slices: int, profile: str) -> bool:
    return any(_legal(geometry, slices, index) for index in geometry.placements_of(profile))


def _legal(geometry: Geometry, slices: int, index: int) -> bool:
    state = _state(geometry, slices)
    return state is not None and bool(geometry.step[state, index] >= 0)


@lru_cache(maxsize=200_000)
def _state(geometry: Geometry, slices: int) -> int | None:
    """The state that slices make; None if they cannot exist together."""
    try:
        return geometry.state_of(geometry.placements[i] for i in _bits(slices))
    except errors.GeometryError:
        return None
