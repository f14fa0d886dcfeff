"""The API's routes about the cluster as it is: nodes, pods, why a pod is pending, the snapshot file.

Answers about all nodes are made in small steps (`pace`): the extender does not wait for them. Each node and each pod
is of one moment.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import msgspec
from fastapi import FastAPI, Response
from fastapi.responses import StreamingResponse

from allocator.claims import node_document, snapshot
from scheduler import cooperative, explain
from scheduler.api.context import Context
from scheduler.api.documentation import JSON, answers
from scheduler.api.models import ExplanationModel, NodeModel
from scheduler.cooperative import paced


def add(app: FastAPI, context: Context) -> None:
    """Serve them."""
    state = context.state

    @app.get("/api/v1/nodes", tags=["cluster"], operation_id="nodes", responses=answers(list[NodeModel]))
    async def nodes() -> Response:
        """Every node with its GPUs and what is on them."""

        async def each() -> AsyncIterator[Any]:
            async for name in paced(sorted(seen.node for seen in state.inventory.reports())):
                seen = state.inventory.report(name)
                if seen is not None:  # it may be gone by now
                    view = replace(snapshot.view(state.inventory, seen), closed=state.why_closed(name))
                    yield node_document.encode(view)

        return await _array(each())

    @app.get("/api/v1/pods", tags=["cluster"], operation_id="pods", responses=answers(list[ExplanationModel]))
    async def pods() -> Response:
        """Every MIG pod that is not over, with where it lies or why it is pending; node by node it is in `explain`."""
        return await _array(explain.every(state))

    @app.get("/api/v1/snapshot", tags=["cluster"], operation_id="snapshot", responses=answers(dict[str, Any], 503))
    async def saved() -> Response:
        """The cluster as a snapshot file: what `migsched capacity` and `migsched repack` plan with."""
        context.need_cluster()
        return _streamed(await context.snapshots.text())


async def _array(items: AsyncIterator[Any]) -> Response:
    async def parts() -> AsyncIterator[bytes]:
        before = b"["
        async for item in items:
            yield before + msgspec.json.encode(item)
            before = b",\n"
        yield b"[]" if before == b"[" else b"]"

    return _streamed(await cooperative.blocks(parts()))


def _streamed(blocks: Sequence[bytes]) -> Response:
    async def each() -> AsyncIterator[bytes]:
        for block in blocks:
            yield block

    return StreamingResponse(each(), media_type=JSON)
