"""What a user would take instead: pods per second, processor time, memory and packing, on the same control plane.

Called by `migsched bench rivals`. Two control planes of one version run at once: `counts`, whose nodes advertise slices
as static numbers and have MigNodes, and `dra`, whose nodes have ResourceSlices as NVIDIA's driver publishes them and no
counts. The variants take turns (A B C D, D C B A, …), one kube-scheduler at a time, started anew for each run:

- `stock`: kube-scheduler with its own defaults counts slices. It looks at no geometry: what it packs may be illegal.
- `extender`: the shipped profile, which asks our extender.
- `queue`: kube-scheduler with its own defaults, and our queue before it.
- `dra`: kube-scheduler with its own defaults; pods name the same resources, which DeviceClasses serve.
"""

import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from allocator.mig import gpu_models
from allocator.queueing.queued_pod import GATE
from benchmarks import rivals_load, scheduler_load
from benchmarks.benchmark import Progress
from benchmarks.deployed import CRD
from benchmarks.scheduler_load import GPUS_PER_NODE, MODEL
from benchmarks.servers.service_process import ServiceProcess, cpu_seconds
from kubeclient.kube import Connection
from testbed.control_plane import build, scheduler_config
from testbed.control_plane.control_plane import ControlPlane

VARIANTS = ("stock", "extender", "queue", "dra")
SERVED = frozenset({"extender", "queue"})  # by our service
LOADS: Mapping[str, Sequence[str]] = {
    "1g": ("1g.5gb",),
    "mixed": ("1g.5gb", "2g.10gb", "3g.20gb", "7g.40gb"),
}
OFFERED = ("1g.5gb", "2g.10gb", "3g.20gb", "4g.20gb", "7g.40gb")  # when packing is measured, alike often
LIMIT_S = 90.0  # of a run; then what is bound counts
QUIET_S = 12.0  # without a binding, after which nobody else is expected to be bound
_PROFILE = "default-scheduler"


@dataclass(slots=True)
class _Run:
    """One run: pods bound by second, and by process milliseconds per pod and MiB at the end."""

    bound: int
    pods_per_s: float
    cpu_ms_per_pod: dict[str, float] = field(default_factory=dict)
    rss_mib: dict[str, float] = field(default_factory=dict)
    by_profile: dict[str, int] = field(default_factory=dict)


def measure(
    nodes: int,
    pods: int,
    runs: int,
    *,
    loads: Sequence[str] = tuple(LOADS),
    packing_nodes: int = 4,
    progress: Progress = lambda _: None,
) -> list[dict[str, Any]]:
    """A row per load and variant; `packing_nodes` nodes are filled beside, the others being cordoned."""
    return asyncio.run(_measure(nodes, pods, runs, loads, packing_nodes, progress))


async def _measure(
    nodes: int, pods: int, runs: int, loads: Sequence[str], packing_nodes: int, progress: Progress
) -> list[dict[str, Any]]:
    names = [f"node-{number:05d}" for number in range(nodes)]
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="migsched-rivals-")))
        binaries = build.ensure_built(progress)
        planes = {
            kind: stack.enter_context(ControlPlane(binaries=binaries, directory=directory / kind))
            for kind in ("counts", "dra")
        }
        planes["counts"].apply(CRD)
        planes["dra"].apply(rivals_load.device_classes())
        connections = {kind: await Connection.connect(plane.kubeconfig) for kind, plane in planes.items()}
        try:
            progress(f"rivals: creating {nodes} nodes twice")
            began = time.perf_counter()
            await scheduler_load.create_nodes(connections["counts"], names)
            await rivals_load.create_dra_nodes(connections["dra"], names)
            progress(f"rivals: created in {time.perf_counter() - began:.0f} s")
            bench = _Bench(planes, connections, directory)
            rows = []
            for load in loads:
                results = await _speed(bench, load, pods, runs, progress)
                rows += [_row(nodes, pods, load, variant, results) for variant in VARIANTS]
            packed = await _packing(bench, names, packing_nodes, progress)
        finally:
            for connection in connections.values():
                await connection.close()
    return [row | packed.get(row["variant"], {}) for row in rows]


async def _speed(bench: "_Bench", load: str, pods: int, runs: int, progress: Progress) -> dict[str, list[_Run]]:
    results: dict[str, list[_Run]] = {variant: [] for variant in VARIANTS}
    profiles = [LOADS[load][number % len(LOADS[load])] for number in range(pods)]
    for run in range(runs):
        for variant in VARIANTS if run % 2 == 0 else VARIANTS[::-1]:
            result = await bench.run(variant, profiles)
            results[variant].append(result)
            told = f"{result.bound} of {pods} bound, {result.pods_per_s:.1f} pods/s"
            progress(f"rivals: {load} {run + 1}/{runs} {variant}: {told}")
    return results


