"""uvicorn's protocol on h11, with bounds on connections, heads and time; and the configuration that uses it.

uvicorn bounds the head's bytes with h11, and with httptools nothing. It has no bound on the time of a head, of a call
or of sending, and its `limit_concurrency` answers 503 to everybody, probes too, while silent connections stay. This
adds one timer to each connection and the admission by `Connections`. Used for the capacity API and the agent's port.
"""

import asyncio
import socket
import ssl
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from httpserver.connections import Connections
from httpserver.limits import ConnectionLimits
from httpserver.tls import HandshakingConnection


class BoundedProtocol(H11Protocol):
    """H11Protocol whose connection ends when its client, or the call on it, takes too long."""

    def __init__(self, *arguments: Any, limits: ConnectionLimits, admitted: Connections, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._limits = limits
        self._admitted = admitted
        self._timer: asyncio.TimerHandle | None = None
        self.address = ""

    @property
    def waits_for_client(self) -> bool:
        """Whether no call is in work on it."""
        return self.cycle is None or self.cycle.response_complete or self.transport.is_closing()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """A client connected."""
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
        self._end_after(self._limits.head_s)
        if not self._admitted.admit(self):
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""
        self._admitted.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes of the client: a complete head begins a call."""
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before and not self.waits_for_client:
            self._call_began()

    def on_response_complete(self) -> None:
        """The answer is sent, and the next head may come; a pipelined one is there already."""
        before = self.cycle
        self._end_after(self._limits.head_s)
        super().on_response_complete()
        if self.cycle is not before:
            self._call_began()

    def abort(self) -> None:
        """Close the connection at once: a client that does not read would keep it open for what is left to send."""
        self.transport.abort()

    def _call_began(self) -> None:
        is_stream = self.cycle is not None and self.cycle.scope["path"] in self._limits.streams
        self._end_after(self._limits.stream_s if is_stream else self._limits.call_s)

    def _end_after(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(seconds, self.abort)


def configuration(
    application: ASGIApp, limits: ConnectionLimits, tls: ssl.SSLContext | None = None, **options: Any
) -> uvicorn.Config:
    """A server's configuration: this protocol, no log of each call, no WebSockets. `options` are uvicorn's own."""
    admitted = Connections(limits)

    def protocol(*arguments: Any, **made_with: Any) -> asyncio.Protocol:
        bounded = BoundedProtocol(*arguments, limits=limits, admitted=admitted, **made_with)
        return bounded if tls is None else HandshakingConnection(bounded, tls, limits, admitted)

    return uvicorn.Config(
        application,
        http=protocol,  # type: ignore[arg-type]  # called as the class would be
        ws="none",
        h11_max_incomplete_event_size=limits.head_bytes,
        timeout_keep_alive=limits.head_s,  # type: ignore[arg-type]  # seconds; uvicorn only adds them
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        headers=[("Server", "migsched")],  # by which our own clients tell us from whoever else has the port
        date_header=False,
        lifespan="off",
        **options,
    )


async def serve(made: uvicorn.Config, listener: socket.socket, until: asyncio.Event) -> None:
    """Serve on a listening socket until told; without uvicorn's signal handlers, which are a program's own matter."""
    server = uvicorn.Server(made)
    made.load()
    server.lifespan = made.lifespan_class(made)
    await server.startup(sockets=[listener])
    turning = asyncio.create_task(server.main_loop(), name="uvicorn")
    await until.wait()
    server.should_exit = True
    await turning
    await server.shutdown(sockets=[listener])
