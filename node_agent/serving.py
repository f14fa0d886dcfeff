"""Serving: the agent's metrics and health over HTTP, for Prometheus and the kubelet. Run by service.

It has a thread of its own: a driver call that hangs must not look like a dead agent, and a new agent would meet the
same driver. `/livez` fails when the event loop has stood still; `/readyz` until containers have their slices again and
the kubelet knows every device; everything else is metrics.
"""

import asyncio
import contextlib
import socketserver
import time
import wsgiref.simple_server
from collections.abc import Callable, Iterable, Iterator
from threading import Thread
from typing import Any

import prometheus_client

from allocator import errors

STANDSTILL_S = 60.0  # without a beat the event loop counts as dead
BEAT_S = 5.0

_Start = Callable[[str, list[tuple[str, str]]], Any]
_Application = Callable[[dict[str, Any], _Start], Iterable[bytes]]


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
        server = wsgiref.simple_server.make_server(
            host, port, _application(registry, health), server_class=_Server, handler_class=_Quiet
        )
    except OSError as error:
        raise errors.SettingsError(
            "metrics_port", port, f"cannot listen ({error.strerror}); free it or choose another"
        ) from error
    thread = Thread(target=server.serve_forever, name="metrics and health", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(socketserver.ThreadingMixIn, wsgiref.simple_server.WSGIServer):
    """One thread for each connection: a client that says nothing holds up no probe."""

    daemon_threads = True


class _Quiet(wsgiref.simple_server.WSGIRequestHandler):
    """One that does not log each probe, and does not wait for a client that says nothing."""

    timeout = 10.0

    def log_message(self, *_: object) -> None:
        pass


def _application(registry: prometheus_client.CollectorRegistry, health: Health) -> _Application:
    metrics: _Application = prometheus_client.make_wsgi_app(registry)
    probes = {"/livez": health.dead, "/readyz": health.unready}

    def answer(environ: dict[str, Any], start: _Start) -> Iterable[bytes]:
        probe = probes.get(environ["PATH_INFO"])
        if probe is None:
            return metrics(environ, start)
        trouble = probe()
        status = "503 Service Unavailable" if trouble else "200 OK"
        start(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [f"{trouble or 'ok'}\n".encode()]

    return answer
