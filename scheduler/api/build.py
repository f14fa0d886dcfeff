"""Builds the API's application from its groups of routes. Called by `service`."""

from fastapi import FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from scheduler.api import cluster, documentation, explanations, extensions, overview, planning, problems, web_pages
from scheduler.api.context import Context
from scheduler.api.models import HealthModel


def build(context: Context) -> FastAPI:
    """The API's application."""
    app = FastAPI(
        title="migsched",
        summary="MIG capacity: what is where, what fits, what to buy or move, and why a pod is pending.",
        version="v1",
        docs_url=None,  # FastAPI's pages load scripts from another site; ours are in web_pages
        redoc_url=None,
    )
    _health_routes(app, context)
    cluster.add(app, context)
    types = [*explanations.add(app, context), *planning.add(app, context), *overview.add(app, context)]
    web_pages.add(app)
    extensions.add(app, context.extensions)
    problems.handle(app)
    problems.handle_actions(app)
    documentation.publish(app, types)
    return app


def _health_routes(app: FastAPI, context: Context) -> None:
    @app.get("/livez", tags=["health"], operation_id="livez", responses=documentation.answers(None))
    async def livez() -> HealthModel:
        """Alive: the event loop answers."""
        return HealthModel(status="ok")

    @app.get("/readyz", tags=["health"], operation_id="readyz", responses=documentation.answers(None, 503))
    async def readyz() -> HealthModel:
        """Ready: all caches are synced. `standby`: this replica answers, and another one decides."""
        context.need_cluster()
        return HealthModel(status="standby" if context.stands_by() else "ok")

    metrics_text = {200: {"content": {"text/plain": {"schema": {"type": "string"}, "example": "migsched_nodes 2.0\n"}}}}

    @app.get(
        "/metrics",
        tags=["health"],
        operation_id="metrics",
        response_class=Response,
        responses=metrics_text,  # type: ignore[arg-type]  # FastAPI's own type is looser than its documentation
    )
    async def prometheus() -> Response:
        """Prometheus metrics."""
        context.refresh()
        return Response(generate_latest(context.metrics.registry), media_type=CONTENT_TYPE_LATEST)
