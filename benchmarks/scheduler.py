"""Pods per second of the real kube-scheduler with our extender, divided by those of two schedulers without any.

Called by `migsched bench scheduler`. One control plane, the variants in turn (A B C, C B A, …), since a machine's speed
drifts: only the ratio of neighbouring runs is meant. "plain" is the shipped profile without the extender, which shows
what the extender costs; "stock" is a kube-scheduler with its own defaults, which shows what a user gives up. Above 100
nodes they differ: the shipped profile looks at all nodes, the stock one stops at a sample. "queue" is that stock one
with our queue before it: its pods are created gated, as an admission policy has them. Method: pods that ask one 1g
slice are created at once; the clock runs from the first creation to the last binding.
"""

import asyncio
import math
import statistics
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from allocator.queueing.queued_pod import GATE
from benchmarks import scheduler_load as load
from benchmarks.benchmark import Progress
from benchmarks.deployed import CRD
from benchmarks.servers.service_process import ServiceProcess, cpu_seconds
from kubeclient.kube import Connection
from testbed.control_plane import build, scheduler_config
from testbed.control_plane.control_plane import ControlPlane

FEASIBLE = "nvidia.com/mig-1g.5gb"
INFEASIBLE = "nvidia.com/mig-3g.47gb"  # no A100-40GB offers it, and the in-tree check lets it pass: nodes advertise it
DEADLINE_S = 540
STOCK_PROFILE = "default-scheduler"
PROGRAMS = {
    "extender": ("cli", "scheduler"),
    "queue": ("cli", "scheduler"),
    "library client": ("benchmarks.servers.library_client",),
}
ON_STOCK = frozenset({"stock", "queue"})  # variants whose pods a kube-scheduler with its own defaults binds


@dataclass(frozen=True, slots=True)
class _Extender:
    """How the extender is set: the length of its shortlist, and whether it is filled up with worse nodes."""

    shortlist: int
    filled: bool


@dataclass(slots=True)
class _Run:
    """One measured run."""

    pods_per_s: float
    cpu_ms_per_pod: dict[str, float] = field(default_factory=dict)


def measure(
    nodes: int,
    pods: int,
    runs: int,
    *,
    shortlist: int = 10,
    filled: bool = False,
    infeasible: int = 0,
    progress: Progress = lambda _: None,
) -> dict[str, Any]:
    """{"stock": [pods/s…], "plain": […], "extender": […], "queue": […], "ratios": […], "ratio", "stock_ratios": […],
    "stock_ratio", "queue_ratios": […], "queue_ratio", "shortlist", "filled", "infeasible",
    "cpu_ms_per_pod": {variant: {process: ms}}}.

    The shortlist is what it is by default, at most `shortlist` equally good nodes; `filled` fills it up with the next
    best, so that kube-scheduler always has all of them to score. `infeasible` pods wait, refused by the extender, while
    the others are scheduled; the plain scheduler then waits with as many that its own check refuses.
    """
    return asyncio.run(_measure(nodes, pods, runs, _Extender(shortlist, filled), infeasible, progress))


def compare(variants: tuple[str, str], nodes: int, pods: int, runs: int, progress: Progress) -> dict[str, list[_Run]]:
    """All runs of two variants in turns, by variant; each is "stock", "plain" or one of PROGRAMS."""
    return asyncio.run(_runs(variants, nodes, pods, runs, _Extender(10, False), 0, progress))


async def _measure(
    nodes: int, pods: int, runs: int, extender: _Extender, infeasible: int, progress: Progress
) -> dict[str, Any]:
    results = await _runs(("stock", "plain", "extender", "queue"), nodes, pods, runs, extender, infeasible, progress)
    return _summary(results, nodes, extender, infeasible)


async def _runs(
    variants: tuple[str, ...],
    nodes: int,
    pods: int,
    runs: int,
    extender: _Extender,
    infeasible: int,
    progress: Progress,
) -> dict[str, list[_Run]]:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="migsched-bench-")))
        plane = stack.enter_context(ControlPlane(binaries=build.ensure_built(progress), directory=directory))
        plane.apply(CRD)
        plane.kubectl("wait", "--for=condition=Established", "crd/mignodes.migsched.io", "--timeout=30s")
        connection = await Connection.connect(plane.kubeconfig)
        try:
            progress(f"scheduler: creating {nodes} nodes")
            await load.create_nodes(connection, [f"node-{n:05d}" for n in range(nodes)])
            bench = _Bench(plane, connection, directory, pods, extender, infeasible)
            results: dict[str, list[_Run]] = {variant: [] for variant in variants}
            for run in range(runs):
                order = variants if run % 2 == 0 else variants[::-1]
                for variant in order:
                    result = await bench.run(variant)
                    results[variant].append(result)
                    progress(f"scheduler: run {run + 1}/{runs} {variant}: {result.pods_per_s:.1f} pods/s")
        finally:
            await connection.close()
    return results


