"""SimulationDocument and SimulationAnswer: what a simulation is asked for over the API and what comes back, as types.

    {mix: skew-small, load: 1.0, gpus: 100, model: a100-40gb, policy: mfi, moves: 1, seeds: 4}

`Simulation` holds what the command and the API have in common, with its bounds, defaults and descriptions: the reader,
the JSON Schema, the OpenAPI document and the flags of `migsched simulate` come from it. Explained in docs/planning.md.
"""

import enum
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from allocator.placement import policy as policies
from allocator.planning import migration
from allocator.planning.fields import MAX_NUMBER, AnswerPart, DocumentPart, Key, Number, Text

MAX_GPUS = 100_000
MAX_SEEDS = 10_000
MAX_LIFETIMES = 1e6  # mean lifetimes that a run may cover
SEEDS = 4  # of a document, unless it says otherwise: an answer while one waits


class Discipline(enum.Enum):
    """What becomes of a job that does not fit."""

    REJECT = "reject"  # it is lost
    QUEUE = "queue"  # it waits: first in, first out, but others that fit go first
    FIFO = "fifo"  # it waits, and all that come behind it wait for it
    RESERVE = "reserve"  # as queue, but what has waited for a time gets a reservation
    EASY = "easy"  # it waits; the first gets a reservation by the known ends of jobs (EASY backfill)


class NamedMix(enum.StrEnum):
    """Mixes of profiles that go by a name; `mix` has their shares."""

    UNIFORM = "uniform"
    SKEW_SMALL = "skew-small"
    SKEW_BIG = "skew-big"
    BIMODAL = "bimodal"


Seeds = Annotated[int, Meta(ge=1, le=MAX_SEEDS, description="Independent runs.")]
Weights = dict[Key, Number]


class Simulation(DocumentPart, kw_only=True, frozen=True):
    """What is simulated, apart from the workload's mix. `warmup` and `horizon` are in mean lifetimes."""

    load: Annotated[float, Meta(gt=0, le=100, description="Offered load, in memory slices over capacity.")] = 1.0
    lifetime_s: Annotated[float, Meta(gt=0, le=MAX_NUMBER, description="Mean lifetime of a job.")] = 3600.0
    warmup: Annotated[float, Meta(ge=0, le=MAX_LIFETIMES, description="Mean lifetimes that are not counted.")] = 8.0
    horizon: Annotated[float, Meta(gt=0, le=MAX_LIFETIMES, description="Mean lifetimes that jobs arrive.")] = 40.0
    gpus: Annotated[int, Meta(ge=1, le=MAX_GPUS, description="GPUs of the fleet.")] = 100
    model: Annotated[Text, Meta(description="GPU model.")] = "a100-40gb"
    policy: Annotated[Text, Meta(description="Placement policy.")] = policies.DEFAULT.name
    moves: Annotated[
        int,
        Meta(
            ge=0,
            le=migration.MAX_MOVES,
            description="Slices that may be moved for one otherwise refused request.",
        ),
    ] = 0
    discipline: Annotated[Discipline, Meta(description="What becomes of a job that does not fit.")] = Discipline.REJECT
    patience_s: Annotated[
        float, Meta(ge=0, le=MAX_NUMBER, description="Seconds until a waiting job gets a reservation, for reserve.")
    ] = 600.0
    reservations: Annotated[int, Meta(ge=1, le=MAX_GPUS, description="Reservations at once, for reserve.")] = 1
    first_seed: Annotated[int, Meta(ge=0, le=2**63 - MAX_SEEDS, description="Seed of the first run.")] = 0
    restart_s: Annotated[float, Meta(ge=0, le=MAX_NUMBER, description="Seconds that a moved job loses.")] = 0.0
    lifetime_error: Annotated[
        float, Meta(ge=0, le=10, description="Spread of what mfi-lifetime believes; 0 knows.")
    ] = 0.0


class SimulationDocument(Simulation, kw_only=True, frozen=True):
    """What POST /api/v1/simulate is asked.

    Files cannot be named, since a client may not read those of the service: a mix is a named one or a mapping of
    profiles to weights, and traces are for the command.
    """

    mix: NamedMix | Weights = NamedMix.UNIFORM
    weights: Weights = msgspec.field(default_factory=dict)
    seeds: Seeds = SEEDS


class Interval(AnswerPart, frozen=True):
    """A mean over the runs, and half the width of its 95 % interval; null where there is nothing to count."""

    mean: float | None
    ci95: float | None


class ProfileJobs(AnswerPart, frozen=True):
    """Jobs of one profile."""

    offered: int
    accepted: int


class SimulatedWorkload(AnswerPart, frozen=True):
    """What was replayed: a trace, or a mix with a load."""

    trace: str | UnsetType = UNSET
    mix: str | dict[str, float] | UnsetType = UNSET
    load: float | UnsetType = UNSET


class SimulationAnswer(AnswerPart, frozen=True):
    """How a policy did."""

    policy: str
    moves: int
    model: str
    gpus: int
    discipline: Discipline
    workload: SimulatedWorkload
    seeds: list[int]
    metrics: dict[str, Interval]
    per_profile: dict[str, ProfileJobs]
    stranded_over_time: Annotated[
        list[tuple[float, float]], Meta(description="seconds, share of memory slices; the mean over the runs")
    ]
