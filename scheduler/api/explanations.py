"""The API's routes about why: one pod's explanation, the pods that wait, and the cheapest remedy for one of them.

An explanation is made in small steps on the event loop. A remedy is searched by the planner, in its own process.
"""

from typing import Annotated, Any

import msgspec
from fastapi import FastAPI, HTTPException, Query, Request, Response

from allocator import errors
from allocator.planning.remedy.types import RemedyAnswer
from kubeclient.objects import Pod
from scheduler import explain
from scheduler.api import remedy_job
from scheduler.api.context import Context
from scheduler.api.documentation import JSON, PLANNER, answers
from scheduler.api.models import ExplanationModel, PendingModel
from scheduler.api.planning import PlannerRoutes
from scheduler.cache.known_pod import KnownPod
from scheduler.explain import lookup, pending
from scheduler.planner import tasks

MAX_PENDING = 5_000
_Pod = Annotated[str, Query(description="pod name, UID or namespace/name", examples=["default/chat-1"], max_length=600)]
_Limit = Annotated[int, Query(description="explain at most so many, the oldest", ge=1, le=MAX_PENDING, examples=[100])]
_Namespace = Annotated[str, Query(description="of this namespace only", max_length=253, examples=["default"])]
_Service = Annotated[str, Query(description="of this owner only", max_length=506, examples=["Deployment/chat"])]
_Seconds = Annotated[
    float, Query(gt=0, le=60, allow_inf_nan=False, description="how long moves are searched", examples=[5])
]
_Moves = Annotated[int, Query(ge=0, le=200, description="restart at most so many pods", examples=[10])]


def add(app: FastAPI, context: Context) -> list[Any]:
    """Serve them; the types of their answers, for the OpenAPI document."""
    state, routes = context.state, PlannerRoutes(context)

    @app.get("/api/v1/explain", tags=["cluster"], operation_id="explain", responses=answers(ExplanationModel, 400, 404))
    async def explain_pod(pod: _Pod) -> Response:
        """Why a pod is pending, or where it lies."""
        known = await _find(context, pod)
        if isinstance(known, KnownPod):
            answer = await explain.explain_in_steps(state, known)
        else:
            answer = lookup.of_other(state, known)
        return Response(msgspec.json.encode(answer), media_type=JSON)

    @app.get("/api/v1/pending", tags=["cluster"], operation_id="pending", responses=answers(PendingModel, 400))
    async def pending_pods(namespace: _Namespace = "", service: _Service = "", limit: _Limit = 500) -> Response:
        """The MIG pods that wait for a node, the oldest first, grouped by reason; how many are left out is said."""
        answer = await pending.pending(state, namespace=namespace, service=service, limit=limit)
        return Response(msgspec.json.encode(answer), media_type=JSON)

    @app.get("/api/v1/remedy", tags=["planning"], operation_id="remedy", responses=answers(RemedyAnswer, 404, *PLANNER))
    async def remedy(request: Request, pod: _Pod, time_limit_s: _Seconds = 5.0, moves: _Moves = 10) -> Response:
        """What would make room for a pod that waits, the cheapest first. A plan; nothing is carried out."""
        known = await _find(context, pod)
        if not isinstance(known, KnownPod):
            raise HTTPException(400, f"pod: {pod!r}: it waits for no room; ask why: GET /api/v1/explain")
        job = await remedy_job.of(state, known, moves, time_limit_s)
        return await routes.answer(request, tasks.remedy, job, cluster=True)

    return [RemedyAnswer]


async def _find(context: Context, name: str) -> KnownPod | Pod:
    """The MIG pod of this name, or what the API server has of it. Raises HTTPException (404) where there is none."""
    matches = lookup.find(context.state, name)
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise HTTPException(404, f"pod: {name!r}: {lookup.ambiguous(matches)}")
    for left_out in context.unreadable():
        if name in (left_out.uid, left_out.name, left_out.title):
            reason = f"{left_out.title} is left out, since it cannot be read: {left_out.reason}"
            raise HTTPException(404, f"pod: {name!r}: {reason}")
    return await _read(context, name)


async def _read(context: Context, name: str) -> Pod:
    namespace, slash, pod = name.rpartition("/")
    where = f"{namespace or 'default'}/{pod}"
    if context.get_pod is None or not pod:
        raise HTTPException(404, f"pod: {name!r}: no MIG pod of that name or UID that is not over")
    try:
        return await context.get_pod(namespace or "default", pod)
    except errors.NotFoundError:
        hint = "" if slash else "; for a pod of another namespace write namespace/name"
        raise HTTPException(404, f"pod: {name!r}: there is no pod {where}{hint}") from None
    except errors.ClusterError as error:
        reason = f"no MIG pod of that name or UID is known, and the API server does not tell of {where}: {error}"
        raise HTTPException(404, f"pod: {name!r}: {reason}") from error
