"""Planning: GPUs and time of exact plans beside first-fit decreasing, online first fit and the LP bound.

Called by `migsched bench planning` through `measure`. The optimum is not taken from the planner's word: a plan is over
the optimum by its GPUs less the LP bound rounded up, which no plan can beat. Repacks are timed on fleets that grew by
chance, with the gap they state.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from allocator.mig import gpu_models
from allocator.mig.geometry import Geometry, compiled
from allocator.planning import plan, repack
from allocator.planning.packing import patterns
from allocator.planning.packing.program import Program, relax
from benchmarks import fleets
from benchmarks.benchmark import Progress
from replay import report

MODEL = fleets.MODEL
PROFILES = ("1g.5gb", "2g.10gb", "3g.20gb", "4g.20gb", "7g.40gb")
MIXES: Mapping[str, tuple[float, ...]] = {
    "uniform": (0.2, 0.2, 0.2, 0.2, 0.2),
    "skew-small": (0.4, 0.25, 0.2, 0.1, 0.05),
    "skew-big": (0.05, 0.1, 0.2, 0.25, 0.4),
    "bimodal": (0.35, 0.1, 0.1, 0.1, 0.35),
    "no 4g/7g": (0.35, 0.25, 0.4, 0.0, 0.0),
}
SIZES = (100, 1_000)
EXACT = "exact"
# Sorted by size, largest first, or as it comes; compute sizes that take the highest start instead of the lowest.
BASELINES: Mapping[str, tuple[bool, frozenset[int]]] = {
    "first fit decreasing": (True, frozenset()),
    "online first fit": (False, frozenset()),
    "online first fit, high starts": (False, frozenset({1, 3})),
}
FLEETS = (8, 80, 800, 8_000)  # GPUs


def measure(
    seeds: int = 12,
    fleet_sizes: Sequence[int] = FLEETS,
    progress: Progress = lambda _: None,
    *,
    slices: Sequence[int] = SIZES,
    large: int = 4,
) -> list[dict[str, Any]]:
    """Rows of three kinds, told apart by `what`.

    `plan`: per mix, number of slices and method, GPUs over the lower bound (worst of the seeds; in percent, the mean
    with its interval), and seconds (worst). `plan, three models`: 10,000 slices with 200 pinned GPUs, `large` of them:
    seconds and gap. `repack`: per fleet and question, seconds, cost, and the gap.
    """
    plan.answer({"fleet": [{"model": MODEL}], "demand": {"1g.5gb": 1}})  # the solver is loaded on first use
    rows: list[dict[str, Any]] = []
    for number in slices:
        for mix in MIXES:
            progress(f"planning: {number} slices, {mix}")
            rows += _plans(mix, number, seeds)
    for seed in range(large):
        progress(f"planning: 10,000 slices over three models, {seed + 1}")
        rows.append(_large_plan(seed))
    for gpus in fleet_sizes:
        progress(f"repacking: {gpus} GPUs")
        rows += _repacks(gpus)
    return rows


@dataclass
class _Counted:
    """GPUs over the lower bound and seconds of one method, a number per demand."""

    over: list[int] = field(default_factory=list)
    percent: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def add(self, count: Callable[[], int], least: int) -> None:
        """One demand, counted by the method."""
        began = time.perf_counter()
        gpus = count()
        self.seconds.append(time.perf_counter() - began)
        self.over.append(gpus - least)
        self.percent.append(100.0 * (gpus / least - 1))


def _plans(mix: str, slices: int, seeds: int) -> list[dict[str, Any]]:
    geometry = compiled(gpu_models.find(MODEL))
    methods = {name: _Counted() for name in (EXACT, *BASELINES)}
    for seed in range(seeds):
        draw = np.random.default_rng([seed, slices])
        counts = draw.multinomial(slices, MIXES[mix])
        demand = {name: int(n) for name, n in zip(PROFILES, counts, strict=True)}
        least = lp_bound(geometry, demand)
        stream = [name for name, n in demand.items() for _ in range(n)]
        online = [stream[i] for i in draw.permutation(len(stream))]
        methods[EXACT].add(partial(_planned, demand), least)
        for name, (sort, high) in BASELINES.items():
            methods[name].add(partial(first_fit, geometry, stream[::-1] if sort else online, high), least)
    return [
        {
            "what": "plan",
            "mix": mix,
            "slices": slices,
            "method": name,
            "runs": seeds,
            "over_gpus": max(method.over),
            "over_percent": float(np.mean(method.percent)),
            "over_ci95": report.interval(method.percent).ci95,
            "seconds": max(method.seconds),
        }
        for name, method in methods.items()
    ]


def _planned(demand: Mapping[str, int]) -> int:
    """GPUs of an exact plan."""
    return plan.answer({"fleet": [{"model": MODEL}], "demand": dict(demand)}).gpus[MODEL]


def lp_bound(geometry: Geometry, demand: Mapping[str, int]) -> int:
    """The LP over the patterns of an empty GPU, rounded up: no plan has fewer GPUs."""
    names = tuple(name for name, n in demand.items() if n)
    program = Program()
    columns = [
        (pattern, program.column(sum(demand.values()), 1))
        for pattern in patterns.maximal(geometry, geometry.EMPTY, names)
    ]
    for position, name in enumerate(names):
        program.row(((c, pattern[position]) for pattern, c in columns), low=demand[name])
    return relax(program).bound


def first_fit(geometry: Geometry, stream: Sequence[str], high: Collection[int] = ()) -> int:
    """GPUs that first fit opens for slices in this order: the first GPU with room, lowest start.

    Slices of the compute sizes `high` take the highest start.
    """
    after = {}
    for name in set(stream):
        indices = list(geometry.placements_of(name))
        if geometry.catalogue.profile(name).compute_slices in high:
            indices.reverse()
        steps = geometry.step[:, indices]
        chosen = (steps >= 0).argmax(axis=1)
        after[name] = np.where((steps >= 0).any(axis=1), steps[np.arange(geometry.states), chosen], -1)
    states = np.zeros(len(stream), dtype=np.int32)  # as many GPUs as could ever be opened, all empty
    for name in stream:
        where = int((after[name][states] >= 0).argmax())
        states[where] = after[name][states[where]]
    return int((states != geometry.EMPTY).sum())


def _large_plan(seed: int) -> dict[str, Any]:
    draw = np.random.default_rng(seed)
    names = ("a100-40gb", "a100-80gb", "h100-80gb")
    geometries = [compiled(gpu_models.find(name)) for name in names]
    pinned = []
    for _ in range(200):
        geometry = geometries[draw.integers(3)]
        slices = [
            {"profile": p.profile, "start": p.start} for p in fleets.grown(draw, geometry, int(draw.integers(1, 4)))
        ]
        pinned.append({"model": geometry.catalogue.model, "slices": slices})
    profiles = sorted({p.name for geometry in geometries for p in geometry.catalogue.profiles if p.plain})
    counts = draw.multinomial(10_000, draw.dirichlet([1] * len(profiles)))
    document = {
        "fleet": [{"model": name, "price": price} for name, price in zip(names, (1.5, 2.0, 3.1), strict=True)],
        "demand": {name: int(n) for name, n in zip(profiles, counts, strict=True)},
        "pinned": pinned,
        "goal": "cost",
    }
    started = time.perf_counter()
    answer = plan.answer(document)
    seconds = time.perf_counter() - started
    return {
        "what": "plan, three models",
        "mix": f"random {seed + 1}",
        "slices": 10_000,
        "gap": answer.gap,
        "seconds": seconds,
    }


def _repacks(gpus: int) -> list[dict[str, Any]]:
    saved = fleets.fleet(np.random.default_rng(gpus), gpus)
    questions: dict[str, dict[str, Any]] = {
        "room for 7g.40gb": {"requests": [{"profiles": {"7g.40gb": 1}}]},
        "room for 4 × 4g.20gb": {"requests": [{"profiles": {"4g.20gb": 1}, "count": 4}]},
        "empty 1 GPU": {"empty": {"gpus": 1}},
    }
    rows = []
    for name, document in questions.items():
        started = time.perf_counter()
        answer = repack.answer(document, saved)
        seconds = time.perf_counter() - started
        rows.append(
            {
                "what": "repack",
                "gpus": gpus,
                "question": name,
                "possible": answer.possible,
                "moves": answer.cost.moves,
                "gpc": answer.cost.gpc,
                "gap": answer.gap,
                "seconds": seconds,
            }
        )
    return rows
