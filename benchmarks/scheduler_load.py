"""The load of the scheduler benchmark: nodes, MigNodes and pods on a real API server, and a watch that sees them
bound.

Called by `benchmarks.scheduler`. No agents run: what is measured is scheduling, so reports are written once and
bound pods stay as they are until they are deleted.
"""

import asyncio
import time
from collections.abc import Awaitable, Iterable
from typing import Any
from urllib.parse import quote

import msgspec

from allocator import errors
from allocator.claims import contract, report
from allocator.mig import gpu_models
from kubeclient.changes import ChangeType
from kubeclient.kube import MERGE_PATCH, Connection
from scheduler.cache.kube import PATHS
from scheduler.cache.port import WatchedKind

MODEL = "a100-40gb"
GPUS_PER_NODE = 8
NAMESPACE = "default"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"


class _Meta(msgspec.Struct):
    name: str
    resource_version: str = msgspec.field(default="", name="resourceVersion")


class _Spec(msgspec.Struct):
    node_name: str = msgspec.field(default="", name="nodeName")


class _Pod(msgspec.Struct):
    metadata: _Meta
    spec: _Spec


async def create_nodes(connection: Connection, names: Iterable[str]) -> None:
    """Nodes with static slice counts, and a MigNode with empty GPUs for each."""
    catalogue = gpu_models.find(MODEL)
    counts = {p.resource: str(p.max_instances * GPUS_PER_NODE) for p in catalogue.profiles}
    allocatable = {"cpu": "128", "memory": "1024Gi", "pods": "500", **counts}

    async def create(name: str) -> None:
        node = {
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
            "status": {"allocatable": allocatable, "capacity": allocatable},
        }
        await connection.request("POST", PATHS[WatchedKind.NODE], body=msgspec.json.encode(node))
        gpus = tuple(
            report.GpuReport(f"GPU-{name}-{g}", g, "NVIDIA A100-SXM4-40GB", report.MigMode.ENABLED, catalogue)
            for g in range(GPUS_PER_NODE)
        )
        group = f"{contract.GROUP}/{contract.VERSION}"
        mig_node = {"apiVersion": group, "kind": "MigNode", "metadata": {"name": name}}
        await connection.request("POST", PATHS[WatchedKind.MIG_NODE], body=msgspec.json.encode(mig_node))
        status = contract.encode_status(report.NodeReport(name, gpus), agent_version="bench", mode="simulated")
        path = f"{PATHS[WatchedKind.MIG_NODE]}/{quote(name)}/status"
        await connection.request("PATCH", path, body=msgspec.json.encode({"status": status}), content_type=MERGE_PATCH)

    await _all(create(name) for name in names)


def pod(name: str, scheduler: str, resource: str, gate: str = "") -> dict[str, Any]:
    """A pod asking for one slice, held by a scheduling gate if one is named."""
    gates = {"schedulingGates": [{"name": gate}]} if gate else {}
    return {
        "metadata": {"name": name, "labels": {"app": "bench"}},
        "spec": {
            "schedulerName": scheduler,
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "image": "bench", "resources": {"limits": {resource: "1"}}}],
            **gates,
        },
    }


async def create_pods(connection: Connection, pods: Iterable[dict[str, Any]]) -> None:
    """All of them, as fast as the API server takes them."""
    await _all(connection.request("POST", PODS, body=msgspec.json.encode(document)) for document in pods)


async def delete_pods(connection: Connection, names: Iterable[str]) -> None:
    """All of them at once; those that are gone are no error."""
    now = msgspec.json.encode({"gracePeriodSeconds": 0})

    async def delete(name: str) -> None:
        try:
            await connection.request("DELETE", f"{PODS}/{name}", body=now)
        except errors.NotFoundError:
            return

    await _all(delete(name) for name in names)


class BoundWatch:
    """Sees pods get their node; a task of its own, so that the clock stops when the last one is bound."""

    def __init__(self, connection: Connection, names: Iterable[str]) -> None:
        self._connection = connection
        self._left = set(names)
        self._done = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.finished_at = 0.0

    async def start(self) -> None:
        """Begin to watch from now on."""
        listing = msgspec.json.decode(await self._connection.request("GET", PODS, query={"limit": "1"}))
        self._task = asyncio.create_task(self._follow(listing["metadata"]["resourceVersion"]))

    async def wait(self, deadline_s: float) -> None:
        """Until all are bound. Raises TimeoutError naming how many are not."""
        try:
            async with asyncio.timeout(deadline_s):
                await self._done.wait()
        except TimeoutError as error:
            raise TimeoutError(f"{len(self._left)} pods are not bound after {deadline_s} s") from error
        finally:
            if self._task is not None:
                self._task.cancel()

    async def _follow(self, version: str) -> None:
        while self._left:
            async for type_, raw in self._connection.watch_raw(PODS, version):
                if type_ is ChangeType.BOOKMARK:
                    continue
                changed = msgspec.json.decode(raw, type=_Pod)
                version = changed.metadata.resource_version
                if changed.spec.node_name:
                    self._left.discard(changed.metadata.name)
                if not self._left:
                    self.finished_at = time.perf_counter()
                    self._done.set()
                    return


async def _all(calls: Iterable[Awaitable[object]], at_once: int = 64) -> None:
    """Run them, so many at once; the first error ends it."""
    slots = asyncio.Semaphore(at_once)

    async def bounded(call: Awaitable[object]) -> None:
        async with slots:
            await call

    await asyncio.gather(*(bounded(call) for call in calls))
