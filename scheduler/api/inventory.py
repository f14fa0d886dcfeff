"""The API's routes about the cluster as it is: nodes, pods, why a pod is pending, the snapshot file.

Answers about all nodes are made in small steps (`pace`): the extender does not wait for them. Each node and each pod
is of one moment.
"""

from typing import Annotated, Any

import msgspec
from fastapi import FastAPI, HTTPException, Query, Response

from allocator import snapshot
from scheduler import explain
from scheduler.api.context import Context
from scheduler.api.documentation import JSON, answers
from scheduler.api.models import ExplanationModel, NodeModel
from scheduler.pace import paced


def add(app: FastAPI, context: Context) -> None:
    """Serve them."""
    state = context.state

    @app.get("/api/v1/nodes", tags=["cluster"], operation_id="nodes", responses=answers(list[NodeModel]))
    async def nodes() -> Response:
        """Every node with its GPUs and what is on them."""
        parts = []
        async for name in paced(sorted(seen.node for seen in state.inventory.reports())):
            seen = state.inventory.report(name)
            if seen is not None:  # it may be gone by now
                parts.append(msgspec.json.encode(snapshot.to_document(snapshot.view(state.inventory, seen))))
        return _array(parts)

    @app.get("/api/v1/pods", tags=["cluster"], operation_id="pods", responses=answers(list[ExplanationModel]))
    async def pods() -> Response:
        """Every MIG pod that is not over, with where it lies or why it is pending; node by node it is in `explain`."""
        return _array([msgspec.json.encode(one) async for one in paced(explain.every(state))])

    @app.get("/api/v1/explain", tags=["cluster"], operation_id="explain", responses=answers(ExplanationModel, 400, 404))
    async def explain_pod(
        pod: Annotated[str, Query(description="pod name, UID or namespace/name", examples=["default/chat-1"])],
    ) -> Response:
        """Why a pod is pending, or where it lies."""
        found = explain.find(state, pod)
        if found is None:
            raise HTTPException(404, f"pod: {pod!r}: no MIG pod of that name or UID that is not over")
        return Response(msgspec.json.encode(explain.explain(state, found)), media_type=JSON)

    @app.get("/api/v1/snapshot", tags=["cluster"], operation_id="snapshot", responses=answers(dict[str, Any], 503))
    async def saved() -> Response:
        """The cluster as a snapshot file: what `migsched capacity` and `migsched repack` plan with."""
        context.need_cluster()
        return Response(await context.snapshots.text(), media_type=JSON)


def _array(parts: list[bytes]) -> Response:
    return Response(b"[" + b",\n".join(parts) + b"]", media_type=JSON)
