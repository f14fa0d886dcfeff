"""Planning: GPUs and time of exact plans beside first-fit decreasing, online first fit and the LP bound.

Called by `migsched bench planning` through `measure`. The optimum is not taken from the planner's word: a plan is over
the optimum by its GPUs less the LP bound rounded up, which no plan can beat. Repacks are timed on fleets that grew by
chance, with the gap they state.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from allocator import geometry, gpu_models, planning, repack
from allocator.geometry import Geometry
from allocator.packing import patterns
from allocator.packing.program import Program, relax
from allocator.snapshot import GpuView, NodeView, Occupant, Snapshot
from allocator.snapshot_file import PodFacts, Saved

MODEL = "a100-40gb"
PROFILES = ("1g.5gb", "2g.10gb", "3g.20gb", "4g.20gb", "7g.40gb")
MIXES: Mapping[str, tuple[float, ...]] = {
    "uniform": (0.2, 0.2, 0.2, 0.2, 0.2),
    "skew-small": (0.4, 0.25, 0.2, 0.1, 0.05),
    "skew-big": (0.05, 0.1, 0.2, 0.25, 0.4),
    "bimodal": (0.35, 0.1, 0.1, 0.1, 0.35),
    "no 4g/7g": (0.35, 0.25, 0.4, 0.0, 0.0),
}
SIZES = (100, 1_000)
GPUS_PER_NODE = 8
FLEETS = (8, 80, 800, 8_000)  # GPUs

Progress = Callable[[str], None]


def measure(
    seeds: int = 12, fleets: Sequence[int] = FLEETS, progress: Progress = lambda _: None
) -> list[dict[str, Any]]:
    """Rows of three kinds, told apart by `what`.

    `plan`: per mix and number of slices, GPUs over the optimum (worst of the seeds), how far the baselines are over
    it in percent (mean), how often ceil(LP) was met, seconds (worst). `plan, three models`: 10,000 slices with 200
    pinned GPUs: seconds and gap. `repack`: per fleet and question, seconds, cost, and the gap.
    """
    planning.plan({"fleet": [{"model": MODEL}], "demand": {"1g.5gb": 1}})  # the solver is loaded on first use
    rows = []
    for slices in SIZES:
        for mix in MIXES:
            progress(f"planning: {slices} slices, {mix}")
            rows.append(_plans(mix, slices, seeds))
    for seed in range(min(seeds, 4)):
        progress(f"planning: 10,000 slices over three models, {seed + 1}")
        rows.append(_large_plan(seed))
    for gpus in fleets:
        progress(f"repacking: {gpus} GPUs")
        rows += _repacks(gpus)
    return rows


def _plans(mix: str, slices: int, seeds: int) -> dict[str, Any]:
    kind = geometry.compiled(gpu_models.find(MODEL))
    over, decreasing, online, seconds, tight = [], [], [], [], 0
    for seed in range(seeds):
        draw = np.random.default_rng([seed, slices])
        counts = draw.multinomial(slices, MIXES[mix])
        demand = {name: int(n) for name, n in zip(PROFILES, counts, strict=True)}
        least = lp_bound(kind, demand)
        started = time.perf_counter()
        answer = planning.plan({"fleet": [{"model": MODEL}], "demand": demand})
        seconds.append(time.perf_counter() - started)
        over.append(answer["gpus"][MODEL] - least)
        tight += answer["gpus"][MODEL] == least
        stream = [name for name, n in demand.items() for _ in range(n)]
        decreasing.append(first_fit(kind, stream[::-1]) / least - 1)
        online.append(first_fit(kind, [stream[i] for i in draw.permutation(len(stream))]) / least - 1)
    return {
        "what": "plan",
        "mix": mix,
        "slices": slices,
        "gpus_over_optimum": max(over),
        "lp_bound_met": tight / seeds,
        "first_fit_decreasing_over_percent": 100 * float(np.mean(decreasing)),
        "online_first_fit_over_percent": 100 * float(np.mean(online)),
        "seconds": max(seconds),
    }


def lp_bound(kind: Geometry, demand: Mapping[str, int]) -> int:
    """The LP over the patterns of an empty GPU, rounded up: no plan has fewer GPUs."""
    names = tuple(name for name, n in demand.items() if n)
    program = Program()
    columns = [
        (pattern, program.column(sum(demand.values()), 1)) for pattern in patterns.maximal(kind, kind.EMPTY, names)
    ]
    for position, name in enumerate(names):
        program.row(((c, pattern[position]) for pattern, c in columns), low=demand[name])
    return relax(program).bound


def first_fit(kind: Geometry, stream: Sequence[str]) -> int:
    """GPUs that first fit opens for slices in this order: the first GPU with room, lowest start."""
    after = {}
    for name in set(stream):
        steps = kind.step[:, list(kind.placements_of(name))]
        lowest = (steps >= 0).argmax(axis=1)
        after[name] = np.where((steps >= 0).any(axis=1), steps[np.arange(kind.states), lowest], -1)
    states = np.zeros(len(stream), dtype=np.int32)  # as many GPUs as could ever be opened, all empty
    for name in stream:
        where = int((after[name][states] >= 0).argmax())
        states[where] = after[name][states[where]]
    return int((states != kind.EMPTY).sum())


def _large_plan(seed: int) -> dict[str, Any]:
    draw = np.random.default_rng(seed)
    names = ("a100-40gb", "a100-80gb", "h100-80gb")
    kinds = [geometry.compiled(gpu_models.find(name)) for name in names]
    pinned = []
    for _ in range(200):
        kind = kinds[draw.integers(3)]
        slices = [{"profile": p.profile, "start": p.start} for p in _grown(draw, kind, int(draw.integers(1, 4)))]
        pinned.append({"model": kind.catalogue.model, "slices": slices})
    profiles = sorted({p.name for kind in kinds for p in kind.catalogue.profiles if p.plain})
    counts = draw.multinomial(10_000, draw.dirichlet([1] * len(profiles)))
    document = {
        "fleet": [{"model": name, "price": price} for name, price in zip(names, (1.5, 2.0, 3.1), strict=True)],
        "demand": {name: int(n) for name, n in zip(profiles, counts, strict=True)},
        "pinned": pinned,
        "goal": "cost",
    }
    started = time.perf_counter()
    answer = planning.plan(document)
    seconds = time.perf_counter() - started
    return {"what": "plan, three models", "slices": 10_000, "seed": seed, "gap": answer["gap"], "seconds": seconds}


def _repacks(gpus: int) -> list[dict[str, Any]]:
    saved = _fleet(gpus)
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
                "possible": answer["possible"],
                "moves": answer["cost"]["moves"],
                "gpc": answer["cost"]["gpc"],
                "gap": answer["gap"],
                "seconds": seconds,
            }
        )
    return rows


def _fleet(gpus: int) -> Saved:
    """GPUs filled at random, then thinned to nine pods in ten; four pods in five may move."""
    draw = np.random.default_rng(gpus)
    catalogue = gpu_models.find(MODEL)
    kind = geometry.compiled(catalogue)
    facts: dict[str, PodFacts] = {}
    nodes: list[NodeView] = []
    for first in range(0, gpus, GPUS_PER_NODE):
        name = f"node-{first // GPUS_PER_NODE:04}"
        views = []
        for index in range(min(GPUS_PER_NODE, gpus - first)):
            occupants = []
            for placement in _grown(draw, kind, 8):
                if draw.random() < 0.9:
                    uid = f"uid-{len(facts)}"
                    facts[uid] = PodFacts(movable=bool(draw.random() < 0.8))
                    occupants.append(Occupant(placement, "ready", "default", f"pod-{len(facts)}", "main", uid))
            mask = sum(one.placement.mask for one in occupants)
            uuid = f"{name}-gpu-{index}"
            views.append(GpuView(name, uuid, index, MODEL, MODEL, 8, mask, tuple(occupants), catalogue=catalogue))
        nodes.append(NodeView(name, tuple(views)))
    return Saved(Snapshot(tuple(nodes)), facts)


def _grown(draw: np.random.Generator, kind: Geometry, most: int) -> list[Any]:
    """Random slices of plain profiles, one after another, while one fits."""
    plain = np.array([kind.catalogue.profile(p.profile).plain for p in kind.placements])
    state, placed = kind.EMPTY, []
    for _ in range(most):
        legal = np.flatnonzero((kind.step[state] >= 0) & plain)
        if not len(legal):
            break
        index = int(draw.choice(legal))
        state = int(kind.step[state, index])
        placed.append(kind.placements[index])
    return placed
