"""What the genuine kube-scheduler sends to an extender, recorded once and compared with every run.

The golden files feed tests/contract/wire. `MIGSCHED_RECORD=1 pytest tests/e2e/scheduling/test_golden.py` writes them
anew; otherwise the live exchange must have the shape of the recorded one: same keys, same types.
"""

import json
import os
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from testbed.control_plane.control_plane import ControlPlane
from tests.e2e.scheduling.stack import Stack, bound, eventually, pod

pytestmark = pytest.mark.e2e

GOLDEN = Path(__file__).parents[2] / "contract" / "wire" / "golden"
VERBS = ("filter", "prioritize", "bind", "preempt")


class Recorder:
    """A proxy between kube-scheduler and the extender that keeps every exchange."""

    def __init__(self, upstream: str) -> None:
        self.exchanges: list[tuple[str, Any, Any]] = []
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                request = urllib.request.Request(upstream + self.path, body, {"Content-Type": "application/json"})
                with urllib.request.urlopen(request, timeout=30) as answer:
                    reply = answer.read()
                recorder.exchanges.append((self.path.rsplit("/", 1)[1], json.loads(body), json.loads(reply)))
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def small(plane: ControlPlane) -> Iterator[Stack]:
    """Two nodes with one GPU each."""
    with closing(Stack(plane, 2, 1)) as stack:
        yield stack
        stack.clear()
    plane.kubectl("delete", "nodes,mignodes", "--all")
    plane.kubectl("delete", "priorityclass/urgent", "--ignore-not-found")


def shape(value: Any, path: str = "") -> Any:
    """Keys and types; maps whose keys are names are reduced to their values' shape."""
    if isinstance(value, dict):
        if path in ("FailedNodes", "FailedAndUnresolvableNodes", "NodeNameToMetaVictims", "NodeNameToVictims"):
            return [shape(next(iter(value.values())))] if value else []
        if path in ("metadata", "annotations", "labels", "limits", "requests", "status", "allocatable", "capacity"):
            return "object"  # the API server's business, not kube-scheduler's
        return {key: shape(one, key) for key, one in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


@pytest.mark.parametrize("cached", [True, False], ids=["names", "nodes"])
def test_the_wire_is_as_recorded(small: Stack, cached: bool) -> None:
    """Filter, prioritize, bind and preempt calls of kube-scheduler have the recorded shape, in both cache modes."""
    small.serve(tie_wait_s=1)  # however busy this machine is: the first two pods belong on one GPU
    recorder = Recorder(small.extender_url)
    try:
        small.schedule(recorder.url, nodeCacheCapable=cached)
        urgent = {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": "urgent"},
            "value": 1000,
        }
        small.plane.apply([urgent])
        small.create(pod("small-1", "1g.5gb"), pod("pair-1", "3g.20gb", "1g.10gb"))
        eventually(lambda: len(bound(small.pods())) == 2, "two pods bound")
        small.create(pod("whole-1", "7g.40gb"))
        eventually(lambda: len(bound(small.pods())) == 3, "the whole GPU taken")
        # Kubernetes' own count finds no 7g left, so it looks for victims and asks us about them.
        small.create(pod("lacking-1", "4g.20gb"), pod("urgent-1", "7g.40gb", priorityClassName="urgent"))
        eventually(lambda: any(verb == "preempt" for verb, _, _ in recorder.exchanges), "a preempt call")
    finally:
        recorder.close()
    mode = "names" if cached else "nodes"
    chosen: dict[str, Any] = {}
    for verb, request, reply in recorder.exchanges:
        name = verb
        if verb == "filter":
            fits = bool(reply["NodeNames"] or (reply["Nodes"] or {}).get("items"))
            name = f"filter-{'fit' if fits else 'misfit'}"
        chosen.setdefault(name, {"request": request, "reply": reply})
    assert {"filter-fit", "prioritize", "bind", "preempt"} <= set(chosen)
    for name, exchange in chosen.items():
        file = GOLDEN / f"{name}-{mode}.json"
        if os.environ.get("MIGSCHED_RECORD"):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(exchange, indent=1, sort_keys=False) + "\n")
        recorded = json.loads(file.read_text())
        assert shape(recorded["request"]) == shape(exchange["request"])
        assert shape(recorded["reply"]) == shape(exchange["reply"])
