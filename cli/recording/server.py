"""A recording and the web page, served on this machine. Used by `migsched replay`.

The routes that the page asks are the service's; nothing can be done through them.
"""

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from allocator import errors
from cli.recording.page_state import RecordingError
from cli.recording.recording import Recording
from httpserver import protocol
from httpserver.limits import ConnectionLimits
from scheduler.api import web_pages
from scheduler.gateway.guard import Guard
from scheduler.gateway.limits import GatewayLimits

HOST = "127.0.0.1"
JSON = "application/json"
_LIMITS = GatewayLimits(connections=64, calls=16)
_CONNECTIONS = ConnectionLimits(total=64, per_address=64)


def application(recording: Recording, page: Path = web_pages.APP) -> Starlette:
    """The routes. `page` is the folder of the built page."""
    files = web_pages.PageFiles(page)

    async def index(request: Request) -> Response:
        return files.answer("index.html", request.headers.get("if-none-match"))

    async def of_page(request: Request) -> Response:
        return files.answer(request.path_params["file"], request.headers.get("if-none-match"))

    async def about(_: Request) -> Response:
        return _json(msgspec.json.encode(recording.info()))

    async def overview(request: Request) -> Response:
        try:
            at = request.query_params.get("at") or recording.info().to
            return _json(await asyncio.to_thread(recording.at, at))
        except RecordingError as error:
            raise HTTPException(400, str(error)) from error

    def wrong(_: Request, error: Exception) -> Response:
        status, said = (error.status_code, error.detail) if isinstance(error, HTTPException) else (500, "it failed")
        return Response(msgspec.json.encode({"detail": said}), status, media_type=JSON)

    routes = [
        Route("/", index),
        Route("/page/{file:path}", of_page),
        Route("/api/v1/recording", about),
        Route("/api/v1/overview", overview),
    ]
    return Starlette(routes=routes, exception_handlers={HTTPException: wrong})


def serve(recording: Recording, port: int, told: Callable[[str], None]) -> None:
    """Until Ctrl-C; `told` gets the address. Raises SettingsError for a port that is taken."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        listener.close()
        raise errors.SettingsError("port", port, f"cannot listen there: {error.strerror}") from error
    told(f"http://{HOST}:{listener.getsockname()[1]}/")
    guarded = Guard(application(recording), _LIMITS)
    made = protocol.configuration(guarded, _CONNECTIONS, timeout_graceful_shutdown=1)
    asyncio.run(protocol.serve(made, listener, asyncio.Event()))


def _json(text: bytes) -> Response:
    return Response(text, media_type=JSON, headers={**web_pages.HEADERS, "Cache-Control": "no-store"})
