"""Runs the command line inside the test, and stands in for the capacity API it asks."""

import json
import ssl
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote_plus

import pytest

from cli import main


@dataclass(frozen=True)
class Outcome:
    """How a command ended and what it wrote."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class CommandLine:
    """The command line under test."""

    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch

    def run(self, *arguments: str, program: str = "migsched") -> Outcome:
        """Run `migsched`, or what it is also called, with these arguments."""
        self.monkeypatch.setattr(sys, "argv", [program, *arguments])
        with pytest.raises(SystemExit) as exited:
            main.main()
        written = self.capsys.readouterr()
        return Outcome(int(exited.value.code or 0), written.out, written.err)


@contextmanager
def serving(
    answers: Mapping[str, tuple[int, Any]],
    *,
    name: str = "migsched",
    token: str = "",
    tls: ssl.SSLContext | None = None,
) -> Iterator[str]:
    """An HTTP server that answers paths (with their query, decoded) with a status and JSON or bytes; its URL.

    `name` is how it calls itself. With `token` it answers nobody else.
    """

    class Handler(BaseHTTPRequestHandler):
        def version_string(self) -> str:
            return name

        def do_GET(self) -> None:
            status, body = answers.get(unquote_plus(self.path), (404, {"detail": "no such path"}))
            if token and self.headers.get("Authorization") != f"Bearer {token}":
                status, body = 401, {"detail": "the API server does not take the token for valid"}
            raw = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield f"{'http' if tls is None else 'https'}://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
