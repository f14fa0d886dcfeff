"""Moves on a genuine control plane: what they add to acceptance, how long they take, and what they cost scheduling.

Called by `migsched bench moves` and `bench all`. Acceptance: the jobs of a replay, one after the other, on a real
kube-scheduler with our queue. A job that finds no room gets a Repack of so many moves at most, as the page's Fix makes
it; where there is no plan it is lost, and its end comes when the replay says. Beside it stands the replay itself, with
the same jobs. Throughput: bursts of pods on some nodes, in turn with and without moves going on on others.
"""

import asyncio
import heapq
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from allocator.mig import geometry, gpu_models
from allocator.placement import policy
from allocator.queueing.queued_pod import GATE
from benchmarks import moves_cluster, rivals_load, scheduler_load
from benchmarks.benchmark import Progress
from benchmarks.moves_cluster import MovesCluster
from config import logs
from replay import engine, mix
from replay.engine import Rules
from replay.generated import Generated
from replay.job import Job
from replay.pool import GpuPool
from replay.tally import Tally

MODEL = scheduler_load.MODEL
MIX = "bimodal"  # small and whole ones alike often: what fragments most
NODES, GPUS = 2, 4
WARMUP = 20  # jobs that are not counted
MOST_MOVES = (0, 1, 2)
MOVERS, MOVER = 6, "1g.5gb"
_LIMIT_S, _QUIET_S = 120.0, 15.0
_SELDOM_S = 0.2  # between two looks at a Repack while bursts are measured
_LIFETIME_S = 3600.0
_SELECTOR = "bench.migsched.io/role"


@dataclass(slots=True)
class _Outcome:
    """What became of the counted jobs of some runs."""

    offered: int = 0
    accepted: int = 0
    by_moves: int = 0
    restarts: int = 0
    simulated: int = 0
    seconds: list[float] = field(default_factory=list)  # from the Repack to Running


def measure(
    seeds: int, jobs: int, *, nodes: int = 20, pods: int = 300, runs: int = 12, progress: Progress = lambda _: None
) -> list[dict[str, Any]]:
    """A row for each number of moves, over `seeds` runs of `jobs` counted jobs, and one for the throughput of bursts of
    `pods` on `nodes` nodes, `runs` of each kind; none of the latter without runs.
    """
    return asyncio.run(_measure(seeds, jobs, nodes, pods, runs, progress))


async def _measure(seeds: int, jobs: int, nodes: int, pods: int, runs: int, progress: Progress) -> list[dict[str, Any]]:
    logs.configure("console", "error")  # of the agents and kubelets, which run here
    rows: list[dict[str, Any]] = []
    async with moves_cluster.start(NODES, GPUS, progress) as cluster:
        for most in MOST_MOVES:
            outcome = _Outcome()
            for seed in range(seeds):
                await _accept(cluster, _jobs(seed, WARMUP + jobs), most, f"m{most}-s{seed}", outcome)
                outcome.simulated += _simulated(seed, WARMUP + jobs, most)
                told = f"{outcome.accepted} of {outcome.offered} accepted, {outcome.by_moves} by moves"
                progress(f"moves: {most} at most, seed {seed + 1}/{seeds}: {told}; simulated {outcome.simulated}")
            without = rows[0]["acceptance"] if rows else outcome.accepted / outcome.offered
            rows.append(_row(most, seeds, outcome, without))
    if runs:
        rows.append(await _throughput(nodes, pods, runs, progress))
    return rows


# --- acceptance


def _workload() -> Generated:
    shares = mix.shares(MIX, gpu_models.find(MODEL))
    return Generated(shares, lifetime_s=_LIFETIME_S, warmup=0.0, horizon=1e5)


def _jobs(seed: int, number: int) -> list[Job]:
    workload = _workload()
    compiled = geometry.compiled(gpu_models.find(MODEL).restricted(workload.profiles))
    return list(islice(workload.jobs(compiled, NODES * GPUS, seed), number))


