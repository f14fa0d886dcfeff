"""What the page's overview costs the service's event loop: the first look at all nodes, and a look at what changed.

Called by `migsched bench overview`. The planner is not asked: what it takes is measured elsewhere.
"""

import asyncio
import time
from dataclasses import replace
from typing import Any

from allocator.claims.bound_pod import BoundPod
from allocator.claims.placement_annotation import Promise
from allocator.claims.report import GpuReport, MigMode, NodeReport, Owner, Slice, SliceState
from allocator.eligibility.node import NodeFacts
from allocator.mig import gpu_models
from allocator.placement import policy
from allocator.request import Request, SliceRequest
from benchmarks.benchmark import Progress
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.known_pod import KnownPod
from scheduler.feed import Feed
from scheduler.metrics import Metrics
from scheduler.page.document import OverviewMay, OverviewMode
from scheduler.page.outlook import Outlook
from scheduler.page.watcher import OverviewWatcher
from scheduler.planner.pool import PlannerPool
from scheduler.planner.port import PoolLimits
from scheduler.snapshots import Snapshots
from simulator.cluster.memory_cluster.client import MemoryCluster
from simulator.cluster.memory_cluster.server import MemoryServer

MODEL, PROFILE = "a100-40gb", "3g.20gb"
GPUS = 8
_LOOKS = 5


def measure(nodes: int = 5_000, progress: Progress = lambda _: None) -> dict[str, Any]:
    """{nodes, slices, document_mib, whole_s, unchanged_ms, change_ms, ratio}."""
    progress(f"overview: making {nodes} nodes with {nodes * GPUS} slices")
    state = ClusterCache(policy.DEFAULT, lambda: None)
    for number in range(nodes):
        _add_node(state, f"node-{number:05}")
    return asyncio.run(_measure(state, nodes))


async def _measure(state: ClusterCache, nodes: int) -> dict[str, Any]:
    feed = Feed()
    planner = PlannerPool(PoolLimits(), Metrics())
    outlook = Outlook(state, Snapshots(state, MemoryCluster(MemoryServer())), planner)
    watcher = OverviewWatcher(state, feed, outlook, mode=OverviewMode.EXTENDER, may=OverviewMay())
    whole_s = await _timed(watcher)
    document = sum(map(len, feed.document()))
    unchanged, changed = [], []
    for look in range(_LOOKS):
        unchanged.append(await _timed(watcher))
        name = f"node-{look:05}"
        report = state.inventory.report(name)
        assert report is not None
        freed = replace(report.gpus[0], slices=())
        state.inventory.observe(NodeReport(name, (freed, *report.gpus[1:])))
        changed.append(await _timed(watcher))
    change_s = sorted(changed)[_LOOKS // 2]
    await planner.close()
    return {
        "nodes": nodes,
        "slices": nodes * GPUS,
        "document_mib": round(document / 2**20, 1),
        "whole_s": round(whole_s, 2),
        "unchanged_ms": round(sorted(unchanged)[_LOOKS // 2] * 1e3, 1),
        "change_ms": round(change_s * 1e3, 1),
        "ratio": round(whole_s / change_s, 1),
    }


async def _timed(watcher: OverviewWatcher) -> float:
    began = time.thread_time()
    await watcher.look()
    return time.thread_time() - began


def _add_node(state: ClusterCache, name: str) -> None:
    """A node whose GPUs have one slice each, of pods that run."""
    catalogue = gpu_models.find(MODEL)
    gpus, pods = [], []
    for index in range(GPUS):
        gpu, uid, title = f"{name}-gpu-{index}", f"{name}-uid-{index}", f"{name}-pod-{index}"
        owner = Owner("default", title, uid, "main")
        slice_ = Slice(catalogue.placement(PROFILE, 0), SliceState.ALLOCATED, owner)
        gpus.append(GpuReport(gpu, index, MODEL, MigMode.ENABLED, catalogue, (slice_,)))
        request = Request((SliceRequest("main", PROFILE),))
        pods.append(BoundPod(uid, "default", title, name, request, (Promise("main", gpu, PROFILE, 0),)))
        service = f"Deployment/{title.rpartition('-')[0]}"
        state.pods[uid] = KnownPod(uid, "default", title, name, 0, movable=True, request=request, service=service)
    state.inventory.nodes.add(name)
    state.nodes[name] = NodeFacts(name)
    state.inventory.observe(NodeReport(name, tuple(gpus)))
    for pod in pods:
        state.inventory.adopt(pod)
