"""The cluster of docs/examples/cluster.json as Kubernetes would hold it, and the service over it."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from allocator.claims import contract, placement_annotation
from allocator.placement import policy
from kubeclient.reviews import Reviews
from scheduler import settings
from scheduler.api import Context, build
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.feed import Feed
from scheduler.metrics import Metrics
from scheduler.page.repack_actions import RepackActions
from scheduler.planner.pool import PlannerPool
from scheduler.planner.port import PoolLimits
from scheduler.service import Service
from scheduler.snapshots import Snapshots
from simulator import planner_tasks
from simulator.cluster import api
from simulator.cluster.api import Document
from simulator.cluster.memory_cluster.client import MemoryCluster
from simulator.cluster.memory_cluster.server import MemoryServer
from tests.builders import NodeBuilder, node
from tests.waiting import eventually

SNAPSHOT = Path(__file__).parents[3] / "docs" / "examples" / "cluster.json"
NODES: tuple[NodeBuilder, ...] = (
    node("gpu-1")
    .gpu()
    .allocated("3g.20gb", 0, pod="chat-1", container="c0")
    .allocated("1g.5gb", 4, pod="etl", container="c0")
    .gpu()
    .allocated("3g.20gb", 0, pod="chat-2", container="c0")
    .idle("1g.5gb", 5),
    node("gpu-2")
    .gpu()
    .allocated("4g.20gb", 0, pod="train", container="c0")
    .allocated("1g.5gb", 6, pod="notebook", container="c0"),
)
OFFERED = {
    "allocatable": {"cpu": "64", "memory": "256Gi", "ephemeral-storage": "500Gi", "pods": "110"},
    "conditions": [{"type": "Ready", "status": "True"}],
}
PODS = {  # name: node, GPU, profile, start, movable
    "chat-1": ("gpu-1", "gpu-1-gpu-0", "3g.20gb", 0, True),
    "chat-2": ("gpu-1", "gpu-1-gpu-1", "3g.20gb", 0, False),
    "etl": ("gpu-1", "gpu-1-gpu-0", "1g.5gb", 4, True),
    "notebook": ("gpu-2", "gpu-2-gpu-0", "1g.5gb", 6, True),
    "train": ("gpu-2", "gpu-2-gpu-0", "4g.20gb", 0, False),
}


class RunningService:
    """The running service, its cluster, and a client of its API."""

    def __init__(
        self, server: MemoryServer, cluster: MemoryCluster, service: Service, client: httpx.AsyncClient
    ) -> None:
        self.server = server
        self.cluster = cluster
        self.service = service
        self.client = client
        self.uids = {one.document["metadata"]["uid"]: one.document["metadata"]["name"] for one in server.list(api.POD)}

    def plain(self, text: str) -> str:
        """An answer with the pods' UIDs as the examples have them."""
        for uid, name in self.uids.items():
            text = text.replace(uid, f"uid-{name}")
        return text


def example_cluster() -> MemoryServer:
    """An API server with the example's nodes, pods and budget."""
    server = MemoryServer()
    for one in (_pod(name, *where) for name, where in PODS.items()):
        server.create(api.POD, one)
    owners = {one.document["metadata"]["name"]: one.document["metadata"]["uid"] for one in server.list(api.POD)}
    for built in NODES:
        server.create(api.NODE, {"metadata": {"name": built.name}, "status": OFFERED})
        server.create(api.MIG_NODE, {"metadata": {"name": built.name}})
        status = contract.encode_status(built.report(), agent_version="test", mode="simulated")
        server.patch_status(api.MIG_NODE, built.name, {"status": _owned(status, owners)})
    budget = {"metadata": {"name": "budget-0"}, "spec": {"selector": {"matchLabels": {"app": "chat"}}}}
    server.create(api.DISRUPTION_BUDGET, budget)
    allowed = {"disruptionsAllowed": 1, "observedGeneration": 0}
    server.patch_status(api.DISRUPTION_BUDGET, "budget-0", {"status": allowed}, "default")
    waiting = _pod("analysis", "", "", "7g.40gb", 0, False)
    server.create(api.POD, waiting)
    return server


def _pod(name: str, where: str, gpu: str, profile: str, start: int, movable: bool) -> Document:
    app = name.partition("-")[0]
    meta: Document = {"name": name, "namespace": "default", "labels": {"app": app}, "annotations": {}}
    if app == "chat":
        meta["labels"]["pod-template-hash"] = "7d9f"
        meta["ownerReferences"] = [{"kind": "ReplicaSet", "name": "chat-7d9f", "controller": True, "uid": "rs"}]
    elif movable:  # whoever is moved comes anew
        meta["ownerReferences"] = [{"kind": "StatefulSet", "name": app, "controller": True, "uid": app}]
    if movable:
        meta["annotations"][contract.MOVABLE_ANNOTATION] = "true"
    if where:
        promise = placement_annotation.Promise("c0", gpu, profile, start)
        meta["annotations"][contract.PLACEMENT_ANNOTATION] = placement_annotation.encode([promise])
    limits = {f"nvidia.com/mig-{profile}": "1"}
    container = {"name": "c0", "image": "none", "resources": {"limits": limits}}
    return {"metadata": meta, "spec": {"nodeName": where, "schedulerName": "migsched", "containers": [container]}}


def _owned(value: Any, owners: dict[str, str]) -> Any:
    """A status whose owners have the UIDs that the API server gave."""
    if isinstance(value, dict):
        return {key: _owned(one, owners) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_owned(one, owners) for one in value]
    return owners.get(value.removeprefix("uid-"), value) if isinstance(value, str) and value[:4] == "uid-" else value


@asynccontextmanager
async def running(
    *, apart: bool = False, reviews: Reviews | None = None, trust: ssl.SSLContext | bool = True, **changes: Any
) -> AsyncIterator[RunningService]:
    """The service over the example cluster, synced. Its planner is as important as the tests beside it.

    `apart` has the API served as in production, by a process of its own. `reviews` is whom its lock asks, and `trust`
    what the client takes for its certificate.
    """
    server = example_cluster()
    changes = {"shutdown_s": 0.05, "planner_nice": 0, **changes}
    chosen = settings.load(extender_port=0, api_port=0, api_host="127.0.0.1", **changes)
    cluster = MemoryCluster(server)
    service = Service(chosen, cluster, planner_tasks.SIMULATE, api_apart=apart, reviews=reviews)
    await service.start()
    try:
        await service.synced()
        await eventually(lambda: len(service.state.inventory.ledger) == len(PODS), "all pods are adopted")
        await eventually(lambda: service.feed.is_known, "the page has its overview")
        async with httpx.AsyncClient(base_url=service.api_url, timeout=60, trust_env=False, verify=trust) as client:
            yield RunningService(server, cluster, service, client)
    finally:
        await service.stop()


def document() -> Document:
    """The OpenAPI document of a service that has not started."""
    return application().openapi()


def application() -> FastAPI:
    """The API of a service that has not started."""
    state, metrics = ClusterCache(policy.DEFAULT, lambda: None), Metrics()
    cluster = MemoryCluster(MemoryServer())
    context = Context(
        state=state,
        metrics=metrics,
        ready=lambda: False,
        refresh=lambda: None,
        snapshots=Snapshots(state, cluster),
        planner=PlannerPool(PoolLimits(), metrics),
        simulate=planner_tasks.SIMULATE,
        max_body=1,
        feed=Feed(),
        repacks=RepackActions(state, cluster, None),
    )
    return build(context)
