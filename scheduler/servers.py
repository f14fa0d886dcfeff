"""Servers: the HTTP servers of one service, and the gateway's process before one of them. Made and closed by `service`.

The extender's server is uvicorn on httptools: its only client is the kube-scheduler beside it, and its time counts. The
API's is behind a gateway in a process of its own (docs/adr/0015) or, in a demo and in tests, in this process behind the
same limits.
"""

import asyncio
import math
import socket
import ssl
import tempfile
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from httpserver import protocol
from httpserver.limits import ConnectionLimits
from kubeclient.reviews import Reviews
from scheduler.extender.one_write import OneWriteProtocol
from scheduler.gateway import locking
from scheduler.gateway.guard import Guard
from scheduler.gateway.limits import GatewayLimits
from scheduler.gateway.process import GatewayProcess
from scheduler.listen import open_socket
from scheduler.lock.caller import NamedByGateway
from scheduler.lock.terms import LockTerms

KEEP_ALIVE_S = 120  # longer than the 90 s after which kube-scheduler drops idle connections: Go does not repeat a POST
BACKLOG = 2048


class Servers:
    """The servers, and `tasks` that end only when they do."""

    def __init__(self, *, shutdown_s: float, log_format: str, log_level: str) -> None:
        self.tasks: list[asyncio.Task[None]] = []
        self._servers: list[uvicorn.Server] = []
        self._shutdown_s = shutdown_s
        self._log_format = log_format
        self._log_level = log_level
        self._gateway: GatewayProcess | None = None
        self._listeners: list[socket.socket] = []
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    async def serve(
        self, application: ASGIApp, host: str, port: int, setting: str, context: ssl.SSLContext | None = None
    ) -> str:
        """Serve the extender; its URL. Raises SettingsError naming the setting whose port is taken."""
        listener = open_socket(host, port, setting)
        await self._start(self._private(application), listener, setting, context)
        return _url(host, listener, secure=context is not None)

    async def serve_tls(
        self, application: ASGIApp, host: str, port: int, limits: ConnectionLimits, context: ssl.SSLContext
    ) -> str:
        """Serve the webhook over TLS, bounded; its URL. Raises SettingsError."""
        listener = open_socket(host, port, "webhook_port")
        configured = protocol.configuration(
            application, limits, context, timeout_graceful_shutdown=math.ceil(self._shutdown_s), backlog=BACKLOG
        )
        await self._start(configured, listener, "webhook_port")
        return _url(host, listener, secure=True)

    async def serve_bounded(
        self,
        application: ASGIApp,
        host: str,
        port: int,
        limits: GatewayLimits,
        terms: LockTerms,
        reviews: Reviews | None = None,
    ) -> str:
        """Serve the API behind its limits and its lock, in this process; its URL. Raises SettingsError.

        `reviews` is whom the lock asks.
        """
        context, lock = locking.tls(terms), locking.lock(terms, reviews)
        listener = open_socket(host, port, "api_port")
        guarded = protocol.configuration(
            Guard(application, limits, lock),
            limits.of_connections(),
            context,
            timeout_graceful_shutdown=math.ceil(self._shutdown_s),
            backlog=BACKLOG,
        )
        await self._start(guarded, listener, "api_port")
        return _url(host, listener, secure=context is not None)

    async def serve_apart(
        self, application: ASGIApp, host: str, port: int, limits: GatewayLimits, terms: LockTerms
    ) -> str:
        """Serve the API through a gateway in a process of its own; the API's URL. Raises SettingsError."""
        secure = locking.tls(terms) is not None  # files that cannot be used are told here, not in the other process
        listener = open_socket(host, port, "api_port")
        self._listeners.append(listener)
        listener.listen(BACKLOG)
        self._folder = tempfile.TemporaryDirectory(prefix="migsched-")  # only this user may enter it
        path = str(Path(self._folder.name) / "api.sock")
        private = socket.socket(socket.AF_UNIX)
        private.bind(path)
        await self._start(self._private(NamedByGateway(application), for_gateway=True), private, "api")
        self._gateway = GatewayProcess(
            listener, path, limits, terms, log_format=self._log_format, log_level=self._log_level
        )
        self.tasks.append(asyncio.create_task(self._gateway.run(), name="gateway"))
        return _url(host, listener, secure=secure)

    @property
    def gateway_pid(self) -> int | None:
        """The gateway's process, None where there is none."""
        return None if self._gateway is None else self._gateway.pid

    def finish(self) -> None:
        """Take no further calls."""
        for server in self._servers:
            server.should_exit = True

    async def close(self) -> None:
        """Close everything, once the tasks are cancelled."""
        if self._gateway is not None:
            await self._gateway.stop()
        for server in self._servers:
            await server.shutdown()
        for listener in self._listeners:
            listener.close()
        if self._folder is not None:
            self._folder.cleanup()

    def _private(self, application: ASGIApp, *, for_gateway: bool = False) -> uvicorn.Config:
        """A server for one client that is trusted; the gateway says who its own client is."""
        return uvicorn.Config(
            application,
            http=OneWriteProtocol,
            log_config=None,
            access_log=False,
            proxy_headers=for_gateway,
            forwarded_allow_ips="*" if for_gateway else None,
            server_header=False,
            date_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=math.ceil(self._shutdown_s),
            lifespan="off",
            backlog=BACKLOG,
        )

    async def _start(
        self, config: uvicorn.Config, listener: socket.socket, name: str, context: ssl.SSLContext | None = None
    ) -> None:
        server = uvicorn.Server(config)
        config.load()
        config.ssl = context
        server.lifespan = config.lifespan_class(config)
        await server.startup(sockets=[listener])
        self._servers.append(server)
        self.tasks.append(asyncio.create_task(server.main_loop(), name=f"serve {name}"))


def _url(host: str, listener: socket.socket, *, secure: bool = False) -> str:
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    return f"{'https' if secure else 'http'}://{shown}:{listener.getsockname()[1]}"
