"""Serving: the agent's metrics and health over HTTP, for Prometheus and the kubelet. Run by service.

It has a thread with an event loop of its own: a driver call that hangs must not look like a dead agent, and a new
agent would meet the same driver. `/livez` fails when the event loop has stood still; `/readyz` until containers have
their slices again and the kubelet knows every device; everything else is metrics.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from threading import Thread

import prometheus_client
from starlette.types import Receive, Scope, Send

from allocator import errors
from httpserver import protocol
from httpserver.limits import ConnectionLimits

STANDSTILL_S = 60.0  # without a beat the event loop counts as dead
BEAT_S = 5.0

LIMITS = ConnectionLimits(total=64, per_address=16, call_s=10.0)  # Prometheus and the kubelet keep one each


class Health:
    """What the probes answer. `waits_for` says, in any thread, what is missing until the agent serves."""

    def __init__(self, waits_for: Callable[[], str | None], clock: Callable[[], float] = time.monotonic) -> None:
        self._waits_for = waits_for
        self._clock = clock
        self._beat = clock()

    async def run(self) -> None:
        """Until cancelled: the event loop lives."""
        while True:
            self.beat()
            await asyncio.sleep(BEAT_S)

    def beat(self) -> None:
        """The event loop has turned."""
        self._beat = self._clock()

    def dead(self) -> str | None:
        """Why the agent should be restarted; None if it lives."""
        silent = self._clock() - self._beat
        return f"the event loop has stood still for {silent:.0f} s" if silent > STANDSTILL_S else None

    def unready(self) -> str | None:
        """What the agent waits for before it can serve; None if it does."""
        missing = self._waits_for()
        return f"waits for {missing}" if missing else None


@contextlib.contextmanager
def serve(host: str, port: int, registry: prometheus_client.CollectorRegistry, health: Health) -> Iterator[int]:
    """Answer meanwhile; yields the port. Raises SettingsError if it is taken."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=LIMITS.total)
    except OSError as error:
        raise errors.SettingsError(
            "metrics_port", port, f"cannot listen ({error.strerror}); free it or choose another"
        ) from error
    # Level: uvicorn has a line for each request that is none, and strangers would write our log.
    made = protocol.configuration(
        _Application(registry, health), LIMITS, log_level="critical", timeout_graceful_shutdown=1
    )
    loop, until = asyncio.new_event_loop(), asyncio.Event()
    serving = protocol.serve(made, listener, until)
    thread = Thread(target=loop.run_until_complete, args=(serving,), name="metrics and health", daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        loop.call_soon_threadsafe(until.set)
        thread.join()
        loop.close()


class _Application:
    """Probes, and metrics under every other path."""

    def __init__(self, registry: prometheus_client.CollectorRegistry, health: Health) -> None:
        self._metrics = prometheus_client.make_asgi_app(registry)
        self._probes = {"/livez": health.dead, "/readyz": health.unready}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        probe = self._probes.get(scope["path"])
        if probe is None:
            await self._metrics(scope, receive, send)
            return
        trouble = probe()
        content_type = [(b"content-type", b"text/plain; charset=utf-8")]
        await send({"type": "http.response.start", "status": 503 if trouble else 200, "headers": content_type})
        await send({"type": "http.response.body", "body": f"{trouble or 'ok'}\n".encode()})
