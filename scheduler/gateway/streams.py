"""Streams: answers that have no end, such as the changes of the overview: few at a time, apart from calls. Of `guard`.

A client has `send_s` for each part. Its right is asked for again while it listens, and the stream ends with it.
"""

import asyncio
from collections import Counter
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scheduler.gateway.limits import GatewayLimits
from scheduler.gateway.refusals import problem
from scheduler.lock import caller
from scheduler.lock.lock import ApiLock, RefusedCall

RETRY_S = 5
CHECK_S = 30.0  # until a stream's caller is asked about again


class Streams:
    """The streams of one server."""

    def __init__(self, application: ASGIApp, limits: GatewayLimits, lock: ApiLock | None) -> None:
        self._application = application
        self._limits = limits
        self._lock = lock
        self._by_client: Counter[str] = Counter()

    async def call(self, client: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one, if there is room."""
        if self._by_client.total() >= self._limits.streams or self._by_client[client] >= self._limits.streams_of_one:
            many = "too many pages follow at once; ask again"
            headers = {"Retry-After": str(RETRY_S)}
            await problem(HTTPStatus.SERVICE_UNAVAILABLE, many, headers)(scope, receive, send)
            return
        self._by_client[client] += 1
        try:
            await self._serve(scope, receive, send)
        finally:
            self._by_client[client] -= 1
            if not self._by_client[client]:
                del self._by_client[client]

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        sender = _StreamSender(send, self._limits.send_s)
        serving = asyncio.ensure_future(self._application(scope, receive, sender.send))
        checking = asyncio.ensure_future(self._until_refused(scope))
        try:
            await asyncio.wait((serving, checking), return_when=asyncio.FIRST_COMPLETED)
            if serving.done() and not sender.late:
                serving.result()
        finally:
            for task in (serving, checking):
                task.cancel()
            await asyncio.gather(serving, checking, return_exceptions=True)

    async def _until_refused(self, scope: Scope) -> None:
        """Until the caller may not read any more."""
        lock = self._lock
        while True:
            await asyncio.sleep(CHECK_S)
            if lock is None:
                continue
            tokens = Headers(scope=scope).getlist("authorization")
            answer = await lock.ask(scope["method"], scope["path"], tokens, caller.of(scope))
            if isinstance(answer, RefusedCall) and answer.status is not HTTPStatus.SERVICE_UNAVAILABLE:
                return


class _StreamSender:
    """Sends parts, each within a time. `late` says that the client did not take one."""

    def __init__(self, send: Send, send_s: float) -> None:
        self._send = send
        self._send_s = send_s
        self.late = False

    async def send(self, message: Message) -> None:
        """Send a part. Raises TimeoutError for a client that does not take it."""
        try:
            async with asyncio.timeout(self._send_s):
                await self._send(message)
        except TimeoutError:
            self.late = True
            raise
