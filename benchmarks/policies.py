"""Policies: every placement policy in a steady state, beside reference values measured elsewhere.

Called by `migsched bench policies` through `measure`. The protocol: GPUs of one model, Poisson arrivals, exponential
lifetimes, load in memory slices, 8 mean lifetimes of warm-up, counted until 40, jobs that do not fit are lost, the
same jobs for every policy. The reference values come from an independent simulator with the same protocol; where the
rules of the policies come from, and what was found: docs/policies.md.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from allocator import geometry, gpu_models
from benchmarks import full_repack
from simulator import replay
from simulator.replay import mix, report
from simulator.replay.generated import Generated

GPUS = 100
FULL_REPACK = "full repack"


@dataclass(frozen=True, slots=True)
class Contender:
    """A column of the table: a policy, how many moves it may make, and what it knows beforehand.

    `lifetime_error` is how wrong expected lifetimes are (see `Generated`); with `known_demand` the policy is weighed
    with the exact mix instead of learning it.
    """

    policy: str
    moves: int = 0
    lifetime_error: float = 0.0
    known_demand: bool = False

    @property
    def name(self) -> str:
        """For the head of the column."""
        parts = [self.policy]
        if self.known_demand:
            parts.append("exact demand")
        if self.lifetime_error:
            parts.append(f"lifetimes ± factor e^{self.lifetime_error:g}")
        if self.moves:
            parts.append(f"{self.moves} move" + "s" * (self.moves > 1))
        return ", ".join(parts)


CONTENDERS = (
    Contender("worst-fit"),
    Contender("round-robin"),
    Contender("first-fit"),
    Contender("best-fit"),
    Contender("hami"),
    Contender("mfi-gated"),
    Contender("fgd", known_demand=True),
    Contender("fgd"),
    Contender("mfi"),
    Contender("mfi-lifetime", lifetime_error=1.0),
    Contender("mfi-lifetime"),
    Contender("mfi", moves=1),
    Contender("mfi", moves=2),
    Contender("mfi-lifetime", moves=1),
)

PUBLISHED = tuple(c for c in CONTENDERS if c.policy not in ("worst-fit", "mfi-lifetime") and not c.moves)


@dataclass(frozen=True)
class Setting:
    """What is measured: a GPU model, its mixes, and reference values of GPC acceptance.

    `reference` is by load, then by contender's name, in the order of the mixes; `reference_runs` is how many runs
    each was measured with.
    """

    model: str
    mixes: Mapping[str, Mapping[str, float]]
    reference: Mapping[float, Mapping[str, tuple[float, ...]]]
    reference_runs: int

    def value(self, load: float, contender: str, name: str) -> float | None:
        """The reference value, or None where there is none."""
        values = self.reference.get(load, {}).get(contender)
        return None if values is None else dict(zip(self.mixes, values, strict=True))[name]


FIVE_PROFILES = Setting(
    model="a100-40gb",
    mixes={name: mix.shares(name, gpu_models.find("a100-40gb")) for name in mix.NAMED},
    reference={
        1.0: {
            "first-fit": (0.846, 0.869, 0.851, 0.871),
            "best-fit": (0.876, 0.878, 0.872, 0.884),
            "hami": (0.876, 0.881, 0.874, 0.883),
            "mfi-gated": (0.840, 0.827, 0.876, 0.860),
            "mfi": (0.889, 0.8885, 0.892, 0.893),
            "fgd, exact demand": (0.889, 0.883, 0.892, 0.893),
            "mfi, 1 move": (0.9085, 0.908, 0.909, 0.906),
            "mfi, 2 moves": (0.913, 0.913, 0.913, 0.913),
            FULL_REPACK: (0.924, 0.932, 0.918, 0.918),
        },
        0.85: {
            "first-fit": (0.946, 0.967, 0.951, 0.965),
            "best-fit": (0.969, 0.974, 0.964, 0.973),
            "hami": (0.970, 0.974, 0.966, 0.973),
            "mfi-gated": (0.951, 0.939, 0.969, 0.958),
            "mfi": (0.977, 0.979, 0.9755, 0.977),
            "fgd, exact demand": (0.977, 0.963, 0.9755, 0.977),
            "mfi, 1 move": (0.984, 0.9875, 0.983, 0.982),
            "mfi, 2 moves": (0.987, 0.989, 0.985, 0.985),
            FULL_REPACK: (0.990, 0.995, 0.987, 0.987),
        },
    },
    reference_runs=12,
)

_SIX = ("7g.80gb", "4g.40gb", "3g.40gb", "2g.20gb", "1g.20gb", "1g.10gb")

SIX_PROFILES = Setting(
    model="a100-80gb",
    mixes={
        "uniform": dict.fromkeys(_SIX, 1 / 6),
        "skew-small": dict(zip(_SIX, (0.05, 0.10, 0.10, 0.20, 0.25, 0.30), strict=True)),
        "skew-big": dict(zip(_SIX, (0.30, 0.25, 0.20, 0.10, 0.10, 0.05), strict=True)),
        "bimodal": dict(zip(_SIX, (0.30, 0.15, 0.05, 0.05, 0.15, 0.30), strict=True)),
    },
    reference={
        1.0: {
            "first-fit": (0.864, 0.880, 0.851, 0.849),
            "round-robin": (0.766, 0.769, 0.800, 0.742),
            "best-fit": (0.889, 0.896, 0.875, 0.886),
            "hami": (0.889, 0.896, 0.878, 0.886),
            "mfi-gated": (0.894, 0.883, 0.900, 0.886),
            "mfi": (0.907, 0.915, 0.904, 0.897),
            "fgd, exact demand": (0.907, 0.885, 0.904, 0.896),
        }
    },
    reference_runs=20,
)


@dataclass(frozen=True, slots=True)
class Row:
    """One contender on one mix and load. Intervals are half widths at 95 %; `reference` is None where there is none."""

    contender: str
    mix: str
    load: float
    runs: int
    gpc_acceptance: float
    gpc_ci95: float
    count_acceptance: float | None
    moves_per_1000: float | None
    decisions_per_s: float | None
    reference: float | None
    reference_runs: int = 12

    @property
    def agrees(self) -> bool | None:
        """Whether the reference value, which has an interval too (as wide as ours for as many runs), may be ours."""
        if self.reference is None:
            return None
        both = math.sqrt(1 + self.runs / self.reference_runs)
        return abs(self.gpc_acceptance - self.reference) <= both * self.gpc_ci95


def measure(
    setting: Setting = FIVE_PROFILES,
    seeds: int = 12,
    loads: Sequence[float] = (1.0, 0.85),
    mixes: Sequence[str] = tuple(mix.NAMED),
    contenders: Sequence[Contender] = CONTENDERS,
    workers: int | None = 1,
    progress: Callable[[float], None] | None = None,
) -> list[Row]:
    """All rows, loads outermost; the ceiling of full repacking is the last of each mix where it is known how.

    `progress` gets the share that is done.
    """
    last = (None,) if setting is FIVE_PROFILES else ()
    cells = [(load, name, one) for load in loads for name in mixes for one in (*contenders, *last)]
    rows = []
    for done, (load, name, contender) in enumerate(cells, 1):
        if contender is None:
            rows.append(_ceiling(setting, load, name, seeds))
        else:
            rows.append(_row(setting, load, name, contender, seeds, workers))
        if progress is not None:
            progress(done / len(cells))
    return rows


def _row(setting: Setting, load: float, name: str, contender: Contender, seeds: int, workers: int | None) -> Row:
    config = replay.Config(
        mix=setting.mixes[name],
        load=load,
        model=setting.model,
        gpus=GPUS,
        policy=contender.policy,
        weights=setting.mixes[name] if contender.known_demand else {},
        moves=contender.moves,
        lifetime_error=contender.lifetime_error,
        seeds=seeds,
        workers=workers,
    )
    found = replay.run(config)["metrics"]
    return Row(
        contender.name,
        name,
        load,
        seeds,
        found["gpc_acceptance"]["mean"],
        found["gpc_acceptance"]["ci95"] or 0.0,
        found["count_acceptance"]["mean"],
        found["moves_per_1000"]["mean"],
        found["decisions_per_s"]["mean"],
        setting.value(load, contender.name, name),
        setting.reference_runs,
    )


def _ceiling(setting: Setting, load: float, name: str, seeds: int) -> Row:
    workload = Generated(setting.mixes[name], load=load)
    compiled = geometry.compiled(gpu_models.find(setting.model).restricted(workload.profiles))
    found = report.interval(
        [
            full_repack.gpc_acceptance(workload.jobs(compiled, GPUS, seed), GPUS, workload.window_s)
            for seed in range(seeds)
        ]
    )
    acceptance, width = found["mean"] or 0.0, found["ci95"] or 0.0
    reference = setting.value(load, FULL_REPACK, name)
    return Row(FULL_REPACK, name, load, seeds, acceptance, width, None, None, None, reference, setting.reference_runs)
