"""Whatever goes wrong in the API, as one JSON shape: what is wrong, and for bad input the field, the value and the fix.

Handlers for every error that a route may raise; nothing else makes an answer that is not 200.
"""

import structlog
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.requests import ClientDisconnect

from allocator import errors
from config import validation
from scheduler.body import BodyTooLargeError
from scheduler.page.repack_actions import NoSuchRepackError, RepackRefusedError
from scheduler.planner.port import (
    BusyError,
    DocumentError,
    InternalError,
    PlannerDeadlineError,
    PlannerError,
    ShuttingDownError,
    TooLargeError,
    WorkerCrashedError,
)

_log = structlog.get_logger("api")
_CLIENT_CLOSED = 499  # nobody reads it; proxies log it
RETRY_S = 5  # when to ask again while the cluster is read or the service stops


class ProblemDetails(BaseModel):
    """What went wrong."""

    detail: str = Field(description="in plain words", examples=["fleet[0].model: 'a100': unknown GPU model"])
    field: str | None = Field(
        default=None, description="where in the request, if it cannot be used", examples=["fleet[0].model"]
    )
    value: str | None = Field(default=None, description="what stood there, shortened", examples=["'a100'"])
    fix: str | None = Field(default=None, description="what would do")


class NotReadyError(HTTPException):
    """The cluster is still being read."""

    def __init__(self) -> None:
        super().__init__(503, "still reading the cluster", {"Retry-After": str(RETRY_S)})


_STATUS: dict[type[PlannerError], int] = {
    BusyError: 503,
    ShuttingDownError: 503,
    PlannerDeadlineError: 504,
    TooLargeError: 413,
    WorkerCrashedError: 502,
    InternalError: 500,
}


def respond(status: int, problem: ProblemDetails, headers: dict[str, str] | None = None) -> JSONResponse:
    """A problem as an answer."""
    return JSONResponse(problem.model_dump(exclude_none=True), status, headers)


def handle(app: FastAPI) -> None:
    """Answer every error of the app's routes."""

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"][1:])
        fix = validation.fix(first)
        if first["type"] == validation.MISSING:
            return respond(400, ProblemDetails(detail=f"{field}: {fix}", field=field, fix=fix))
        shown = repr(first["input"])[:120]
        return respond(400, ProblemDetails(detail=f"{field}: {shown}: {fix}", field=field, value=shown, fix=fix))

    @app.exception_handler(DocumentError)
    async def refused(_: Request, error: DocumentError) -> JSONResponse:
        return respond(400, ProblemDetails(detail=str(error), field=error.field, value=error.shown, fix=error.fix))

    @app.exception_handler(PlannerError)
    async def unanswered(_: Request, error: PlannerError) -> JSONResponse:
        headers = {}
        if isinstance(error, BusyError):
            headers["Retry-After"] = str(error.retry_after_s)
        elif isinstance(error, ShuttingDownError):
            headers["Retry-After"] = str(RETRY_S)
        return respond(_STATUS[type(error)], ProblemDetails(detail=str(error)), headers)

    @app.exception_handler(BodyTooLargeError)
    async def too_large(_: Request, error: BodyTooLargeError) -> JSONResponse:
        return respond(413, ProblemDetails(detail=str(error)), {"Connection": "close"})

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, __: ClientDisconnect) -> JSONResponse:
        return respond(_CLIENT_CLOSED, ProblemDetails(detail="the client went away"))

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        _log.error("API call failed", path=request.url.path, error=repr(error))
        return respond(500, ProblemDetails(detail="the call failed; see the log of the migsched scheduler"))


def handle_actions(app: FastAPI) -> None:
    """Answer every error of what people do with Repacks."""

    @app.exception_handler(NoSuchRepackError)
    async def unknown(_: Request, error: NoSuchRepackError) -> JSONResponse:
        return respond(404, ProblemDetails(detail=str(error)))

    @app.exception_handler(RepackRefusedError)
    async def impossible(_: Request, error: RepackRefusedError) -> JSONResponse:
        return respond(409, ProblemDetails(detail=str(error)))

    @app.exception_handler(errors.ClusterError)
    async def not_done(_: Request, error: errors.ClusterError) -> JSONResponse:
        said = f"the API server did not do it: {error}"
        return respond(503, ProblemDetails(detail=said), {"Retry-After": str(RETRY_S)})
