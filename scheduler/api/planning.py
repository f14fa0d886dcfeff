"""The planner's routes: plan, capacity, repack and simulate, with the documents and answers of the commands.

Nothing is read or worked out here: a document goes to the planner as it came, with a snapshot of the cluster where the
question is about it, and the answer comes back as bytes. A client that goes away stops the work.
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Request, Response
from starlette.requests import ClientDisconnect

from allocator.planning.capacity.types import CapacityAnswer, CapacityDocument
from allocator.planning.plan.types import PlanAnswer, PlanDocument
from allocator.planning.repack.types import RepackAnswer, RepackDocument
from scheduler import body
from scheduler.api.context import Context
from scheduler.api.documentation import JSON, PLANNER, YAML, answers
from scheduler.api.documentation import body as documented
from scheduler.lock import caller
from scheduler.planner import tasks
from scheduler.planner.port import PlannerJob, ServedTask, Task

_Seconds = Annotated[
    float | None,
    Query(
        gt=0,
        le=3600,
        allow_inf_nan=False,
        description="how long the solver may search, if not as long as the command would; never past the deadline",
        examples=[5],
    ),
]
_CapacityDocument = Annotated[
    str, Query(description="the document of `migsched capacity`, JSON or YAML", examples=["{profiles: [3g.20gb]}"])
]
# A web page cannot send these without asking the server first; it can send text/plain, what forms send, and no type.
DOCUMENT_TYPES = (JSON, YAML, "application/x-yaml", "text/yaml", "text/x-yaml")
_MAYBE_CAPACITY = CapacityDocument | None  # null is what an empty YAML document says


def add(app: FastAPI, context: Context) -> list[Any]:
    """Serve them; the types of their documents and answers, for the OpenAPI document."""
    routes = PlannerRoutes(context)

    @app.post(
        "/api/v1/plan",
        tags=["planning"],
        operation_id="plan",
        responses=answers(PlanAnswer, *PLANNER),
        openapi_extra=documented(PlanDocument),
    )
    async def plan(request: Request, time_limit_s: _Seconds = None) -> Response:
        """How many GPUs a demand needs, and how each is cut; the answer may be that the stock is too small."""
        job = await routes.job(request, time_limit_s)
        return await routes.answer(request, tasks.plan, job, catalogues=True)

    @app.get(
        "/api/v1/capacity", tags=["planning"], operation_id="capacity", responses=answers(CapacityAnswer, *PLANNER)
    )
    async def capacity(request: Request, document: _CapacityDocument = "", time_limit_s: _Seconds = None) -> Response:
        """What fits on the cluster now, after a repack, and with more nodes; whether given pods fit together."""
        job = PlannerJob(document.encode(errors="replace"), is_json=False, time_limit_s=time_limit_s)
        return await routes.answer(request, tasks.capacity, job, cluster=True)

    @app.post(
        "/api/v1/capacity",
        tags=["planning"],
        operation_id="capacityOf",
        responses=answers(CapacityAnswer, *PLANNER),
        openapi_extra=documented(_MAYBE_CAPACITY, required=False),
    )
    async def capacity_of(request: Request, time_limit_s: _Seconds = None) -> Response:
        """The same for a document that is too long for a URL."""
        job = await routes.job(request, time_limit_s)
        return await routes.answer(request, tasks.capacity, job, cluster=True)

    @app.post(
        "/api/v1/repack",
        tags=["planning"],
        operation_id="repack",
        responses=answers(RepackAnswer, *PLANNER),
        openapi_extra=documented(RepackDocument),
    )
    async def repack(request: Request, time_limit_s: _Seconds = None) -> Response:
        """Which pods of the cluster to restart, in which order, to make room. A plan; nothing is carried out."""
        job = await routes.job(request, time_limit_s)
        return await routes.answer(request, tasks.repack, job, cluster=True)

    types = [PlanDocument, PlanAnswer, CapacityDocument, CapacityAnswer, RepackDocument, RepackAnswer]
    if context.simulate is not None:
        _add_simulate(app, routes, context.simulate)
        types += [context.simulate.document, context.simulate.answer]
    return types


def _add_simulate(app: FastAPI, routes: "PlannerRoutes", served: ServedTask) -> None:
    @app.post(
        "/api/v1/simulate",
        tags=["planning"],
        operation_id="simulate",
        responses=answers(served.answer, *PLANNER),
        openapi_extra=documented(served.document, required=False),
    )
    async def simulate(request: Request) -> Response:
        """How a placement policy would do on a generated workload."""
        return await routes.answer(request, served.task, await routes.job(request, None))


class PlannerRoutes:
    """What the routes have in common: a request becomes a job, the planner's answer a response."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def job(self, request: Request, time_limit_s: float | None) -> PlannerJob:
        """The job in a request's body. Raises HTTPException (415) for a type that is neither JSON nor YAML."""
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type not in DOCUMENT_TYPES:
            must = f"must be {JSON} or {YAML}"
            raise HTTPException(415, f"Content-Type: {content_type[:120]!r}: {must}")
        document = await body.read(request.receive, self._context.max_body, setting="api_max_body_mib")
        return PlannerJob(document, is_json=content_type == JSON, time_limit_s=time_limit_s)

    async def answer(
        self, request: Request, task: Task, job: PlannerJob, *, cluster: bool = False, catalogues: bool = False
    ) -> Response:
        """The planner's answer. `cluster`: it is about the cluster; `catalogues`: about its GPU models, if known."""
        context = self._context
        if cluster:
            context.need_cluster()

        async def complete() -> PlannerJob:
            known = await context.snapshots.catalogues() if catalogues and context.ready() else {}
            snapshot = await context.snapshots.text() if cluster else None
            return replace(job, snapshot=snapshot, catalogues=known)

        answer = await _while_connected(request, context.planner.submit(task, complete, caller.of(request.scope)))
        return Response(answer, media_type=JSON)


async def _while_connected(request: Request, work: Coroutine[None, None, bytes]) -> bytes:
    """What the work comes to. Raises ClientDisconnect, and stops the work, once the client is gone."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientDisconnect
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
