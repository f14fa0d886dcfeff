"""The queue's cycle over a large cluster, measured in a process of its own so that its memory is its own.

`python -m benchmarks.servers.queue_process NODES QUEUED` prints one JSON list of rows. Started by `benchmarks.cycles`.
The cache and the cycle are the real ones; the API server is in memory, and its work is in the figures of releases.
"""

import asyncio
import gc
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import msgspec

from allocator.eligibility.amounts import Amounts
from allocator.eligibility.node import NodeFacts
from allocator.queueing.queued_pod import GATE
from benchmarks.servers.extender_server import half_full
from config import logs
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.port import WatchedKind
from scheduler.metrics import Metrics
from scheduler.queueing.cycle import QueueCycle
from scheduler.queueing.options import QueueOptions
from simulator.cluster import api
from simulator.cluster.memory_cluster.client import MemoryCluster
from simulator.cluster.memory_cluster.server import MemoryServer

KINDS = 500  # of pods that fit nowhere: different CPU
NAMESPACES = 50
FITTING = 500  # pods that find a place
_ALLOCATABLE = Amounts(128_000, 1 << 40, 1 << 42, 1_000)
_TOO_MANY = {"nvidia.com/mig-7g.40gb": "9"}  # of a node with eight GPUs
_SMALL = {"nvidia.com/mig-1g.5gb": "1"}


async def measure(nodes: int, queued: int) -> list[dict[str, Any]]:
    """A row per situation: {nodes, queued, what, cpu_ms, longest_step_ms, rss_mib}."""
    state = _cluster(nodes)
    before_mib = _rss_mib()
    server = MemoryServer()
    for number in range(queued):
        server.create(api.POD, _pod(f"waits-{number}", number, _TOO_MANY, f"{1_000 + number % KINDS}m"))
    client = MemoryCluster(server)
    state.expect(WatchedKind.POD)
    cycle = QueueCycle(state, client, Metrics(), QueueOptions(window_s=0, return_s=10, patience_s=0))
    await state.replace(WatchedKind.POD, await client.list(WatchedKind.POD))
    gc.collect()
    gc.freeze()
    common = {"nodes": nodes, "queued": queued}
    rows = [
        common | {"what": "all looked at for the first time"} | await _clocked(cycle.step()),
        common | {"what": "nothing has changed"} | await _clocked(cycle.step()),
    ]
    state.inventory.refuse(next(iter(state.inventory.ledger)).uid)
    rows.append(common | {"what": "room arose on one GPU"} | await _clocked(cycle.step()))
    for number in range(FITTING):
        server.create(api.POD, _pod(f"fits-{number}", number, _SMALL, "1"))
    await state.replace(WatchedKind.POD, await client.list(WatchedKind.POD))
    rows.append(common | {"what": f"{FITTING} pods find places"} | await _clocked(_released(cycle)))
    return [row | {"rss_mib": round(_rss_mib()), "rss_before_pods_mib": round(before_mib)} for row in rows]


async def _released(cycle: QueueCycle) -> None:
    """One cycle, and its releases to their ends."""
    await cycle.step()
    await cycle.drain(60)


async def _clocked(work: Coroutine[Any, Any, None]) -> dict[str, float]:
    """Processor time of some work, and the longest time for which it did not give the event loop back."""
    longest_s = 0.0

    async def watch() -> None:
        nonlocal longest_s
        while True:
            seen = time.perf_counter()
            await asyncio.sleep(0)
            longest_s = max(longest_s, time.perf_counter() - seen)

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0)
    began = time.process_time()
    await work
    spent = time.process_time() - began
    watching.cancel()
    return {"cpu_ms": round(1e3 * spent, 1), "longest_step_ms": round(1e3 * longest_s, 1)}


def _cluster(nodes: int) -> ClusterCache:
    state = half_full(nodes)
    state.used.complete = True
    for name in state.inventory.nodes:
        state.nodes[name] = NodeFacts(name, labels={"kubernetes.io/hostname": name}, allocatable=_ALLOCATABLE)
    return state


def _pod(name: str, number: int, limits: dict[str, str], cpu: str) -> dict[str, Any]:
    resources = {"limits": {**limits, "cpu": cpu}, "requests": {"cpu": cpu}}
    return {
        "metadata": {"name": name, "namespace": f"team-{number % NAMESPACES}"},
        "spec": {
            "containers": [{"name": "main", "image": "none", "resources": resources}],
            "schedulingGates": [{"name": GATE}],
            "priority": number % 3,
        },
    }


def _rss_mib() -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def main(nodes: str, queued: str) -> None:
    """Measure and print."""
    logs.configure("json", "error")
    sys.stdout.write(msgspec.json.encode(asyncio.run(measure(int(nodes), int(queued)))).decode() + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
