"""What it costs in packing that slices of one container go to different GPUs first.

Run by hand: `python -m benchmarks.several_slices`. The figures stand in ADR 0017. Jobs come by chance to a fleet and
stay for a time; what does not fit is lost. Some ask for two or four slices of one container; all runs of a row get the
same jobs, apart and packed.
"""

import argparse
import heapq
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import repeat

import numpy as np

from allocator.mig import geometry, gpu_models
from allocator.mig.geometry import Geometry
from allocator.placement import fitting, policy
from allocator.placement.fleet import Fleet
from allocator.placement.shortlist import shortlist
from allocator.request import Request, SliceRequest

MODEL = "h100-80gb"
PROFILES = ("1g.10gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb")
SEVERAL = (("3g.40gb", 2), ("2g.20gb", 2), ("1g.10gb", 4))  # what jobs of several slices ask for
WARM_UP, HORIZON = 4.0, 16.0  # mean lifetimes


@dataclass(frozen=True, slots=True)
class Scene:
    """A fleet, and the share of the jobs that ask for several slices. The load is in memory slices of all GPUs."""

    nodes: int
    gpus_per_node: int
    several: float
    by: str = "mfi"
    load: float = 1.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """Compute slices accepted of those asked for; jobs of several slices accepted, and those of them that are apart."""

    acceptance: float
    accepted_several: float
    apart: float


@dataclass(frozen=True, slots=True)
class _Job:
    at: float
    ends: float
    request: Request
    compute: int


def run(scene: Scene, seed: int, *, packed: bool) -> Outcome:
    """One run. The same seed gives the same jobs, packed or apart."""
    kind = geometry.compiled(gpu_models.find(MODEL))
    fleet = Fleet(policy.find(scene.by))
    names = [f"n{number}" for number in range(scene.nodes)]
    gpus = {name: [[] for _ in range(scene.gpus_per_node)] for name in names}  # type: dict[str, list[list[int]]]
    for name in names:
        fleet.put(name, _states(kind, gpus[name]))
    running: list[tuple[float, int, str, list[tuple[int, int]]]] = []
    asked, accepted, several = 0, 0, Counter[str]()
    for number, job in enumerate(_jobs(scene, seed)):
        while running and running[0][0] <= job.at:
            _, _, node, places = heapq.heappop(running)
            for gpu, index in places:
                gpus[node][gpu].remove(index)
            fleet.put(node, _states(kind, gpus[node]))
        request = replace(job.request, packed=packed)
        best = shortlist(fleet, request, names, 1).nodes
        counts = job.at >= WARM_UP
        asked += counts * job.compute
        several["asked"] += counts and len(request.slots) > 1
        if not best:
            continue
        placed = fitting.place(fleet.gpus(best[0]), request, fleet.policy) or ()
        places = [(slice_.gpu, kind.placement_index[slice_.placement]) for slice_ in placed]
        for gpu, index in places:
            gpus[best[0]][gpu].append(index)
        fleet.put(best[0], _states(kind, gpus[best[0]]))
        fleet.chose(best[0])
        heapq.heappush(running, (job.ends, number, best[0], places))
        accepted += counts * job.compute
        if counts and len(request.slots) > 1:
            several["accepted"] += 1
            several["apart"] += len({gpu for gpu, _ in places}) == len(places)
    of_several = max(1, several["asked"]), max(1, several["accepted"])
    return Outcome(accepted / asked, several["accepted"] / of_several[0], several["apart"] / of_several[1])


def _states(kind: Geometry, gpus: Sequence[Sequence[int]]) -> list[fitting.GpuState]:
    return [(kind, kind.state_of(kind.placements[index] for index in on_gpu)) for on_gpu in gpus]


def _jobs(scene: Scene, seed: int) -> Iterator[_Job]:
    """Poisson arrivals and exponential lifetimes of mean 1; sizes are uniform over what there is of each kind."""
    catalogue = gpu_models.find(MODEL)
    single = [(name, 1) for name in PROFILES]
    kinds = [*single, *SEVERAL]
    shares = [(1 - scene.several) / len(single)] * len(single) + [scene.several / len(SEVERAL)] * len(SEVERAL)
    memory = [catalogue.profile(name).memory_slices * number for name, number in kinds]
    rate = scene.load * scene.nodes * scene.gpus_per_node * catalogue.memory_slices / float(np.dot(shares, memory))
    draw, at = np.random.default_rng(seed), 0.0
    while (at := at + draw.exponential(1 / rate)) < HORIZON:
        name, number = kinds[int(draw.choice(len(kinds), p=shares))]
        slots = (SliceRequest("main", name),) * number
        yield _Job(at, at + draw.exponential(), Request(slots), catalogue.profile(name).compute_slices * number)


def _row(scene: Scene, seeds: Sequence[int], pool: ProcessPoolExecutor) -> str:
    """A line of the table: apart, packed, and the mean difference of the same jobs."""
    apart, packed = (list(pool.map(_run, repeat(scene), seeds, repeat(way))) for way in (False, True))
    lost = [p.acceptance - a.acceptance for a, p in zip(apart, packed, strict=True)]
    spread = 2 * statistics.stdev(lost) / len(lost) ** 0.5
    cells = [
        f"{scene.nodes} × {scene.gpus_per_node}",
        scene.by,
        f"{scene.several:.0%}",
        *(f"{statistics.mean(o.acceptance for o in way):.4f}" for way in (apart, packed)),
        f"{statistics.mean(lost):.4f} ± {spread:.4f}",
        *(f"{statistics.mean(o.accepted_several for o in way):.3f}" for way in (apart, packed)),
        *(f"{statistics.mean(o.apart for o in way):.1%}" for way in (apart, packed)),
    ]
    return f"| {' | '.join(cells)} |"


def _run(scene: Scene, seed: int, packed: bool) -> Outcome:
    return run(scene, seed, packed=packed)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--workers", type=int, default=1)
    chosen = parser.parse_args()
    with ProcessPoolExecutor(chosen.workers) as pool:
        for nodes, gpus in ((8, 8), (32, 2)):
            for by in ("mfi", "best-fit"):
                for several in (0.1, 0.3):
                    print(_row(Scene(nodes, gpus, several, by), range(chosen.seeds), pool), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
