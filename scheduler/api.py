"""The capacity API's HTTP routes: what people, the command line and dashboards ask. OpenAPI comes from FastAPI.

Everything is read from the inventory between two awaits, so an answer is one consistent moment.
"""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, Field

from allocator import snapshot, snapshot_file
from allocator.snapshot import GpuView, NodeView
from allocator.snapshot_file import PodFacts, Saved
from scheduler import explain
from scheduler.metrics import Metrics
from scheduler.state import State


class SliceModel(BaseModel):
    """A slice, or a place promised to one."""

    profile: str = Field(examples=["1g.5gb"])
    start: int = Field(description="first memory slice", examples=[3])
    size: int = Field(description="memory slices", examples=[1])
    state: str = Field(description="reserved, bound, ready, releasing, idle, foreign or unclaimed", examples=["ready"])
    namespace: str = ""
    pod: str = ""
    container: str = ""
    uid: str = ""


class GpuModel(BaseModel):
    """One GPU and what is on it."""

    uuid: str
    index: int
    product: str
    model: str = Field(examples=["a100-40gb"])
    memory_slices: int
    mask: int = Field(description="one bit per taken memory slice", examples=[15])
    problem: str = Field(description="why it takes no new slices, or empty")
    slices: list[SliceModel]


class NodeModel(BaseModel):
    """One node with a MIG report."""

    name: str
    problem: str
    gpus: list[GpuModel]


class ExplanationModel(BaseModel):
    """Why a pod is where it is, or nowhere."""

    namespace: str
    pod: str
    uid: str
    request: str = Field(examples=["3g.20gb"])
    phase: str = Field(description="bound, pending or invalid", examples=["pending"])
    node: str
    reason: str = Field(description="plain words", examples=["3 nodes: no free 3g.20gb placement on any GPU"])
    nodes: dict[str, str] = Field(description="refused nodes and why, for a pending pod")
    slices: list[dict[str, Any]] = Field(description="its placements, for a bound pod")


class CapacityModel(BaseModel):
    """How many more slices of a profile fit now."""

    fits_now: dict[str, int] = Field(examples=[{"1g.5gb": 224, "3g.20gb": 64}])
    stranded_memory_slices: dict[str, int] = Field(description="by node: free, yet usable by no profile in demand")


def build(state: State, metrics: Metrics, ready: Callable[[], bool], refresh: Callable[[], None]) -> FastAPI:
    """The API's application."""
    app = FastAPI(
        title="migsched",
        summary="MIG capacity: what is where, what fits, and why a pod is pending.",
        version="v1",
    )
    _health_routes(app, metrics, ready, refresh)
    _capacity_routes(app, state)
    return app


def _health_routes(app: FastAPI, metrics: Metrics, ready: Callable[[], bool], refresh: Callable[[], None]) -> None:
    @app.get("/livez", tags=["health"])
    def livez() -> dict[str, str]:
        """Alive: the event loop answers."""
        return {"status": "ok"}

    @app.get("/readyz", tags=["health"], responses={503: {"description": "still reading the cluster"}})
    def readyz() -> dict[str, str]:
        """Ready: all caches are synced, so decisions are safe."""
        if not ready():
            raise HTTPException(503, "still reading the cluster")
        return {"status": "ok"}

    @app.get("/metrics", tags=["health"], response_class=Response)
    async def prometheus() -> Response:
        """Prometheus metrics."""
        refresh()
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)


def _capacity_routes(app: FastAPI, state: State) -> None:
    @app.get("/api/v1/nodes", tags=["capacity"])
    async def nodes() -> list[NodeModel]:
        """Every node with its GPUs and what is on them."""
        return [_node(node) for node in snapshot.take(state.inventory).nodes]

    @app.get("/api/v1/snapshot", tags=["capacity"], response_class=Response)
    async def saved() -> Response:
        """The cluster as a snapshot file: what `migsched capacity` and `migsched repack` plan with."""
        facts = {pod.uid: PodFacts(pod.movable, pod.priority) for pod in state.pods.values()}
        text = snapshot_file.encode(Saved(snapshot.take(state.inventory), facts))
        return Response(text, media_type="application/json")

    @app.get("/api/v1/capacity", tags=["capacity"])
    async def capacity() -> CapacityModel:
        """How many more slices of each profile fit now, each profile taken alone."""
        return CapacityModel(
            fits_now=dict(state.inventory.fleet.rooms()),
            stranded_memory_slices=dict(state.inventory.fleet.stranded(state.demanded())),
        )

    @app.get("/api/v1/explain", tags=["capacity"], responses={404: {"description": "no such MIG pod"}})
    async def explain_pod(
        pod: Annotated[str, Query(description="pod name, UID or namespace/name", examples=["default/triton-0"])],
    ) -> ExplanationModel:
        """Why a pod is pending, or where it lies."""
        found = explain.find(state, pod)
        if found is None:
            raise HTTPException(404, f"pod: {pod!r}: no MIG pod of that name or UID that is not over")
        return ExplanationModel(**explain.explain(state, found))

    @app.get("/api/v1/pods", tags=["capacity"])
    async def pods() -> list[ExplanationModel]:
        """Every MIG pod that is not over, with where it lies or why it is pending."""
        known = sorted(state.pods.values(), key=lambda p: (p.namespace, p.name))
        return [ExplanationModel(**explain.explain(state, one)) for one in known]


def _node(node: NodeView) -> NodeModel:
    return NodeModel(name=node.name, problem=node.problem, gpus=[_gpu(gpu) for gpu in node.gpus])


def _gpu(gpu: GpuView) -> GpuModel:
    return GpuModel(
        uuid=gpu.uuid,
        index=gpu.index,
        product=gpu.product,
        model=gpu.model,
        memory_slices=gpu.memory_slices,
        mask=gpu.mask,
        problem=gpu.problem,
        slices=[
            SliceModel(
                profile=one.placement.profile,
                start=one.placement.start,
                size=one.placement.size,
                state=one.state,
                namespace=one.namespace,
                pod=one.pod,
                container=one.container,
                uid=one.uid,
            )
            for one in gpu.occupants
        ],
    )
