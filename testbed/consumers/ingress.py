"""A small reverse proxy, as a Route or an Ingress in a cluster: paths lead to endpoints in turn. For `make stack`.

It reads each answer whole before it passes it on, so it is no proxy for streams.
"""

import contextlib
import http.client
import itertools
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_ANSWER_S = 30.0
_MOST_BODY = 1 << 20


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where a server answers, and how a connection to it is made."""

    name: str
    connect: Callable[[], socket.socket] = field(compare=False)


class Ingress:
    """Listens on loopback. A context manager; safe to use from any thread."""

    def __init__(self) -> None:
        self._routes: dict[str, tuple[Upstream, ...]] = {}
        self._turn = itertools.count()
        self._server = _server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, name="ingress", daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "Ingress":
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def route(self, prefix: str, endpoints: Sequence[Upstream]) -> None:
        """Send paths with this prefix to these endpoints from now on."""
        self._routes = {**self._routes, prefix: tuple(endpoints)}

    def pass_on(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, str, bytes]:
        """Status, content type and body of the first endpoint that takes the request, each being tried once."""
        endpoints = next((found for prefix, found in self._routes.items() if path.startswith(prefix)), None)
        if endpoints is None:
            return 404, "text/plain", b"no route\n"
        first = next(self._turn)
        for offset in range(len(endpoints)):
            with contextlib.suppress(OSError, http.client.HTTPException):
                return _ask(endpoints[(first + offset) % len(endpoints)], method, path, headers, body)
        return 503, "text/plain", b"no endpoint answers\n"


def _ask(endpoint: Upstream, method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, str, bytes]:
    connection = http.client.HTTPConnection(endpoint.name, timeout=_ANSWER_S)
    connection.sock = endpoint.connect()
    connection.sock.settimeout(_ANSWER_S)
    try:
        connection.request(method, path, body, dict(headers))
        response = connection.getresponse()
        return response.status, response.getheader("Content-Type", "application/json"), response.read()
    finally:
        connection.close()


def _server(ingress: Ingress) -> ThreadingHTTPServer:
    class _Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self._pass_on("GET", b"")

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "0")
            if not length.isdecimal() or int(length) > _MOST_BODY:
                self.close_connection = True
                self.send_error(413)
                return
            self._pass_on("POST", self.rfile.read(int(length)))

        def _pass_on(self, method: str, body: bytes) -> None:
            headers = {"Content-Type": self.headers.get("Content-Type", "application/json")}
            status, kind, content = ingress.pass_on(method, self.path, headers, body)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_arguments: Any) -> None:
            """Nothing: the app counts what becomes of its requests."""

    return ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