async def _accept(cluster: MovesCluster, jobs: Sequence[Job], most: int, run: str, outcome: _Outcome) -> None:
    """Offer the jobs of one run in their order; the cluster is empty before and after."""
    profiles = geometry.compiled(gpu_models.find(MODEL).restricted(_workload().profiles)).profiles
    ends: list[tuple[float, str]] = []
    for number, job in enumerate(jobs):
        while ends and ends[0][0] <= job.arrival_s:
            await cluster.end(heapq.heappop(ends)[1])
        name, is_counted = f"{run}-{number}", number >= WARMUP
        counted = outcome if is_counted else _Outcome()
        counted.offered += 1
        if await _offer(cluster, name, profiles[job.profiles[0]], most, counted):
            counted.accepted += 1
            heapq.heappush(ends, (job.arrival_s + job.duration_s, name))
        else:
            await cluster.end(name)
    for _, name in ends:
        await cluster.end(name)


async def _offer(cluster: MovesCluster, job: str, profile: str, most: int, outcome: _Outcome) -> bool:
    """Whether a job got to run, with moves if it needs them."""
    await cluster.begin(job, profile)
    if await cluster.fits(job):
        return True
    if not most:
        return False
    meta = (await cluster.pod(job))["metadata"]
    wanted = {
        "requests": [{"name": job, "profiles": {profile: 1}}],
        "pod": {"namespace": meta["namespace"], "name": meta["name"], "uid": meta["uid"]},
    }
    began = time.perf_counter()
    await cluster.repack(job, {"wanted": wanted, "budgets": {"moves": most}})
    status = await cluster.repacked(job)
    if status["phase"] != "Done":
        return False
    await cluster.until(lambda: cluster.runs(job), f"{job} runs after its moves")
    outcome.seconds.append(time.perf_counter() - began)
    outcome.by_moves += 1
    outcome.restarts += sum(step["state"] == "confirmed" for step in status.get("steps", ()))
    return True


class _Counted(Tally):
    """A tally that counts the jobs after the warm-up, by their number."""

    numbers = 0
    taken = 0

    def offer(self, profile: int, arrival_s: float) -> None:
        """The next job."""
        self.numbers += 1
        super().offer(profile, arrival_s)

    def accept(self, profile: int, arrival_s: float, now_s: float, moves: int) -> None:
        """The job that was offered last got a slice."""
        self.taken += self.numbers > WARMUP
        super().accept(profile, arrival_s, now_s, moves)


def _simulated(seed: int, number: int, most: int) -> int:
    """How many of the counted jobs the replay accepts with so many moves."""
    workload = _workload()
    compiled = geometry.compiled(gpu_models.find(MODEL).restricted(workload.profiles))
    tally = _Counted(compiled, NODES * GPUS, workload.window_s)
    pool = GpuPool(compiled, NODES * GPUS, policy.DEFAULT)
    engine.replay(_jobs(seed, number), pool, Rules(moves=most), tally)
    return tally.taken


def _row(most: int, seeds: int, outcome: _Outcome, without: float) -> dict[str, Any]:
    """`without` is the acceptance without moves."""
    acceptance = outcome.accepted / outcome.offered
    return {
        "what": ("no moves", "1 move", "2 moves")[most],
        "runs": seeds,
        "jobs": outcome.offered,
        "acceptance": round(acceptance, 4),
        "gain": round(acceptance - without, 4),
        "simulated": round(outcome.simulated / outcome.offered, 4),
        "difference": round(abs(outcome.accepted - outcome.simulated) / outcome.offered, 4),
        "served_by_moves": outcome.by_moves,
        "restarts_per_served": round(outcome.restarts / outcome.by_moves, 3) if outcome.by_moves else None,
        "fix_p50_s": round(statistics.median(outcome.seconds), 2) if outcome.seconds else None,
        "fix_longest_s": round(max(outcome.seconds), 2) if outcome.seconds else None,
    }


