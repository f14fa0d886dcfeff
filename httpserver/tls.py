"""TLS before `protocol`: a connection is counted and bounded from its first moment, not from the end of its handshake.

Where the event loop makes the handshake of what it accepts, it takes any number of clients that say nothing, each with
buffers of hundreds of KiB, before a protocol hears of them. Here a connection is admitted first, as a plain one, and
the handshake follows within `head_s`.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable

from httpserver.connections import Connections
from httpserver.limits import ConnectionLimits


class HandshakingConnection(asyncio.Protocol):
    """A connection until its handshake is done; from then on it is `protocol`'s.

    The socket moves to a transport of its own: one that was accepted cannot be kept from reading the first bytes.
    """

    def __init__(
        self, protocol: asyncio.Protocol, context: ssl.SSLContext, limits: ConnectionLimits, admitted: Connections
    ) -> None:
        self._protocol = protocol
        self._context = context
        self._limits = limits
        self._admitted = admitted
        self._plain: socket.socket | None = None  # until the handshake begins
        self._handshake: asyncio.Task[None] | None = None
        self.address = ""

    @property
    def waits_for_client(self) -> bool:
        """Always: no call is in work on it."""
        return True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """A client connected."""
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if isinstance(peer, tuple) and peer else ""
        if self._admitted.admit(self):
            self._plain = transport.get_extra_info("socket").dup()
            self._handshake = asyncio.ensure_future(self._secure())
        transport.abort()

    def abort(self) -> None:
        """Close the connection at once."""
        if self._plain is not None:
            self._plain.close()
        if self._handshake is not None:
            self._handshake.cancel()

    async def _secure(self) -> None:
        plain, self._plain = self._plain, None
        assert plain is not None
        plain.setblocking(False)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._begin,
                plain,
                ssl=self._context,
                ssl_handshake_timeout=self._limits.head_s,
                ssl_shutdown_timeout=self._limits.head_s,
            )
        except (OSError, ssl.SSLError):  # a client that speaks no TLS, or left, or was too slow; the socket is closed
            return
        finally:
            self._admitted.discard(self)

    def _begin(self) -> asyncio.Protocol:
        return _Begun(self._protocol, lambda: self._admitted.discard(self))


class _Begun(asyncio.Protocol):
    """The first to hear of a handshake that is done: gives its place to the connection's own protocol."""

    def __init__(self, protocol: asyncio.Protocol, make_room: Callable[[], None]) -> None:
        self._protocol = protocol
        self._make_room = make_room

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """See _Begun."""
        self._make_room()
        transport.set_protocol(self._protocol)
        self._protocol.connection_made(transport)