async def _packing(
    bench: "_Bench", names: Sequence[str], packing_nodes: int, progress: Progress
) -> dict[str, dict[str, Any]]:
    """By variant that looks at the geometry, what is accepted of one burst of more than there is room for."""
    catalogue = gpu_models.find(MODEL)
    room = packing_nodes * GPUS_PER_NODE * catalogue.compute_slices
    chosen, offered = random.Random(1), list[str]()
    while sum(catalogue.profile(name).compute_slices for name in offered) < 1.25 * room:
        offered.append(chosen.choice(OFFERED))
    packed = {}
    for kind in ("counts", "dra"):
        await rivals_load.cordon(bench.connections[kind], names[packing_nodes:], value=True)
    for variant in VARIANTS[1:]:
        result = await bench.run(variant, offered)
        used = sum(catalogue.profile(name).compute_slices * number for name, number in result.by_profile.items())
        progress(f"rivals: packing {variant}: {result.bound} of {len(offered)} bound, {used / room:.1%}")
        packed[variant] = {"packed": round(used / room, 4), "accepted": result.bound, "offered": len(offered)}
    return packed


def _row(nodes: int, pods: int, load: str, variant: str, results: Mapping[str, Sequence[_Run]]) -> dict[str, Any]:
    runs = results[variant]
    return {
        "nodes": nodes,
        "load": load,
        "variant": variant,
        "pods": pods,
        "bound": [run.bound for run in runs],
        "pods_per_s": [round(run.pods_per_s, 1) for run in runs],
        "stock_ratio": _ratio(runs, results["stock"]),
        "dra_ratio": _ratio(runs, results["dra"]),
        "cpu_ms_per_pod": _medians([run.cpu_ms_per_pod for run in runs]),
        "rss_mib": _medians([run.rss_mib for run in runs]),
        "packed": None,
        "accepted": None,
        "offered": None,
    }


def _ratio(mine: Sequence[_Run], others: Sequence[_Run]) -> float | None:
    """The median of neighbouring runs; None where the others bound nothing."""
    ratios = [
        run.pods_per_s / other.pods_per_s for run, other in zip(mine, others, strict=True) if other.pods_per_s > 0
    ]
    return round(statistics.median(ratios), 3) if ratios else None


def _medians(of_runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = sorted({name for of_run in of_runs for name in of_run})
    return {name: round(statistics.median(of_run.get(name, 0.0) for of_run in of_runs), 2) for name in names}


class _Bench:
    """Runs one variant after the other, each on its control plane."""

    def __init__(
        self, planes: Mapping[str, ControlPlane], connections: Mapping[str, Connection], directory: Path
    ) -> None:
        self._planes = planes
        self.connections = connections
        self._directory = directory
        self._number = 0

    async def run(self, variant: str, profiles: Sequence[str]) -> _Run:
        """Schedule a pod for each profile once; everything that was started is ended, and the pods are deleted."""
        self._number += 1
        kind = "dra" if variant == "dra" else "counts"
        plane, url = self._planes[kind], None
        with ExitStack() as stack:
            pids = {
                name: _pid(plane, program) for name, program in (("api-server", "kube-apiserver"), ("etcd", "etcd"))
            }
            if variant in SERVED:
                service = stack.enter_context(
                    ServiceProcess(plane.kubeconfig, self._directory, queue=variant == "queue")
                )
                await asyncio.to_thread(service.wait_ready)
                url, pids["migsched"] = f"{service.extender_url}/v1", service.pid
            asks = variant == "extender"
            config = (
                scheduler_config.kube_scheduler_config(url, plane.kubeconfig)
                if asks
                else scheduler_config.stock(plane.kubeconfig)
            )
            server = await asyncio.to_thread(plane.start_scheduler, config, name=f"kube-scheduler-{self._number}")
            stack.callback(server.process.stop)
            pids["scheduler"] = server.process.pid
            scheduler = scheduler_config.PROFILE if asks else _PROFILE
            return await self._schedule(kind, pids, profiles, scheduler, GATE if variant == "queue" else "")

    async def _schedule(
        self, kind: str, pids: Mapping[str, int], profiles: Sequence[str], scheduler: str, gate: str
    ) -> _Run:
        connection = self.connections[kind]
        profile_of = {f"pod-{self._number}-{number}": profile for number, profile in enumerate(profiles)}
        bindings = rivals_load.Bindings(connection, profile_of)
        await bindings.start()
        before = {name: cpu_seconds(pid) for name, pid in pids.items()}
        began = time.perf_counter()
        resources = {name: f"nvidia.com/mig-{profile}" for name, profile in profile_of.items()}
        await scheduler_load.create_pods(
            connection, (scheduler_load.pod(name, scheduler, resource, gate) for name, resource in resources.items())
        )
        nodes = await bindings.settle(limit_s=LIMIT_S, quiet_s=QUIET_S)
        took_s = max(bindings.last_at - began, 1e-3)
        spent = {name: (cpu_seconds(pid) - before[name]) * 1e3 / max(1, len(nodes)) for name, pid in pids.items()}
        resident = {name: _rss_mib(pid) for name, pid in pids.items()}
        by_profile = dict.fromkeys(profiles, 0)
        for name in nodes:
            by_profile[profile_of[name]] += 1
        await scheduler_load.delete_pods(connection, profile_of)
        if kind == "dra":
            await rivals_load.delete_claims(connection)
        return _Run(len(nodes), len(nodes) / took_s, spent, resident, by_profile)


def _pid(plane: ControlPlane, program: str) -> int:
    return next(child.pid for child in plane.children if child.name == program)


def _rss_mib(pid: int) -> float:
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    return int(fields["VmRSS"].split()[0]) / 1024
