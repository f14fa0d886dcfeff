"""What it costs in packing if kube-scheduler looks at a part of the nodes (`percentageOfNodesToScore`).

Run by hand: `python -m benchmarks.sampled_nodes`. Pods of one slice each come to an empty fleet until 1.1 times its
memory has been asked for; nobody leaves. As kube-scheduler does, each pod is judged on the first so many nodes that
have room for it, from where the last pod's search ended; of these the policy chooses. The table is in
benchmarks/README.md.
"""

import argparse
import random
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from allocator.mig import geometry, gpu_models
from allocator.mig.geometry import Geometry
from allocator.placement import fitting, policy
from allocator.placement.fleet import Fleet
from allocator.request import Request, SliceRequest
from replay import mix as mixes

MODEL, GPUS_PER_NODE = "a100-40gb", 8
PERCENTAGES = (100, 42, 10)  # all; kube-scheduler's own choice for 1,000 nodes; its least there
LEAST = 100  # nodes that kube-scheduler looks at in any case
ASKED = 1.1  # of the fleet's memory


def measure(mix: str, nodes: int, runs: int, percentages: Sequence[int] = PERCENTAGES) -> list[dict[str, Any]]:
    """Per percentage, means over runs: memory in use at the first refusal and in the end, and pods refused; shares."""
    kind = geometry.compiled(gpu_models.find(MODEL))
    rows = []
    for percentage in percentages:
        fills = [_fill(kind, mixes.shares(mix, kind.catalogue), nodes, percentage, seed) for seed in range(runs)]
        means = [statistics.fmean(values) for values in zip(*fills, strict=True)]
        names = ("used_at_first_refusal", "used_in_the_end", "refused")
        rows.append(
            {"mix": mix, "nodes": nodes, "percentage": percentage, "runs": runs} | dict(zip(names, means, strict=True))
        )
    return rows


def _fill(
    kind: Geometry, shares: Mapping[str, float], nodes: int, percentage: int, seed: int
) -> tuple[float, float, float]:
    by = policy.DEFAULT
    fleet, states = Fleet(by), [[kind.EMPTY] * GPUS_PER_NODE for _ in range(nodes)]
    for number, of_node in enumerate(states):
        fleet.put(str(number), [(kind, state) for state in of_node])
    wanted = nodes if percentage == 100 else max(LEAST, nodes * percentage // 100)
    losses: dict[str, np.ndarray[Any, np.dtype[np.float64]]] = {}
    memory = nodes * GPUS_PER_NODE * kind.catalogue.memory_slices
    used = asked = pods = refused = start = 0
    first: int | None = None
    for name in _profiles(shares, seed):
        if asked >= ASKED * memory:
            break
        size = kind.catalogue.profile(name).memory_slices
        asked, pods = asked + size, pods + 1
        if name not in losses:
            losses[name] = _losses(fleet, name, np.arange(nodes))
        feasible = np.flatnonzero(np.isfinite(losses[name]))
        if not len(feasible):
            refused += 1
            first = used if first is None else first
            continue
        at = int(np.searchsorted(feasible, start))
        looked_at = np.concatenate((feasible[at:], feasible[:at]))[:wanted]
        if wanted < nodes:
            start = (int(looked_at[-1]) + 1) % nodes
        node = int(looked_at[losses[name][looked_at].argmin()])
        request = Request((SliceRequest("", name),))
        (part,) = fitting.place([(kind, state) for state in states[node]], request, by) or ()
        states[node][part.gpu] = int(kind.step[states[node][part.gpu], kind.placement_index[part.placement]])
        used += size
        fleet.put(str(node), [(kind, state) for state in states[node]])
        for known, of_profile in losses.items():
            of_profile[node] = _losses(fleet, known, np.array([node]))[0]
    return (used if first is None else first) / memory, used / memory, refused / pods


def _profiles(shares: Mapping[str, float], seed: int) -> Iterator[str]:
    draw = random.Random(seed)
    while True:
        yield from draw.choices(list(shares), list(shares.values()), k=1_000)


def _losses(fleet: Fleet, name: str, rows: np.ndarray[Any, np.dtype[np.intp]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array(fleet.losses(Request((SliceRequest("", name),)), rows), dtype=np.float64)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=1_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--mix", action="append")
    asked = parser.parse_args()
    print("| mix | nodes looked at | memory used at the first refusal | in the end | pods refused |")  # noqa: T201
    print("|---|---|---|---|---|")  # noqa: T201
    for mix in asked.mix or ("uniform", "skew-small", "skew-big", "bimodal"):
        for row in measure(mix, asked.nodes, asked.runs):
            figures = [f"{row[name]:.2%}" for name in ("used_at_first_refusal", "used_in_the_end", "refused")]
            print(f"| {mix} | {row['percentage']} % | {' | '.join(figures)} |", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
