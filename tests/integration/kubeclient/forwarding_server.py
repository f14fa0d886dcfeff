"""An API server that lists one pod of the scheduler and forwards its port, in a thread of its own.

Channels are as kubelet and containerd make them: a message with the port on each, then bytes of the connection.
"""

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from kubeclient.port_forward import DATA, ERROR, PROTOCOL

POD = "migsched-scheduler-1"


@dataclass
class ForwardingServer:
    """What it was asked. `target` is the port on this machine that pods' ports lead to; 0: to nothing.

    `secure` says that the pod's probes speak TLS.
    """

    target: int
    phase: str = "Running"
    token: str = "secret"
    secure: bool = False
    url: str = ""
    asked: list[str] = field(default_factory=list)

    async def pods(self, request: web.Request) -> web.StreamResponse:
        """The scheduler's pod."""
        if (refusal := self._refusal(request)) is not None:
            return refusal
        probe = {"httpGet": {"path": "/readyz", "port": 8080, **({"scheme": "HTTPS"} if self.secure else {})}}
        pod = {
            "metadata": {"name": POD, "namespace": "migsched-system"},
            "spec": {"initContainers": [{"name": "extender", "readinessProbe": probe}], "containers": []},
            "status": {"phase": self.phase},
        }
        return web.json_response({"kind": "PodList", "metadata": {"resourceVersion": "1"}, "items": [pod]})

    async def forward(self, request: web.Request) -> web.StreamResponse:
        """One connection to its port."""
        if (refusal := self._refusal(request)) is not None:
            return refusal
        socket = web.WebSocketResponse(protocols=(PROTOCOL,))
        await socket.prepare(request)
        port = int(request.query.get("ports") or request.query["port"]).to_bytes(2, "little")
        for channel in (DATA, ERROR):
            await socket.send_bytes(bytes([channel]) + port)
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            await socket.send_bytes(bytes([ERROR]) + b"failed to connect to localhost:8080 inside namespace")
            await socket.close()
            return socket
        back = asyncio.create_task(_copy(reader, socket))
        async for message in socket:
            writer.write(message.data[1:])
        back.cancel()
        writer.close()
        return socket

    def _refusal(self, request: web.Request) -> web.Response | None:
        self.asked.append(request.path_qs)
        if not self.token or request.headers.get("Authorization") == f"Bearer {self.token}":
            return None
        status: dict[str, Any] = {"kind": "Status", "status": "Failure", "message": "Forbidden", "code": 403}
        return web.json_response(status, status=403)


async def _copy(reader: asyncio.StreamReader, socket: web.WebSocketResponse) -> None:
    while block := await reader.read(1000):  # small: an answer comes in many messages
        await socket.send_bytes(bytes([DATA]) + block)
    await socket.close()


@contextlib.contextmanager
def forwarding(target: int, tls: ssl.SSLContext | None = None) -> Iterator[ForwardingServer]:
    """The server, running. It serves the kubelet's path too."""
    made = ForwardingServer(target)
    started, stop = threading.Event(), threading.Event()

    async def run() -> None:
        application = web.Application()
        application.router.add_get("/api/v1/namespaces/{namespace}/pods", made.pods)
        application.router.add_get(f"/api/v1/namespaces/{{namespace}}/pods/{POD}/portforward", made.forward)
        application.router.add_get(f"/portForward/{{namespace}}/{POD}", made.forward)
        runner = web.AppRunner(application, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        started.set()
        await asyncio.to_thread(stop.wait)
        await runner.cleanup()

    thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield made
    finally:
        stop.set()
        thread.join()
