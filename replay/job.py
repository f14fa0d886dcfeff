"""Job and Workload: what a replay replays. Jobs are made by `generated` and `trace`, consumed by `engine`."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from allocator.mig.geometry import Geometry


class Job(NamedTuple):
    """A pod that asks for one slice: when it comes, for how long it runs, and which profiles would do.

    `profiles` are indices into the geometry's profiles, the one asked for first, then the alternatives in order of
    preference. `expected_s` is the duration that a policy may know beforehand. Higher `priority` leaves the queue
    earlier; only a `movable` job may be moved. A named tuple, because a replay makes millions.
    """

    arrival_s: float
    duration_s: float
    profiles: tuple[int, ...]
    expected_s: float
    priority: int = 0
    movable: bool = True


class Workload(Protocol):
    """Jobs in order of arrival, as often as wanted. Picklable: a sweep sends it to its workers.

    `window_s` is when what happens is counted; `last_arrival_s` is for progress. Where `seeded` is false every seed
    gives the same jobs.
    """

    @property
    def profiles(self) -> frozenset[str]:
        """The profiles that jobs ask for."""

    @property
    def window_s(self) -> tuple[float, float]:
        """From and until when what happens is counted, in seconds; jobs count if they arrive in between."""

    @property
    def last_arrival_s(self) -> float:
        """When the last job arrives, about."""

    @property
    def seeded(self) -> bool:
        """Whether the seed matters."""

    @property
    def movable(self) -> bool:
        """Whether any job may be moved."""

    def jobs(self, geometry: Geometry, gpus: int, seed: int) -> Iterator[Job]:
        """The jobs, in order of arrival."""
