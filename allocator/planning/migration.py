"""Migration: room for one slice that fits nowhere, by moving a few others.

When a request is refused although memory is free, `plan` looks for the cheapest window: the slices that lie in one
legal placement of the profile, at most `max_moves` of them, all movable, that fit elsewhere. They are chosen by what
moving them costs, which is counted as a repack's restarts are: one and its compute slices for each; then by their
number, then by the fragmentation that the fleet has afterwards; every slice is placed again by the same policy.
Nothing is changed: the answer is a plan with its cost. Called by the simulator for every refused request, and by
whoever wants to offer such a move. Emptying GPUs, moves that make other moves possible, and pods that hold several
slices are a repack's business.

To carry a plan out: stop the pods of all `moves`, cut the slice at `placed`, start the pods again at their targets.
"""

import heapq
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import NamedTuple

from allocator import errors
from allocator.claims.ledger import ClaimState
from allocator.claims.report import SliceState
from allocator.claims.snapshot import GpuView, Snapshot
from allocator.mig import geometry
from allocator.mig.geometry import Geometry
from allocator.mig.profile import Placement
from allocator.placement import policy
from allocator.placement.policy import Policy

MAX_MOVES = 4  # more is a repack; the search for places grows with this power

_State = tuple[Geometry, int]
_Place = tuple[float, int, int, _State]  # loss, GPU, placement index, what the GPU is in before
_RUNNING = (ClaimState.BOUND.value, ClaimState.READY.value)
_SAME = 1e-9  # losses closer than this are equal


class GpuLayout(NamedTuple):
    """What is on a GPU: its slices, and those of them that may be moved, each as bits of placement indices."""

    geometry: Geometry
    slices: int = 0
    movable: int = 0


@dataclass(frozen=True, slots=True)
class Spot:
    """A placement on a GPU, which is an index into the fleet given."""

    gpu: int
    placement: Placement


@dataclass(frozen=True, slots=True)
class SliceMove:
    """One slice from here to there."""

    source: Spot
    target: Spot


@dataclass(frozen=True, slots=True)
class Migration:
    """Where the slice goes, and what has to move for it.

    `compute_moved` is the compute slices of all moves. `loss` is what the fleet's fragmentation (see
    `policy.fragmentation`, 1 is one GPU on which nothing fits) grows by with the whole plan; it may be negative.
    """

    placed: Spot
    moves: tuple[SliceMove, ...]
    compute_moved: int
    loss: float

    @property
    def cost(self) -> tuple[int, int]:
        """What plans are compared by: the cost of the restarts, then their number."""
        return self.compute_moved + len(self.moves), len(self.moves)


def layout(geometry: Geometry, slices: Iterable[Placement], movable: Iterable[Placement] = ()) -> GpuLayout:
    """The layout of these slices. Raises GeometryError if they cannot exist together or a movable one is not there."""
    here, free = tuple(slices), tuple(movable)
    geometry.state_of(here)
    for placement in free:
        if placement not in here:
            raise errors.GeometryError(f"{geometry.catalogue.model}: {placement} is movable but not there")
    index = geometry.placement_index
    return GpuLayout(
        geometry, sum(1 << index[placement] for placement in here), sum(1 << index[placement] for placement in free)
    )


def layouts(snapshot: Snapshot, movable: Collection[str]) -> tuple[tuple[GpuView, GpuLayout], ...]:
    """The GPUs of a snapshot that take new slices, each with its layout. `movable` are UIDs of pods.

    A slice may move if its pod may, runs, and holds no other slice. Idle slices are room.
    """
    taken = Counter(
        occupant.uid for gpu in snapshot.gpus() for occupant in gpu.occupants if occupant.state != SliceState.IDLE.value
    )
    entries = []
    for gpu in snapshot.gpus():
        if gpu.problem or gpu.catalogue is None:
            continue
        occupied = [occupant for occupant in gpu.occupants if occupant.state != SliceState.IDLE.value]
        free = [
            occupant
            for occupant in occupied
            if occupant.uid in movable and occupant.state in _RUNNING and taken[occupant.uid] == 1
        ]
        known = geometry.compiled(gpu.catalogue)
        entries.append(
            (
                gpu,
                layout(known, (occupant.placement for occupant in occupied), (occupant.placement for occupant in free)),
            )
        )
    return tuple(entries)


def plan(gpus: Sequence[GpuLayout], profile: str, by: Policy, max_moves: int) -> Migration | None:
    """The cheapest plan that makes room for a slice of a profile; None if there is none. No moves if it fits as it is.

    If moving at most `max_moves` slices out of one window is enough, a plan is found, and no window is cheaper.
    Raises SettingsError for a `max_moves` below 0 or above MAX_MOVES.
    """
    if not 0 <= max_moves <= MAX_MOVES:
        raise errors.SettingsError("moves", max_moves, f"give 0…{MAX_MOVES}; more is a repack")
    fleet = _Fleet(gpus, by)
    best: Migration | None = None
    for gpu, window in _windows(gpus, profile, max_moves):
        if best is not None and window.cost > best.cost:
            break
        cleared = fleet.clear(gpu, window)
        if cleared is not None and (best is None or cleared.loss < best.loss - _SAME):
            best = cleared
    return best


class _Window(NamedTuple):
    """A placement that is legal once the slices in its way are gone.

    `cost` is what moving the blockers costs, as in `Migration.cost`, `compute` their compute slices, `after` the state
    with only the new slice, `loss` the growth of fragmentation up to there.
    """

    cost: tuple[int, int]
    compute: int
    placement: int
    blockers: tuple[int, ...]
    after: int
    loss: float


