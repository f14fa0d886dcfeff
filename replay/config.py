"""RunConfig: what `migsched simulate` and its API can ask for, checked. Read by `sweep`."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from allocator import errors
from allocator.mig import gpu_models
from allocator.placement import policy
from allocator.planning import migration

MAX_GPUS = 100_000
MAX_SEEDS = 10_000


class Discipline(enum.Enum):
    """What becomes of a job that does not fit."""

    REJECT = "reject"  # it is lost
    QUEUE = "queue"  # it waits: first in, first out, with backfill


class Backend(enum.Enum):
    """Where the runs of a sweep are computed."""

    LOCAL = "local"  # processes on this machine
    DASK = "dask"  # workers of a Dask cluster


@dataclass(frozen=True)
class RunConfig:
    """One simulation. Either `trace` (a CSV file, see `trace`) or `mix` and `load` (see `generated`).

    `mix` is uniform, skew-small, skew-big, bimodal, a YAML or JSON file, or a mapping of profiles to weights.
    `seeds` is the number of runs, from `first_seed` on; a trace is one run. The GPUs offer only the profiles of the
    workload unless `whole_catalogue`: what nobody asks for then does not weigh in the policy's losses. `workers` is
    the number of local processes, None for one per processor. `scheduler` is the address of a Dask scheduler.

    Raises SettingsError, naming the field and the fix, for anything impossible.
    """

    trace: str | None = None
    mix: str | Mapping[str, float] = "uniform"
    load: float = 1.0
    lifetime_s: float = 3600.0
    warmup: float = 8.0
    horizon: float = 40.0
    lifetime_error: float = 0.0
    model: str = "a100-40gb"
    gpus: int = 100
    policy: str = policy.DEFAULT.name
    weights: Mapping[str, float] = field(default_factory=dict)
    discipline: Discipline = Discipline.REJECT
    moves: int = 0
    restart_s: float = 0.0
    seeds: int = 20
    first_seed: int = 0
    whole_catalogue: bool = False
    backend: Backend = Backend.LOCAL
    workers: int | None = None
    scheduler: str | None = None

    def __post_init__(self) -> None:
        gpu_models.find(self.model)
        chosen = policy.find(self.policy)
        if self.weights and chosen.weigh is None:
            weighable = ", ".join(p.name for p in policy.POLICIES.values() if p.weigh is not None)
            raise errors.SettingsError("weights", dict(self.weights), f"only these policies have weights: {weighable}")
        _whole("gpus", self.gpus, 1, MAX_GPUS)
        _whole("moves", self.moves, 0, migration.MAX_MOVES)
        _whole("seeds", self.seeds, 1, MAX_SEEDS)
        _whole("first seed", self.first_seed, 0, 2**63 - MAX_SEEDS)
        if self.workers is not None:
            _whole("workers", self.workers, 1, 1024)
        if not 0.0 <= self.restart_s < float("inf"):
            raise errors.SettingsError("restart", self.restart_s, "give seconds, 0 or more")
        if self.scheduler is not None and self.backend is not Backend.DASK:
            raise errors.SettingsError("scheduler", self.scheduler, "only the backend dask has a scheduler")


def _whole(name: str, value: int, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise errors.SettingsError(name, value, f"give a whole number, {least}…{most}")
