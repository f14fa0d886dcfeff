"""uvicorn's HTTP protocol with one write per answer. Used by the service's servers.

uvicorn writes an answer's head and body separately. On loopback the first write wakes kube-scheduler, which takes
the processor, reads half an answer and goes back to sleep: two context switches too many in each of its serial
calls. So writes are gathered until the event loop's next turn.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class _Gathering:
    """A transport whose writes go out together, at the loop's next turn or before the connection closes."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Keep the data for the next flush."""
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)

    def close(self) -> None:
        """Send what is kept, then close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._parts:
            data = b"".join(self._parts)
            self._parts.clear()
            self._transport.write(data)


class OneWriteProtocol(HttpToolsProtocol):
    """HttpToolsProtocol on a gathering transport."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """A client connected."""
        super().connection_made(_Gathering(transport, asyncio.get_running_loop()))  # type: ignore[arg-type]  # quacks alike
