"""What it costs in packing if kube-scheduler looks at a part of the nodes (`percentageOfNodesToScore`).

Run by hand: `python -m benchmarks.sampled_nodes`. Pods of one slice each come to an empty fleet until 1.1 times its
memory has been asked for; nobody leaves. As kube-scheduler does, a window of so many nodes is taken that have a device
of the profile left by count, from where the last window ended; of those with room where the slice can lie, the policy
chooses. A window without such a node is followed by the next, until all nodes were looked at: each means that the pod
waits for an event. The table is in benchmarks/README.md.
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
FIGURES = ("used_at_first_refusal", "used_in_the_end", "refused", "waits_although_it_fits")

Losses = np.ndarray[Any, np.dtype[np.float64]]


def measure(mix: str, nodes: int, runs: int, percentages: Sequence[int] = PERCENTAGES) -> list[dict[str, Any]]:
    """Per percentage, means over runs, all shares: memory in use at the first refusal and in the end; pods refused, and
    pods whose first window had no room although the cluster had.
    """
    kind = geometry.compiled(gpu_models.find(MODEL))
    shares = mixes.shares(mix, kind.catalogue)
    rows = []
    for percentage in percentages:
        fills = [_Fill(kind, nodes, percentage).run(shares, seed) for seed in range(runs)]
        means = [statistics.fmean(values) for values in zip(*fills, strict=True)]
        head = {"mix": mix, "nodes": nodes, "percentage": percentage, "runs": runs}
        rows.append(head | dict(zip(FIGURES, means, strict=True)))
    return rows


class _Fill:
    """A fleet that fills up."""

    def __init__(self, kind: Geometry, nodes: int, percentage: int) -> None:
        self._kind, self._nodes = kind, nodes
        self._window = nodes if percentage == 100 else max(LEAST, nodes * percentage // 100)
        self._fleet = Fleet(policy.DEFAULT)
        self._states = [[kind.EMPTY] * GPUS_PER_NODE for _ in range(nodes)]
        self._losses: dict[str, Losses] = {}
        self._devices: dict[str, np.ndarray[Any, np.dtype[np.int64]]] = {}  # left by count, per node
        self._start = 0
        for number in range(nodes):
            self._put(number)

    def run(self, shares: Mapping[str, float], seed: int) -> tuple[float, ...]:
        """The figures, in the order of FIGURES."""
        memory = self._nodes * GPUS_PER_NODE * self._kind.catalogue.memory_slices
        used = asked = pods = refused = late = 0
        first: int | None = None
        for name in _profiles(shares, seed):
            if asked >= ASKED * memory:
                break
            size = self._kind.catalogue.profile(name).memory_slices
            asked, pods = asked + size, pods + 1
            windows = self._place(name)
            if windows:
                used, late = used + size, late + (windows > 1)
            else:
                refused, first = refused + 1, used if first is None else first
        return (used if first is None else first) / memory, used / memory, refused / pods, late / pods

    def _place(self, name: str) -> int:
        """Place a pod; how many windows that took, 0 where it fits nowhere."""
        if name not in self._losses:
            self._losses[name] = self._judged(name, np.arange(self._nodes))
            most = GPUS_PER_NODE * self._kind.room_for(self._kind.EMPTY, name)
            self._devices[name] = np.full(self._nodes, most, dtype=np.int64)
        losses = self._losses[name]
        if not np.isfinite(losses).any():
            return 0
        counted = np.flatnonzero(self._devices[name] > 0)
        windows = 0
        while True:
            windows += 1
            at = int(np.searchsorted(counted, self._start))
            window = np.concatenate((counted[at:], counted[:at]))[: self._window]
            self._start = (int(window[-1]) + 1) % self._nodes
            node = int(window[losses[window].argmin()])
            if np.isfinite(losses[node]):
                self._take(node, name)
                return windows

    def _take(self, node: int, name: str) -> None:
        states = self._states[node]
        request = Request((SliceRequest("", name),))
        (part,) = fitting.place([(self._kind, state) for state in states], request, policy.DEFAULT) or ()
        states[part.gpu] = int(self._kind.step[states[part.gpu], self._kind.placement_index[part.placement]])
        self._devices[name][node] -= 1
        self._put(node)
        for known, losses in self._losses.items():
            losses[node] = self._judged(known, np.array([node]))[0]

    def _put(self, node: int) -> None:
        self._fleet.put(str(node), [(self._kind, state) for state in self._states[node]])

    def _judged(self, name: str, rows: np.ndarray[Any, np.dtype[np.intp]]) -> Losses:
        return np.array(self._fleet.losses(Request((SliceRequest("", name),)), rows), dtype=np.float64)


def _profiles(shares: Mapping[str, float], seed: int) -> Iterator[str]:
    draw = random.Random(seed)
    while True:
        yield from draw.choices(list(shares), list(shares.values()), k=1_000)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=1_000)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--mix", action="append")
    asked = parser.parse_args()
    names = "memory used at the first refusal | in the end | refused | waits although it fits"
    print(f"| mix | nodes looked at | {names} |")  # noqa: T201
    print("|---|---|---|---|---|---|")  # noqa: T201
    for mix in asked.mix or ("uniform", "skew-small", "skew-big", "bimodal"):
        for row in measure(mix, asked.nodes, asked.runs):
            figures = " | ".join(f"{row[name]:.1%}" for name in FIGURES)
            print(f"| {mix} | {row['percentage']} % | {figures} |", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