# --- throughput


async def _throughput(nodes: int, pods: int, runs: int, progress: Progress) -> dict[str, Any]:
    """Bursts on all but two nodes, in turn without and with moves between these two."""
    quiet, moving, made = [], [], 0
    async with moves_cluster.start(nodes + 2, scheduler_load.GPUS_PER_NODE, progress) as cluster:
        names = [f"node-{number:0{len(str(nodes + 2))}}" for number in range(1, nodes + 3)]
        for number, name in enumerate(names):
            await cluster.label(name, {_SELECTOR: "moves" if number < 2 else "burst"})
        await cluster.begin("mover", MOVER, {_SELECTOR: "moves"}, MOVERS)
        await cluster.until(lambda: cluster.runs("mover"), "the pods that are moved run")
        await _burst(cluster, pods // 4, "warm")
        for run in range(runs):
            for is_moving in (False, True) if run % 2 == 0 else (True, False):
                if is_moving:
                    async with _moving(cluster, names[:2], f"r{run}") as moved:
                        moving.append(await _burst(cluster, pods, f"b{run}-moving"))
                        made += moved[0]
                else:
                    quiet.append(await _burst(cluster, pods, f"b{run}-quiet"))
            told = f"{quiet[-1]:.1f} pods/s without moves, {moving[-1]:.1f} with; {made} moves so far"
            progress(f"moves: burst {run + 1}/{runs}: {told}")
    return {
        "what": "throughput",
        "runs": runs,
        "pods_per_s": round(statistics.median(quiet), 1),
        "pods_per_s_moving": round(statistics.median(moving), 1),
        "throughput_ratio": round(statistics.median(m / q for m, q in zip(moving, quiet, strict=True)), 3),
        "moves_made": made,
    }


async def _burst(cluster: MovesCluster, number: int, prefix: str) -> float:
    """Pods bound per second of so many that are created at once; afterwards they are gone."""
    names = [f"{prefix}-{one}" for one in range(number)]
    bindings = rivals_load.Bindings(cluster.connection, names)
    await bindings.start()
    began = time.perf_counter()
    documents = (scheduler_load.pod(name, "default-scheduler", "nvidia.com/mig-1g.5gb", GATE) for name in names)
    await scheduler_load.create_pods(
        cluster.connection,
        ({**pod, "spec": {**pod["spec"], "nodeSelector": {_SELECTOR: "burst"}}} for pod in documents),
    )
    bound = await bindings.settle(limit_s=_LIMIT_S, quiet_s=_QUIET_S)
    took_s = max(1e-3, bindings.last_at - began)
    await scheduler_load.delete_pods(cluster.connection, names)
    await cluster.until(lambda: cluster.has_only(MOVERS), "the slices of the burst are free")
    return len(bound) / took_s


@asynccontextmanager
async def _moving(cluster: MovesCluster, names: Sequence[str], prefix: str) -> AsyncIterator[list[int]]:
    """The movers are moved from one node to the other and back, one at a time as is the default, as long as the block;
    how many moves so far.
    """
    made, stop = [0], asyncio.Event()

    async def move() -> None:
        number = 0
        while not stop.is_set():
            name = f"{prefix}-{number}"
            empty = {"wanted": {"empty": {"nodes": [names[number % 2]]}}, "budgets": {"moves": MOVERS}}
            await cluster.repack(name, empty)
            status = await cluster.repacked(name, _SELDOM_S)
            made[0] += sum(step["state"] == "confirmed" for step in status.get("steps", ()))
            number += 1

    task = asyncio.create_task(move())
    try:
        await cluster.until(lambda: _has_begun(made, task), "the first move")
        yield made
    finally:
        stop.set()
        await task


async def _has_begun(made: Sequence[int], task: asyncio.Task[None]) -> bool:
    if task.done():
        task.result()
    return made[0] > 0
