"""One HTTP/1.1 connection that carries one exchange after the other. Opened, kept and given up by `http_client`.

httptools, the parser under uvicorn, reads the answers; here is only who waits for what. asyncio calls the methods of
`asyncio.Protocol`, httptools those named `on_…`.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable

import httptools

MUCH = 2**17  # bytes that are worth a wake-up at any time
HELD = 2**21  # bytes of a stream that may wait for their reader; then the server is kept waiting
MAX_ANSWER = 2**26  # bytes of an answer, head included: a page of 2,000 pods of 32 KiB each
DEAD_S = 45.0  # without a sign of life from the server's kernel, as client-go's; then the connection is lost

PARSER_ERRORS = (httptools.HttpParserError, httptools.HttpParserUpgrade)  # the second: the server changes protocol

_RETRY_AFTER = b"retry-after"
_RETRY_AFTER_LENGTH = len(_RETRY_AFTER)  # compared first: most headers need no more than this
_LOST = "the server closed the connection before its answer was complete"
_UNASKED = "the server spoke without being asked"


class AnswerTooLargeError(ConnectionAbortedError):
    """An answer, or the part of a stream that is read as one, is larger than it may be."""

    def __init__(self, max_answer: int) -> None:
        super().__init__(f"the answer is larger than {max_answer:,} bytes")


class HttpConnection(asyncio.Protocol):
    """A connection with at most one exchange on it: `send`, then either `answer`, or `head` and `chunk` by `chunk`.

    An answer that is larger than `max_answer` bytes is given up, and so is a stream with such a head. `tls` is what the
    connection was made with. A server that vanished without a word is noticed within `dead_s`.
    """

    def __init__(
        self,
        max_answer: int = MAX_ANSWER,
        *,
        held_max: int = HELD,
        tls: ssl.SSLContext | None = None,
        dead_s: float = DEAD_S,
    ) -> None:
        self.tls = tls
        self._dead_s = dead_s
        self._held_max = held_max
        self._max_answer = max_answer
        self._received = 0  # bytes since the request
        loop = asyncio.get_running_loop()
        self._new_waiter: Callable[[], asyncio.Future[None]] = loop.create_future
        self._closed = loop.create_future()
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._awaited: Callable[[], bool] = self._is_complete
        self._chunks: list[bytes] = []
        self._held: int | None = None  # bytes in `_chunks` of a stream; an answer is held whatever its size
        self._problem: Exception | None = None
        self._complete = True
        self.status = 0  # of the answer, once its head has come
        self.retry_after = b""  # of the answer: what its header of that name says

    # --- for the client -------------------------------------------------------------------------------------------

    @property
    def reusable(self) -> bool:
        """Whether the last exchange is over and another may follow."""
        return self._complete and self._problem is None

    def send(self, request: bytes, *, streamed: bool = False) -> None:
        """Begin an exchange. The request is one write: head and body in one segment wake the server once."""
        self.status, self.retry_after, self._complete = 0, b"", False
        self._received, self._held = 0, 0 if streamed else None
        if self._transport is not None:
            self._transport.write(request)

    async def answer(self) -> bytes:
        """The whole body. Raises ConnectionError where the answer breaks off, is too large or is not HTTP."""
        await self._until(self._is_complete)
        return self._taken()

    async def head(self) -> int:
        """The status. Raises ConnectionError as `answer` does."""
        await self._until(self._has_status)
        return self.status

    async def chunk(self) -> bytes:
        """What has come of the body since the last time, at least a byte; nothing at its end. Raises as `answer`."""
        await self._until(self._has_more)
        return self._taken()

    def gather(self, on: bool) -> None:
        """Batch reads: wake only for a large chunk or the end of the stream.

        The kernel gathers meanwhile (SO_RCVLOWAT); a transport that pauses would still be woken for each TLS record.
        """
        sock = self._transport.get_extra_info("socket") if self._transport is not None else None
        if sock is not None and self._problem is None:  # uvloop's has none once it is closed, before it says so
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, MUCH if on else 1)

    def fail(self, problem: OSError) -> None:
        """Give the connection up; a call that waits for an answer gets this problem instead."""
        self._problem = self._problem or problem
        self.close()

    def close(self) -> None:
        """Give the connection up at once: a polite farewell over TLS would outlive the event loop."""
        if self._transport is not None:
            self._transport.abort()

    async def wait_closed(self) -> None:
        """Until the socket is closed."""
        await asyncio.shield(self._closed)

    async def _until(self, awaited: Callable[[], bool]) -> None:
        while not awaited():
            if self._problem is not None:
                raise self._problem
            self._awaited, self._waiter = awaited, self._new_waiter()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def _taken(self) -> bytes:
        taken = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        if self._held is not None:
            if self._held > self._held_max and self._transport is not None:
                self._transport.resume_reading()
            self._held = 0
        return taken

    def _is_complete(self) -> bool:
        return self._complete

    def _has_status(self) -> bool:
        return self.status >= 200

    def _has_more(self) -> bool:
        return bool(self._chunks) or self._complete

    # --- for asyncio ----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # what a stream has
        """The connection is made, over TLS where that was asked for."""
        self._transport = transport
        _keep_alive(transport.get_extra_info("socket"), self._dead_s)

    def data_received(self, data: bytes) -> None:
        """A part of an answer."""
        self._received += len(data)
        if self._received > self._max_answer and self._held is None:
            self.fail(self._too_large())
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError:
            self.fail(ConnectionAbortedError(_UNASKED))
        except PARSER_ERRORS as error:
            self.fail(ConnectionAbortedError(f"unreadable answer: {error}"))
        if self._received > self._max_answer and self.status < 200:
            self.fail(self._too_large())
        if self._held is not None and self._held > self._held_max and self._transport is not None:
            self._transport.pause_reading()
        if self._waiter is not None and not self._waiter.done() and self._awaited():
            self._waiter.set_result(None)

    def _too_large(self) -> AnswerTooLargeError:
        return AnswerTooLargeError(self._max_answer)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is lost; a call that waits for an answer will not get one."""
        self._problem = self._problem or exc or ConnectionResetError(_LOST)
        if not self._closed.done():
            self._closed.set_result(None)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # --- for httptools --------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """An answer begins. Raises ConnectionAbortedError, which ends the parsing, for one that no call waits for."""
        if self._complete:
            raise ConnectionAbortedError(_UNASKED)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header of an answer. One alone is of interest."""
        if len(name) == _RETRY_AFTER_LENGTH and name.lower() == _RETRY_AFTER:
            self.retry_after = value

    def on_headers_complete(self) -> None:
        """The head of an answer has come."""
        self.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        """A part of a body."""
        self._chunks.append(body)
        if self._held is not None:
            self._held += len(body)

    def on_message_complete(self) -> None:
        """An answer is complete; one with a status below 200 only announces the real one."""
        if self.status < 200:
            return
        self._complete = True
        if not self._parser.should_keep_alive():
            self._problem = ConnectionResetError("the server ends the connection with this answer")


def _keep_alive(sock: socket.socket | None, dead_s: float) -> None:
    """Have the kernel probe an idle connection, and end one of which nothing was acknowledged for so long."""
    if sock is None or sock.family == socket.AF_UNIX:
        return
    probe_s = max(1, int(dead_s / 9))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 3 * probe_s)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, probe_s)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int((dead_s - probe_s) * 1000))