def _summary(runs: dict[str, list[_Run]], nodes: int, extender: _Extender, infeasible: int) -> dict[str, Any]:
    ratios, stock_ratios = (_ratios(runs["extender"], runs[baseline]) for baseline in ("plain", "stock"))
    queue_ratios = _ratios(runs["queue"], runs["stock"])
    processes = {name for results in runs.values() for r in results for name in r.cpu_ms_per_pod}
    return {
        "nodes": nodes,
        **{variant: [round(r.pods_per_s, 1) for r in results] for variant, results in runs.items()},
        "ratios": [round(ratio, 3) for ratio in ratios],
        "ratio": round(statistics.median(ratios), 3),
        "stock_ratios": [round(ratio, 3) for ratio in stock_ratios],
        "stock_ratio": round(statistics.median(stock_ratios), 3),
        "queue_ratios": [round(ratio, 3) for ratio in queue_ratios],
        "queue_ratio": round(statistics.median(queue_ratios), 3),
        "shortlist": extender.shortlist,
        "filled": extender.filled,
        "infeasible": infeasible,
        "cpu_ms_per_pod": {
            variant: {
                name: round(statistics.median(r.cpu_ms_per_pod.get(name, 0.0) for r in results), 2)
                for name in sorted(processes)
            }
            for variant, results in runs.items()
        },
    }


def _ratios(mine: list[_Run], baseline: list[_Run]) -> list[float]:
    return [ours.pods_per_s / theirs.pods_per_s for ours, theirs in zip(mine, baseline, strict=True)]


class _Bench:
    """Runs one variant after the other on one control plane."""

    def __init__(
        self,
        plane: ControlPlane,
        connection: Connection,
        directory: Path,
        pods: int,
        extender: _Extender,
        infeasible: int,
    ) -> None:
        self._plane = plane
        self._connection = connection
        self._directory = directory
        self._pods = pods
        self._extender = extender
        self._infeasible = infeasible
        self._number = 0

    async def run(self, variant: str) -> _Run:
        """Schedule all pods once with this variant; everything it started is ended."""
        self._number += 1
        with ExitStack() as stack:
            url = None
            pids = {"api-server": self._pid("kube-apiserver"), "etcd": self._pid("etcd")}
            if variant in PROGRAMS:
                extender = stack.enter_context(
                    ServiceProcess(
                        self._plane.kubeconfig,
                        self._directory,
                        shortlist=self._extender.shortlist,
                        slack=math.inf if self._extender.filled else 0,
                        program=PROGRAMS[variant],
                        queue=variant == "queue",
                    )
                )
                await asyncio.to_thread(extender.wait_ready)
                url, pids["extender"] = f"{extender.extender_url}/v1", extender.pid
            stock = variant in ON_STOCK
            config = (
                scheduler_config.stock(self._plane.kubeconfig)
                if stock
                else scheduler_config.kube_scheduler_config(url, self._plane.kubeconfig)
            )
            server = await asyncio.to_thread(self._plane.start_scheduler, config, name=f"kube-scheduler-{self._number}")
            stack.callback(server.process.stop)
            pids["scheduler"] = server.process.pid
            profile = STOCK_PROFILE if stock else scheduler_config.PROFILE
            return await self._schedule(pids, profile, GATE if variant == "queue" else "")

    async def _schedule(self, pids: dict[str, int], profile: str, gate: str) -> _Run:
        waiting = [f"infeasible-{self._number}-{i}" for i in range(self._infeasible)]
        names = [f"pod-{self._number}-{i}" for i in range(self._pods)]
        await load.create_pods(self._connection, (load.pod(n, profile, INFEASIBLE, gate) for n in waiting))
        watch = load.BoundWatch(self._connection, names)
        await watch.start()
        before = {name: cpu_seconds(pid) for name, pid in pids.items()}
        began = time.perf_counter()
        await load.create_pods(self._connection, (load.pod(n, profile, FEASIBLE, gate) for n in names))
        await watch.wait(DEADLINE_S)
        elapsed = watch.finished_at - began
        spent = {name: (cpu_seconds(pid) - before[name]) * 1e3 / self._pods for name, pid in pids.items()}
        await load.delete_pods(self._connection, [*names, *waiting])
        return _Run(self._pods / elapsed, spent)

    def _pid(self, name: str) -> int:
        return next(child.pid for child in self._plane.children if child.name == name)
