"""Policies: every placement policy in a steady state, to be held against values measured elsewhere.

Called by `migsched bench policies` and `bench all` through `rows`. The protocol: GPUs of one model, Poisson arrivals,
exponential lifetimes, load in memory slices, 8 mean lifetimes of warm-up, counted until 40, jobs that do not fit are
lost, the same jobs for every policy. Reference values are in ranges.toml; where the rules of the policies come from,
and what was found: docs/policies.md.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import replay
from allocator.mig import geometry, gpu_models
from benchmarks import full_repack
from benchmarks.benchmark import Progress
from replay import mix, report
from replay.generated import Generated

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
    Contender("hami-2855"),
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


@dataclass(frozen=True)
class Setting:
    """What is measured: a GPU model and its mixes. What others measured there is in ranges.toml."""

    model: str
    mixes: Mapping[str, Mapping[str, float]]
    contenders: tuple[Contender, ...] = CONTENDERS
    ceiling: bool = True  # whether it is known how to pack all sizes again

    @property
    def profiles(self) -> int:
        """How many profiles are asked for."""
        return max(len(shares) for shares in self.mixes.values())


FIVE_PROFILES = Setting(
    model="a100-40gb", mixes={name: mix.shares(name, gpu_models.find("a100-40gb")) for name in mix.NAMED}
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
    contenders=tuple(c for c in CONTENDERS if c.policy not in ("worst-fit", "mfi-lifetime") and not c.moves),
    ceiling=False,
)


@dataclass(frozen=True, slots=True)
class PolicyRow:
    """One contender on one mix and load. `gpc_ci95` is the half width of the 95 % interval, None for one run."""

    profiles: int
    contender: str
    mix: str
    load: float
    runs: int
    gpc_acceptance: float
    gpc_ci95: float | None
    count_acceptance: float | None = None
    moves_per_1000: float | None = None
    stranded_share: float | None = None


@dataclass(frozen=True, slots=True)
class _Cell:
    """A row to be measured; without a contender, the ceiling."""

    setting: Setting
    load: float
    mix: str
    contender: Contender | None
    seeds: int

    @property
    def name(self) -> str:
        return FULL_REPACK if self.contender is None else self.contender.name


def rows(
    setting: Setting = FIVE_PROFILES,
    seeds: int = 12,
    loads: Sequence[float] = (1.0, 0.85),
    mixes: Sequence[str] = tuple(mix.NAMED),
    contenders: Sequence[Contender] | None = None,
    workers: int | None = None,
    progress: Progress = lambda _: None,
) -> list[dict[str, Any]]:
    """All rows as plain documents, loads outermost; where it is known how, the ceiling is the last of each mix.

    `workers` is the number of processes, None for one per processor.
    """
    chosen: tuple[Contender | None, ...] = tuple(setting.contenders if contenders is None else contenders)
    if setting.ceiling:
        chosen = (*chosen, None)
    cells = [_Cell(setting, load, name, contender, seeds) for load in loads for name in mixes for contender in chosen]
    table = []
    with _pool(workers) as run:
        for done, (cell, row) in enumerate(zip(cells, run(_row, cells), strict=True), 1):
            progress(f"policies: {done / len(cells):.0%}, {cell.name} on {cell.mix} at load {cell.load}")
            table.append(asdict(row))
    return table


@contextmanager
def _pool(
    workers: int | None,
) -> Iterator[Callable[[Callable[[_Cell], PolicyRow], Sequence[_Cell]], Iterable[PolicyRow]]]:
    """A map over the cells, in order, in this process or in several."""
    number = workers or os.cpu_count() or 1
    if number == 1:
        yield map
        return
    # Not fork: the caller may have threads.
    with ProcessPoolExecutor(number, mp_context=multiprocessing.get_context("spawn")) as executor:
        yield executor.map


def _row(cell: _Cell) -> PolicyRow:
    setting, contender = cell.setting, cell.contender
    if contender is None:
        return _ceiling(cell)
    config = replay.RunConfig(
        mix=setting.mixes[cell.mix],
        load=cell.load,
        model=setting.model,
        gpus=GPUS,
        policy=contender.policy,
        weights=setting.mixes[cell.mix] if contender.known_demand else {},
        moves=contender.moves,
        lifetime_error=contender.lifetime_error,
        seeds=cell.seeds,
        workers=1,
    )
    metrics = replay.run(config).metrics
    return PolicyRow(
        setting.profiles,
        cell.name,
        cell.mix,
        cell.load,
        cell.seeds,
        metrics["gpc_acceptance"].mean or 0.0,
        metrics["gpc_acceptance"].ci95,
        metrics["count_acceptance"].mean,
        metrics["moves_per_1000"].mean,
        metrics["stranded_share"].mean,
    )


def _ceiling(cell: _Cell) -> PolicyRow:
    setting = cell.setting
    workload = Generated(setting.mixes[cell.mix], load=cell.load)
    compiled = geometry.compiled(gpu_models.find(setting.model).restricted(workload.profiles))
    interval = report.interval(
        [
            full_repack.gpc_acceptance(workload.jobs(compiled, GPUS, seed), GPUS, workload.window_s)
            for seed in range(cell.seeds)
        ]
    )
    return PolicyRow(setting.profiles, cell.name, cell.mix, cell.load, cell.seeds, interval.mean or 0.0, interval.ci95)
