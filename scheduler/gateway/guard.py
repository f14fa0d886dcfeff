"""Guard: what every request to the API passes before an application sees it.

Order: is it meant for us (`origin`), may its caller ask it (`scheduler.lock`, if there is a lock), is there room for
one more call, and is the body there within its bounds. Room is counted by user, and without a lock by address. Probes
pass without a place of their own: they have no body, and the kubelet must get its answer when clients have taken all
places.
"""

import asyncio
from collections import Counter
from http import HTTPStatus

import structlog
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scheduler import body
from scheduler.gateway import origin
from scheduler.gateway.limits import GatewayLimits
from scheduler.gateway.refusals import problem
from scheduler.gateway.streams import Streams
from scheduler.lock import caller, routes
from scheduler.lock.lock import ApiLock, RefusedCall

PROBES = ("/livez", "/readyz")
ACTION_HEADER = "x-migsched-action"  # no form sends it, and no other site's script may
_RETRY_S = 1
_CLOSE = {"Connection": "close"}  # for a client that has more to send: to read it and throw it away is work too
_log = structlog.get_logger("gateway")


class Guard:
    """An application behind the limits, and behind a lock if there is one. `in_flight` is the number of its calls,
    probes left out.
    """

    def __init__(self, application: ASGIApp, limits: GatewayLimits, lock: ApiLock | None = None) -> None:
        self._application = application
        self._limits = limits
        self._lock = lock
        self._hosts = frozenset(limits.hosts)
        self._by_client: Counter[str] = Counter()
        self._streams = Streams(application, limits, lock)

    @property
    def in_flight(self) -> int:
        """Calls in work, probes left out."""
        return self._by_client.total()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or have it answered."""
        if scope["type"] != "http":
            return
        if scope["path"] in PROBES:
            await self._application(scope, receive, send)
            return
        refused = self._refused(scope) or _without_word(scope)
        if refused is not None:
            await refused(scope, receive, send)
            return
        if self._is_long(scope):
            await self._too_long(scope, receive, send)
            return
        locked = await self._locked(scope)
        if locked is not None:
            await locked(scope, receive, send)
            return
        client = caller.of(scope)
        if scope["path"] == routes.CHANGES and scope["method"] == "GET":
            await self._streams.call(client, scope, receive, send)
            return
        if self.in_flight >= self._limits.calls or self._by_client[client] >= self._limits.calls_of_one:
            many = "too many calls at once; ask again"
            headers = {"Retry-After": str(_RETRY_S), **(_CLOSE if _is_chunked(scope) else {})}
            await problem(HTTPStatus.SERVICE_UNAVAILABLE, many, headers)(scope, receive, send)
            return
        self._by_client[client] += 1
        try:
            await self._call(scope, receive, send)
        finally:
            self._by_client[client] -= 1
            if not self._by_client[client]:
                del self._by_client[client]

    def _refused(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        why = origin.refusal(self._hosts, headers.get("host"), headers.get("origin"), headers.get("sec-fetch-site"))
        if why is not None:
            return problem(HTTPStatus.FORBIDDEN, why)
        return None

    async def _locked(self, scope: Scope) -> Response | None:
        """Have the lock say who calls; a response if the caller is refused."""
        if self._lock is None:
            return None
        address = caller.of(scope)
        answer = await self._lock.ask(
            scope["method"], scope["path"], Headers(scope=scope).getlist("authorization"), address
        )
        if isinstance(answer, RefusedCall):
            return problem(answer.status, answer.detail, {**answer.headers, **(_CLOSE if _is_chunked(scope) else {})})
        caller.put(scope, f"user {answer.caller}" if answer.caller is not None else f"address {address}")
        if answer.may is not None:
            caller.put_may(scope, answer.may)
        return None

    async def _call(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(self._limits.body_s):
                content = await body.read(receive, self._limits.body_bytes, drained=0)
        except TimeoutError:
            late = f"the request body took more than {self._limits.body_s:g} s"
            await problem(HTTPStatus.REQUEST_TIMEOUT, late, _CLOSE)(scope, receive, send)
            return
        except body.BodyTooLargeError:
            await self._too_long(scope, receive, send)
            return
        except ClientDisconnect:
            return
        sender = _Sender(send, self._limits.send_s)
        try:
            await self._application(scope, _replayed(content, receive), sender.send)
        except TimeoutError:
            if not sender.late:
                raise

    def _is_long(self, scope: Scope) -> bool:
        """Whether a body says that it is too long; the parser has looked at the number."""
        return int(Headers(scope=scope).get("content-length", "0")) > self._limits.body_bytes

    async def _too_long(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = body.BodyTooLargeError(self._limits.body_bytes, "api_max_body_mib")
        await problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, str(error), _CLOSE)(scope, receive, send)


def _without_word(scope: Scope) -> Response | None:
    """A refusal of an action that any page could have a browser send: it needs a header that takes our own."""
    if scope["method"] != "POST" or routes.find(scope["path"]) not in routes.ACTIONS:
        return None
    headers = Headers(scope=scope)
    if ACTION_HEADER in headers or headers.get("authorization", "").lower().startswith("bearer "):
        return None
    said = f"{ACTION_HEADER}: is missing; a program that means it sends this header, or a bearer token"
    return problem(HTTPStatus.FORBIDDEN, said)


def _is_chunked(scope: Scope) -> bool:
    """Whether a body has a length that nobody has said."""
    return "transfer-encoding" in Headers(scope=scope)


class _Sender:
    """Sends an answer within a time of its start. `late` says that the client did not take it."""

    def __init__(self, send: Send, send_s: float) -> None:
        self._send = send
        self._send_s = send_s
        self._ends: float | None = None
        self.late = False

    async def send(self, message: Message) -> None:
        """Send a part. Raises TimeoutError for a client that does not take it."""
        if self._ends is None:
            self._ends = asyncio.get_running_loop().time() + self._send_s
        try:
            async with asyncio.timeout_at(self._ends):
                await self._send(message)
        except TimeoutError:
            self.late = True
            raise


def _replayed(content: bytes, receive: Receive) -> Receive:
    """A receive channel that gives a body that was read already, and then what comes: the client's leaving."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": content, "more_body": False}

    return replay
