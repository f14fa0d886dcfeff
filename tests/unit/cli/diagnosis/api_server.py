"""The cluster of `healthy` behind HTTP, for commands that are run as a user runs them."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

from allocator import errors
from tests.unit.cli.diagnosis.healthy import MemoryServer

STATUS = {errors.NotFoundError: 404, errors.RefusedError: 403, errors.UnreachableError: 503}


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # 5 else, and who comes when these wait asks again after a second


@contextmanager
def serving(server: MemoryServer) -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    """Its URL, and the patches that it was sent, by path."""
    patches: list[tuple[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def _answer(self, body: bytes, status: int = 200) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _body(self) -> bytes:
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            try:
                if parts.path == "/version":
                    self._answer(asyncio.run(server.request("GET", parts.path)))
                    return
                listing = asyncio.run(server.list(parts.path, bytes, dict(parse_qsl(parts.query))))
                items = [msgspec.Raw(item) for item in listing.items]
                self._answer(msgspec.json.encode({"metadata": {"resourceVersion": "1"}, "items": items}))
            except errors.ClusterError as error:
                said = {"kind": "Status", "status": "Failure", "message": str(error)}
                self._answer(json.dumps(said).encode(), STATUS[type(error)])

        def do_POST(self) -> None:
            self._answer(asyncio.run(server.request("POST", self.path, body=self._body())), 201)

        def do_PATCH(self) -> None:
            patches.append((self.path, json.loads(self._body())))
            self._answer(b"{}")

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with _Server(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_address[1]}", patches
        finally:
            http.shutdown()
            thread.join()
