"""Proxy: passes calls on to the service over its private socket, few at a time. The application behind `guard`.

The service's event loop is the extender's, so the gateway takes little of it, whatever clients do: answers about the
cluster come from `cache`; other calls start at most one in `PACE_S`; explanations, which look at every node, are made
one after the other with pauses. What the service refuses is passed on as it is.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import aiohttp
import structlog
from starlette.types import Receive, Scope, Send
from yarl import URL

from scheduler.feed import EVENT_STREAM, Feed, FeedClosedError, FeedFullError
from scheduler.gateway import cache, guard
from scheduler.gateway.cache import Answer, Cache
from scheduler.gateway.feed_link import FeedLink
from scheduler.gateway.refusals import problem
from scheduler.lock import caller, routes

CACHED = {
    **dict.fromkeys(guard.PROBES, cache.PROBE_LIFETIME_S),
    **dict.fromkeys(("/metrics", "/api/v1/nodes", "/api/v1/pods", "/api/v1/snapshot"), cache.LIFETIME_S),
    "/openapi.json": 60.0,
    # files, of which the service reads each once in a while, whoever asks
    **dict.fromkeys(("/about", "/docs", "/docs/page.js", "/docs/page.css"), 3600.0),
    **dict.fromkeys(("/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css"), 3600.0),
}
OVERVIEW = (routes.OVERVIEW, routes.CHANGES)
_NOT_KEPT = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
_STREAM = [(b"content-type", EVENT_STREAM.encode()), (b"cache-control", b"no-store"), (b"x-accel-buffering", b"no")]
EXPLANATIONS = ("/api/v1/explain", "/api/v1/pending")
PACE_S = 0.01
PAUSES = 4.0  # times as long as an explanation took the next one waits
MOST_PAUSE_S = 1.0
BLOCK = 2**16
_RETRY_S = 1
_PASSED_ON = frozenset(
    {b"content-type", b"retry-after", b"allow", b"content-security-policy", b"x-content-type-options"}
    | {b"referrer-policy", b"etag", b"cache-control"}
)
_SENT_ON = (b"content-type", b"if-none-match")
_log = structlog.get_logger("gateway")


class Proxy:
    """The service's API as an application. `socket` is the path of the service's private socket."""

    def __init__(self, socket: str, *, answer_s: float, pace_s: float = PACE_S) -> None:
        self._socket = socket
        self._answer_s = answer_s
        self._pace_s = pace_s
        self._cache = Cache()
        self._session: aiohttp.ClientSession | None = None
        self._turns = _Turns()
        self._explanations = asyncio.Lock()
        self._explain_turns = _Turns()
        self._link = FeedLink(Feed(), lambda: self._call("GET", routes.CHANGES, b"", {}))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer from the cache, or pass on."""
        try:
            lifetime_s = CACHED.get(scope["path"]) if scope["method"] == "GET" else None
            if scope["path"] in OVERVIEW and scope["method"] == "GET":
                await self._overview(scope, receive, send)
            elif lifetime_s is not None:
                answer = await self._cache.get(scope["path"], lambda: self._fetch(scope["path"]), lifetime_s)
                await _send_blocks(answer, send)
            else:
                await self._pass_on(scope, receive, send)
        except (aiohttp.ClientError, OSError) as error:
            _log.warning("the service does not answer", path=scope["path"], error=str(error))
            away = "the service does not answer; ask again"
            headers = {"Retry-After": str(_RETRY_S)}
            await problem(HTTPStatus.SERVICE_UNAVAILABLE, away, headers)(scope, receive, send)

    async def close(self) -> None:
        """Close the connections to the service."""
        await self.drop_followers()
        if self._session is not None:
            await self._session.close()

    async def drop_followers(self) -> None:
        """End all answers that have no end."""
        await self._link.close()

    async def _overview(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The overview, or its changes, from the copy of it that is kept here."""
        may, feed = caller.may_of(scope), self._link.feed
        try:
            await self._link.need()
            if scope["path"] == routes.OVERVIEW:
                await send({"type": "http.response.start", "status": 200, "headers": _NOT_KEPT})
                for block in feed.document(may):
                    await send({"type": "http.response.body", "body": block, "more_body": True})
            else:
                await self._follow(feed, may, receive, send)
            await send({"type": "http.response.body"})
        except (FeedClosedError, FeedFullError) as error:
            headers = {"Retry-After": str(_RETRY_S)}
            await problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error), headers)(scope, receive, send)

    async def _follow(self, feed: Feed, may: frozenset[str] | None, receive: Receive, send: Send) -> None:
        """Events, until the client leaves or is dropped."""
        telling = asyncio.ensure_future(_tell(feed, may, send))
        leaving = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait((telling, leaving), return_when=asyncio.FIRST_COMPLETED)
            if telling.done():
                telling.result()
        finally:
            for task in (telling, leaving):
                task.cancel()
            await asyncio.gather(telling, leaving, return_exceptions=True)

    async def _fetch(self, path: str) -> Answer:
        """The whole answer to a GET."""
        async with self._call("GET", path, b"", {}) as response:
            return await _whole(response)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One call, stopped when its client leaves."""
        content = (await receive())["body"]
        passing = asyncio.ensure_future(self._pass(scope, content, send))
        leaving = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait((passing, leaving), return_when=asyncio.FIRST_COMPLETED)
            if passing.done():
                passing.result()
        finally:
            for task in (passing, leaving):
                task.cancel()
            await asyncio.gather(passing, leaving, return_exceptions=True)

    async def _pass(self, scope: Scope, content: bytes, send: Send) -> None:
        query = scope["query_string"].decode("latin-1")
        target = scope["raw_path"].decode("latin-1") + (f"?{query}" if query else "")
        sent = {name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in _SENT_ON}
        sent["X-Forwarded-For"] = scope["client"][0] if scope["client"] else ""
        sent[caller.HEADER] = caller.encoded(scope)
        if scope["path"] in EXPLANATIONS:
            await _send_blocks(await self._explained(scope["method"], target, content, sent), send)
            return
        async with self._call(scope["method"], target, content, sent) as response:
            await send({"type": "http.response.start", "status": response.status, "headers": list(_headers(response))})
            async for block in response.content.iter_chunked(BLOCK):
                await send({"type": "http.response.body", "body": block, "more_body": True})
            await send({"type": "http.response.body"})

    async def _explained(self, method: str, target: str, content: bytes, headers: dict[str, str]) -> Answer:
        """An explanation; the next one waits for several times as long as it took, even where its client has left."""
        clock = asyncio.get_running_loop().time
        async with self._explanations:
            await self._explain_turns.wait()
            began = clock()
            try:
                async with self._call(method, target, content, headers) as response:
                    return await _whole(response)
            finally:
                self._explain_turns.pause(min(MOST_PAUSE_S, PAUSES * (clock() - began)))

    @asynccontextmanager
    async def _call(
        self, method: str, target: str, content: bytes, headers: dict[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A call of the service, when it is its turn."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(self._socket, limit=0),
                timeout=aiohttp.ClientTimeout(total=None, sock_read=self._answer_s),
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        await self._turns.wait()
        self._turns.pause(self._pace_s)
        url = URL(f"http://service{target}", encoded=True)
        options: dict[str, Any] = {"data": content or None, "headers": headers, "allow_redirects": False}
        async with self._session.request(method, url, **options) as response:
            yield response


class _Turns:
    """When the next one may start."""

    def __init__(self) -> None:
        self._next_at = 0.0

    def pause(self, seconds: float) -> None:
        """Let nothing start for so long."""
        self._next_at = max(asyncio.get_running_loop().time(), self._next_at) + seconds

    async def wait(self) -> None:
        """Until something may start."""
        while (left_s := self._next_at - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(left_s)


async def _tell(feed: Feed, may: frozenset[str] | None, send: Send) -> None:
    began = False
    async for part in feed.follow(may):
        if not began:
            began = True
            await send({"type": "http.response.start", "status": 200, "headers": _STREAM})
        await send({"type": "http.response.body", "body": part, "more_body": True})


async def _whole(response: aiohttp.ClientResponse) -> Answer:
    blocks = tuple([block async for block in response.content.iter_chunked(BLOCK)])
    return Answer(response.status, _headers(response), blocks)


def _headers(response: aiohttp.ClientResponse) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((name.lower(), value) for name, value in response.raw_headers if name.lower() in _PASSED_ON)


async def _send_blocks(answer: Answer, send: Send) -> None:
    headers = [*answer.headers, (b"content-length", str(answer.size).encode())]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    for block in answer.blocks:
        await send({"type": "http.response.body", "body": block, "more_body": True})
    await send({"type": "http.response.body"})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
