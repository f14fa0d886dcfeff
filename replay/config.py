"""RunConfig: what `migsched simulate` and its API can ask for, checked. Read by `sweep`."""

import enum
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from allocator import errors
from allocator.mig import gpu_models
from allocator.placement import policy
from allocator.planning import document_reader as reader
from allocator.planning.fields import Text
from replay.types import Discipline, Seeds, Simulation, SimulationDocument


class Backend(enum.Enum):
    """Where the runs of a sweep are computed."""

    LOCAL = "local"  # processes on this machine
    DASK = "dask"  # workers of a Dask cluster


class RunConfig(Simulation, kw_only=True, frozen=True):
    """One simulation. Either `trace` (a CSV file, see `trace`) or `mix` and `load` (see `generated`).

    `mix` is uniform, skew-small, skew-big, bimodal, a YAML or JSON file, or a mapping of profiles to weights.
    `seeds` is the number of runs, from `first_seed` on; a trace is one run. The GPUs offer only the profiles of the
    workload unless `whole_catalogue`: what no job asks for then does not weigh in the policy's losses. `workers` is
    the number of local processes, None for one per processor. `scheduler` is the address of a Dask scheduler.

    Raises SettingsError, naming the field and the fix, for anything impossible.
    """

    trace: Annotated[
        str | None,
        Meta(description="CSV: id,arrival_s,profile,duration_s and optional priority,movable,alternatives."),
    ] = None
    mix: Annotated[
        Text | Mapping[str, float],
        Meta(description="uniform, skew-small, skew-big, bimodal, or a YAML file of profile: weight."),
    ] = "uniform"
    weights: Mapping[str, float] = msgspec.field(default_factory=dict)
    seeds: Seeds = 20
    whole_catalogue: bool = False
    backend: Annotated[Backend, Meta(description="Where runs are computed.")] = Backend.LOCAL
    workers: Annotated[
        Annotated[int, Meta(ge=1, le=1024)] | None,
        Meta(description="Local processes; without it, one per processor."),
    ] = None
    scheduler: Annotated[str | None, Meta(description="Address of a Dask scheduler, for --backend dask.")] = None

    def __post_init__(self) -> None:
        try:
            reader.check(self)
        except errors.InputError as error:
            name = error.field.removesuffix("_s").replace("_", " ")  # as the flag is called
            raise errors.SettingsError(name, error.value, error.fix) from None
        gpu_models.find(self.model)
        chosen = policy.find(self.policy)
        if self.weights and chosen.weigh is None:
            weighable = ", ".join(p.name for p in policy.POLICIES.values() if p.weigh is not None)
            raise errors.SettingsError("weights", dict(self.weights), f"only these policies have weights: {weighable}")
        if self.moves and self.discipline in (Discipline.RESERVE, Discipline.EASY):
            raise errors.SettingsError(
                "moves", self.moves, f"not with {self.discipline.value}: moves know no reservations"
            )
        if self.scheduler is not None and self.backend is not Backend.DASK:
            raise errors.SettingsError("scheduler", self.scheduler, "only the backend dask has a scheduler")


def of_document(value: Any) -> RunConfig:
    """The simulation of a parsed document, all runs in this process. Raises InputError for one that is not valid."""
    document = reader.read(value, SimulationDocument)
    settings = msgspec.structs.asdict(document)
    settings["model"] = gpu_models.find(document.model).model
    return RunConfig(**settings, workers=1)