def _windows(gpus: Sequence[GpuLayout], profile: str, max_moves: int) -> list[tuple[int, _Window]]:
    """Every window of the fleet with its GPU, cheapest first; of GPUs with the same layout only the first."""
    first: dict[GpuLayout, int] = {}
    for index, gpu_layout in enumerate(gpus):
        first.setdefault(gpu_layout, index)
    windows = [
        (gpu, window) for gpu_layout, gpu in first.items() for window in _windows_of(gpu_layout, profile, max_moves)
    ]
    return sorted(windows, key=lambda entry: (entry[1].cost, entry[0], entry[1].placement))


@lru_cache(maxsize=65_536)
def _windows_of(here: GpuLayout, profile: str, max_moves: int) -> tuple[_Window, ...]:
    """The windows of one GPU: what lies in the way of each placement, if few enough and movable."""
    geometry = here.geometry
    if profile not in geometry.profile_index:
        return ()
    placements = geometry.placements
    present = [i for i in range(len(placements)) if here.slices >> i & 1]
    compute = geometry.catalogue.by_name
    lost = _fragmentation(geometry)
    windows = []
    for placement in geometry.placements_of(profile):
        blockers = tuple(i for i in present if placements[i].overlaps(placements[placement]))
        if len(blockers) > max_moves or not all(here.movable >> i & 1 for i in blockers):
            continue
        after = int(geometry.step[_state(geometry, here.slices ^ sum(1 << i for i in blockers)), placement])
        if after >= 0:  # a limit other than memory may still refuse it
            moved = sum(compute[placements[i].profile].compute_slices for i in blockers)
            cost = (moved + len(blockers), len(blockers))
            loss = lost[after] - lost[_state(geometry, here.slices)]
            windows.append(_Window(cost, moved, placement, blockers, after, loss))
    return tuple(windows)


class _Fleet:
    """The fleet as a plan sees it: of the GPUs in one state the first will do, until a plan touches it."""

    def __init__(self, gpus: Sequence[GpuLayout], by: Policy) -> None:
        self._gpus = gpus
        self._by = by
        self._alike: dict[_State, list[int]] = {}
        for index, gpu_layout in enumerate(gpus):
            self._alike.setdefault((gpu_layout.geometry, _state(gpu_layout.geometry, gpu_layout.slices)), []).append(
                index
            )
        self._ranked: dict[str, list[_Place]] = {}

    def clear(self, gpu: int, window: _Window) -> Migration | None:
        """The plan that clears a window of a GPU, or None if what lies in it fits nowhere else."""
        geometry = self._gpus[gpu].geometry
        placements = geometry.placements
        blockers = sorted(window.blockers, key=lambda i: (-placements[i].size, i))
        places = self._resettle([placements[i].profile for i in blockers], {gpu: (geometry, window.after)})
        if places is None:
            return None
        moves = []
        loss = window.loss
        for index, (_, target, placement, (kind, state)) in zip(blockers, places, strict=True):
            moves.append(SliceMove(Spot(gpu, placements[index]), Spot(target, kind.placements[placement])))
            lost = _fragmentation(kind)
            loss += lost[kind.step[state, placement]] - lost[state]
        return Migration(Spot(gpu, placements[window.placement]), tuple(moves), window.compute, loss)

    def _resettle(self, profiles: Sequence[str], touched: Mapping[int, _State]) -> list[_Place] | None:
        """A place for each of these slices, each at its least loss that leaves room for the rest; None if none."""
        if not profiles:
            return []
        for place in self._places(profiles[0], touched):
            _, gpu, placement, (geometry, state) = place
            after = int(geometry.step[state, placement])
            rest = self._resettle(profiles[1:], {**touched, gpu: (geometry, after)})
            if rest is not None:
                return [place, *rest]
        return None

    def _places(self, profile: str, touched: Mapping[int, _State]) -> Iterator[_Place]:
        """Every place for a slice, best first; GPUs that the plan has touched are in the state that it left."""
        if profile not in self._ranked:
            self._ranked[profile] = _rank({state: gpus[0] for state, gpus in self._alike.items()}, profile, self._by)
        ours = sorted(place for gpu, state in touched.items() for place in _rank({state: gpu}, profile, self._by))
        return heapq.merge(self._untouched(profile, touched), ours, key=itemgetter(0))

    def _untouched(self, profile: str, touched: Mapping[int, _State]) -> Iterator[_Place]:
        for loss, first, placement, state in self._ranked[profile]:
            gpu = (
                next((index for index in self._alike[state] if index not in touched), None)
                if first in touched
                else first
            )
            if gpu is not None:
                yield loss, gpu, placement, state


def _rank(states: Mapping[_State, int], profile: str, by: Policy) -> list[_Place]:
    """The places for a slice on these GPUs, best first."""
    candidates = [
        (loss, gpu, placement, state)
        for state, gpu in states.items()
        for loss, placement in _options(state, profile, by)
    ]
    return sorted(candidates, key=itemgetter(0, 1, 2))


@lru_cache(maxsize=65_536)
def _options(here: _State, profile: str, by: Policy) -> tuple[tuple[float, int], ...]:
    """Loss and index of every legal placement of a profile in a state."""
    geometry, state = here
    if profile not in geometry.profile_index:
        return ()
    losses = policy.tables(by, geometry).step_loss[state]
    return tuple((float(losses[i]), i) for i in geometry.placements_of(profile) if geometry.step[state, i] >= 0)


@lru_cache(maxsize=65_536)
def _state(geometry: Geometry, slices: int) -> int:
    return geometry.state_of(placement for i, placement in enumerate(geometry.placements) if slices >> i & 1)


@lru_cache(maxsize=64)
def _fragmentation(geometry: Geometry) -> list[float]:
    table: list[float] = policy.fragmentation(geometry).tolist()
    return table
