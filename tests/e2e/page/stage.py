"""A service that says what a test wants it to say: for what the real one does not do at a test's word.

It serves the built page and the routes that the page asks, over real HTTP on loopback: refusals, lost connections,
clusters of thousands of nodes, an hour of events in seconds. What the real service says is tested on the real one.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from scheduler.api import web_pages

_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".html": "text/html"}


class Stage:
    """What the page is told. `requests` are the calls that changed something: path and body."""

    def __init__(self, overview: dict[str, Any]) -> None:
        self.overview = overview
        self.refusal: tuple[int, str] | None = None
        self.answers: dict[str, Any] = {}  # by path: what a POST or a GET is answered
        self.requests: list[tuple[str, Any]] = []
        self.tokens: list[str] = []
        self.url = ""
        self._listeners: set[asyncio.Queue[bytes | None]] = set()

    def change(self, *, nodes: list[dict[str, Any]] | None = None, time: str | None = None, **sections: Any) -> None:
        """Tell every open page that these sections and nodes are so from now on."""
        changed = {node["name"]: node for node in nodes or ()}
        moment = {"revision": self.overview["revision"] + 1, "time": time or self.overview["time"]}
        kept = [changed.get(node["name"], node) for node in self.overview["nodes"]]
        self.overview = {**self.overview, **sections, **moment, "nodes": kept}
        self.send("changes", {**moment, "sections": sections, "nodes": nodes or [], "gone": []})

    def send(self, event: str, data: Any) -> None:
        """Send an event as it is."""
        text = f"event: {event}\ndata: {json.dumps(data)}\n\n".encode()
        for listener in self._listeners:
            listener.put_nowait(text)

    def hang_up(self) -> None:
        """End every open connection."""
        for listener in self._listeners:
            listener.put_nowait(None)

    @property
    def pages(self) -> int:
        """How many pages listen."""
        return len(self._listeners)

    async def page(self, request: web.Request) -> web.Response:
        """A file of the built page."""
        file = web_pages.APP / (request.match_info.get("name") or "index.html")
        return web.Response(
            body=file.read_bytes(), content_type=_TYPES[file.suffix], charset="utf-8", headers=web_pages.HEADERS
        )

    async def changes(self, request: web.Request) -> web.StreamResponse:
        """The stream."""
        self.tokens.append(request.headers.get("Authorization", ""))
        if self.refusal:
            return _problem(*self.refusal)
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        await answer.prepare(request)
        mail: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._listeners.add(mail)
        try:
            await answer.write(f"event: overview\ndata: {json.dumps(self.overview)}\n\n".encode())
            while (text := await mail.get()) is not None:
                await answer.write(text)
        except ConnectionResetError:
            pass  # the page has gone
        finally:
            self._listeners.discard(mail)
        return answer

    async def other(self, request: web.Request) -> web.Response:
        """What the test has put down for this path."""
        if request.method == "POST":
            self.requests.append((request.path, await request.json()))
        if request.path not in self.answers:
            return _problem(404, f"{request.path} is not played")
        answer = self.answers[request.path]
        return _problem(*answer) if isinstance(answer, tuple) else web.json_response(answer)


def _problem(status: int, detail: str) -> web.Response:
    return web.json_response({"detail": detail}, status=status, content_type="application/problem+json")


@asynccontextmanager
async def play(overview: dict[str, Any]) -> AsyncIterator[Stage]:
    """A stage that is open as long as the block."""
    stage = Stage(overview)
    app = web.Application(client_max_size=1 << 20)
    app.router.add_get("/", stage.page)
    app.router.add_get("/page/{name}", stage.page)
    app.router.add_get("/api/v1/overview/changes", stage.changes)
    app.router.add_route("*", "/{path:.*}", stage.other)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    stage.url = f"http://{host}:{port}"
    try:
        yield stage
    finally:
        stage.hang_up()
        await runner.cleanup()
