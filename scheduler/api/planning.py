"""The planner's routes: plan, capacity, repack and simulate, with the documents and answers of the commands.

Nothing is read or worked out here: a document goes to the planner as it came, with a snapshot of the cluster where the
question is about it, and the answer comes back as bytes. A client that goes away stops the work.
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Annotated

from fastapi import FastAPI, Query, Request, Response
from starlette.requests import ClientDisconnect

from scheduler import body
from scheduler.api import documents
from scheduler.api.context import Context
from scheduler.api.documentation import JSON, PLANNER, answers
from scheduler.api.documentation import body as documented
from scheduler.api.planning_models import CapacityModel, PlanModel, RepackModel, SimulationModel
from scheduler.planner import tasks
from scheduler.planner.port import PlannerJob, Task

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
_Asked = Annotated[
    str, Query(description="the document of `migsched capacity`, JSON or YAML", examples=["{profiles: [3g.20gb]}"])
]


def add(app: FastAPI, context: Context) -> None:
    """Serve them."""
    desk = _Desk(context)

    @app.post(
        "/api/v1/plan",
        tags=["planning"],
        operation_id="plan",
        responses=answers(PlanModel, *PLANNER),
        openapi_extra=documented(documents.PLAN),
    )
    async def plan(request: Request, time_limit_s: _Seconds = None) -> Response:
        """How many GPUs a demand needs, and how each is cut; the answer may be that the stock is too small."""
        question = await desk.question(request, time_limit_s)
        return await desk.answer(request, tasks.plan, question, catalogues=True)

    @app.get("/api/v1/capacity", tags=["planning"], operation_id="capacity", responses=answers(CapacityModel, *PLANNER))
    async def capacity(request: Request, document: _Asked = "", time_limit_s: _Seconds = None) -> Response:
        """What fits on the cluster now, after a repack, and with more nodes; whether given pods fit together."""
        question = PlannerJob(document.encode(errors="replace"), is_json=False, time_limit_s=time_limit_s)
        return await desk.answer(request, tasks.capacity, question, cluster=True)

    @app.post(
        "/api/v1/capacity",
        tags=["planning"],
        operation_id="capacityOf",
        responses=answers(CapacityModel, *PLANNER),
        openapi_extra=documented(documents.CAPACITY, required=False),
    )
    async def capacity_of(request: Request, time_limit_s: _Seconds = None) -> Response:
        """The same for a document that is too long for a URL."""
        question = await desk.question(request, time_limit_s)
        return await desk.answer(request, tasks.capacity, question, cluster=True)

    @app.post(
        "/api/v1/repack",
        tags=["planning"],
        operation_id="repack",
        responses=answers(RepackModel, *PLANNER),
        openapi_extra=documented(documents.REPACK),
    )
    async def repack(request: Request, time_limit_s: _Seconds = None) -> Response:
        """Which pods of the cluster to restart, in which order, to make room. A plan; nothing is carried out."""
        question = await desk.question(request, time_limit_s)
        return await desk.answer(request, tasks.repack, question, cluster=True)

    if context.simulate is not None:
        _add_simulate(app, desk, context.simulate)


def _add_simulate(app: FastAPI, desk: "_Desk", task: Task) -> None:
    @app.post(
        "/api/v1/simulate",
        tags=["planning"],
        operation_id="simulate",
        responses=answers(SimulationModel, *PLANNER),
        openapi_extra=documented(documents.SIMULATE, required=False),
    )
    async def simulate(request: Request) -> Response:
        """How a placement policy would do on a generated workload."""
        return await desk.answer(request, task, await desk.question(request, None))


class _Desk:
    """Takes questions to the planner."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def question(self, request: Request, time_limit_s: float | None) -> PlannerJob:
        """What a request's body asks. What is not said to be JSON is read as YAML, of which JSON is a part."""
        document = await body.read(request.receive, self._context.max_body)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        return PlannerJob(document, is_json=kind == JSON, time_limit_s=time_limit_s)

    async def answer(
        self, request: Request, task: Task, question: PlannerJob, *, cluster: bool = False, catalogues: bool = False
    ) -> Response:
        """The planner's answer. `cluster`: it is about the cluster; `catalogues`: about its GPU models, if known."""
        context = self._context
        if cluster:
            context.need_cluster()

        async def complete() -> PlannerJob:
            known = await context.snapshots.catalogues() if catalogues and context.ready() else {}
            seen = await context.snapshots.text() if cluster else None
            return replace(question, snapshot=seen, catalogues=known)

        answer = await _while_connected(request, context.planner.ask(task, complete))
        return Response(answer, media_type=JSON)


async def _while_connected(request: Request, work: Coroutine[None, None, bytes]) -> bytes:
    """What the work comes to. Raises ClientDisconnect, and stops the work, once nobody waits for it."""
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
