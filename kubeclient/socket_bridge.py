"""SocketBridge: one end of a pair of sockets, joined to a tunnel that is no socket. Used by `port_forward`.

The event loop speaks TLS on sockets alone: it gets the other end of the pair.
"""

import asyncio
import socket
from typing import Protocol


class Tunnel(Protocol):
    """What bytes are written to."""

    def write(self, data: bytes) -> None:
        """Send."""

    def abort(self) -> None:
        """Close at once."""


class SocketBridge:
    """What a tunnel gives is written to the socket; what the socket gives goes to the tunnel.

    `problem` is what the tunnel ended with: who speaks through the socket learns only that it is over.
    """

    def __init__(self) -> None:
        self.problem: Exception | None = None
        self._end = _SocketEnd()

    async def open(self) -> socket.socket:
        """Make the pair; the end to speak through."""
        near, far = socket.socketpair()
        await asyncio.get_running_loop().create_connection(lambda: self._end, sock=far)
        return near

    def join(self, tunnel: Tunnel) -> None:
        """Let the socket's bytes go to this tunnel."""
        self._end.tunnel = tunnel

    def data_received(self, data: bytes) -> None:
        """Bytes from the tunnel."""
        if self._end.transport is not None:
            self._end.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """The tunnel is over, and so is the socket."""
        self.problem = self.problem or exc
        if self._end.transport is not None:
            self._end.transport.close()


class _SocketEnd(asyncio.Protocol):
    """The socket's side."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.tunnel: Tunnel | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # what a stream has
        """The socket is there."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Bytes for the tunnel."""
        if self.tunnel is not None:
            self.tunnel.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed, and so is the tunnel."""
        del exc
        if self.tunnel is not None:
            self.tunnel.abort()
