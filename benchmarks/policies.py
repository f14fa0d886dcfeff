"""Policies: every placement policy in a steady state, beside reference values measured elsewhere.

Called by `migsched bench policies` through `measure`. The protocol: GPUs of one model, Poisson arrivals, exponential
lifetimes, load in memory slices, 8 mean lifetimes of warm-up, counted until 40, jobs that do not fit are lost, the
same jobs for every policy. The reference values come from an independent simulator with the same protocol (12 runs,
two runs' worth of rounding to three digits); the rules of the policies come from their papers and sources, named in
docs/policies.md.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from allocator import geometry, gpu_models
from benchmarks import full_repack
from simulator import replay
from simulator.replay import mix, report
from simulator.replay.generated import Generated

MODEL = "a100-40gb"
GPUS = 100
MIXES = tuple(mix.NAMED)
FULL_REPACK = "full repack"


@dataclass(frozen=True, slots=True)
class Contender:
    """A column of the table: a policy, how many moves it may make, and how exactly it knows lifetimes."""

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

# GPC acceptance by load and contender, in the order of MIXES.
REFERENCE: Mapping[float, Mapping[str, tuple[float, ...]]] = {
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
}


@dataclass(frozen=True, slots=True)
class Row:
    """One contender on one mix and load. Intervals are half widths at 95 %; `reference` is None where there is none."""

    contender: str
    mix: str
    load: float
    gpc_acceptance: float
    gpc_ci95: float
    count_acceptance: float | None
    moves_per_1000: float | None
    decisions_per_s: float | None
    reference: float | None

    @property
    def agrees(self) -> bool | None:
        """Whether the reference value, itself as uncertain as ours, is compatible with ours."""
        if self.reference is None:
            return None
        return abs(self.gpc_acceptance - self.reference) <= 2**0.5 * self.gpc_ci95


def measure(
    seeds: int = 12,
    loads: Sequence[float] = (1.0, 0.85),
    mixes: Sequence[str] = MIXES,
    contenders: Sequence[Contender] = CONTENDERS,
    workers: int | None = 1,
    progress: Callable[[float], None] | None = None,
) -> list[Row]:
    """All rows, loads outermost, the ceiling of full repacking last of each mix. `progress` gets the share done."""
    cells = [(load, name, one) for load in loads for name in mixes for one in (*contenders, None)]
    rows = []
    for done, (load, name, contender) in enumerate(cells):
        rows.append(_ceiling(load, name, seeds) if contender is None else _row(load, name, contender, seeds, workers))
        if progress is not None:
            progress((done + 1) / len(cells))
    return rows


def _row(load: float, name: str, contender: Contender, seeds: int, workers: int | None) -> Row:
    catalogue = gpu_models.find(MODEL)
    answer = replay.run(
        replay.Config(
            mix=name,
            load=load,
            model=MODEL,
            gpus=GPUS,
            policy=contender.policy,
            weights=mix.shares(name, catalogue) if contender.known_demand else {},
            moves=contender.moves,
            lifetime_error=contender.lifetime_error,
            seeds=seeds,
            workers=workers,
        )
    )
    found = answer["metrics"]
    return Row(
        contender.name,
        name,
        load,
        found["gpc_acceptance"]["mean"],
        found["gpc_acceptance"]["ci95"] or 0.0,
        found["count_acceptance"]["mean"],
        found["moves_per_1000"]["mean"],
        found["decisions_per_s"]["mean"],
        _reference(load, contender.name, name),
    )


def _ceiling(load: float, name: str, seeds: int) -> Row:
    catalogue = gpu_models.find(MODEL)
    workload = Generated(mix.shares(name, catalogue), load=load)
    compiled = geometry.compiled(catalogue.restricted(workload.profiles))
    sizes = tuple(p.compute_slices for p in compiled.catalogue.profiles)
    if sizes != full_repack.SIZES:
        raise ValueError(f"full repacking is decided for {full_repack.SIZES} only, not {sizes}")
    found = report.interval(
        [
            full_repack.gpc_acceptance(workload.jobs(compiled, GPUS, seed), GPUS, workload.window_s)
            for seed in range(seeds)
        ]
    )
    return Row(
        FULL_REPACK,
        name,
        load,
        found["mean"] or 0.0,
        found["ci95"] or 0.0,
        None,
        None,
        None,
        _reference(load, FULL_REPACK, name),
    )


def _reference(load: float, contender: str, name: str) -> float | None:
    values = REFERENCE.get(load, {}).get(contender)
    return None if values is None else dict(zip(MIXES, values, strict=True)).get(name)
