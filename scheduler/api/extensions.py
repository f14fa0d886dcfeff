"""Extensions: routes that one composition root adds to its own API, such as the demo's. Called by `build`.

They are no part of the OpenAPI document, which is that of clusters. A lock knows nothing of them: where the API asks
for tokens they are not served (`scheduler.lock.routes`).
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
from fastapi import FastAPI, HTTPException, Request, Response

from allocator import errors
from scheduler import body
from scheduler.api import problems
from scheduler.api.documentation import JSON
from scheduler.api.problems import ProblemDetails

MAX_BODY = 64 * 1024
DEMO = "demo"  # the extension whose menu of scenarios the web page offers


@dataclass(frozen=True, slots=True)
class ExtensionRoute:
    """A route: `answer` gets the body as JSON values, None for GET, and gives such values. It may raise InputErrors."""

    method: str
    path: str
    answer: Callable[[Any], Awaitable[Any]]


class ApiExtension(Protocol):
    """Routes under a name."""

    @property
    def name(self) -> str:
        """What the page knows it by: DEMO, or anything else."""

    def routes(self) -> Sequence[ExtensionRoute]:
        """Its routes."""


def add(app: FastAPI, extensions: Sequence[ApiExtension]) -> None:
    """Serve them."""
    for extension in extensions:
        for route in extension.routes():
            handler = _Handler(route)
            app.add_api_route(route.path, handler.respond, methods=[route.method], include_in_schema=False)


class _Handler:
    def __init__(self, route: ExtensionRoute) -> None:
        self._route = route

    async def respond(self, request: Request) -> Response:
        try:
            value = await _value(request) if self._route.method == "POST" else None
            return Response(msgspec.json.encode(await self._route.answer(value)), media_type=JSON)
        except errors.InputError as error:
            told = ProblemDetails(detail=str(error), field=error.field, value=error.shown, fix=error.fix)
            return problems.respond(400, told)


async def _value(request: Request) -> Any:
    """The body. A page of another site cannot send JSON as such without asking first."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
        raise HTTPException(415, f"send {JSON}")
    text = await body.read(request.receive, MAX_BODY, setting="less")
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise errors.InputError("body", text[:60].decode(errors="replace"), f"write JSON: {error}") from error
