"""An API server that only ever lists: fixed pages of nodes, MigNodes and bound pods, and watches without changes.

Used by `benchmarks.sync`, where a genuine one would need minutes to be filled and would share the cores.
"""

import threading
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from allocator.claims import contract, placement_annotation, report
from allocator.claims.placement_annotation import Promise
from allocator.mig import gpu_models
from allocator.mig.profile import Placement
from kubeclient.kube import PAGE
from scheduler.cache.kube import PATHS
from scheduler.cache.port import WatchedKind

MODEL = "a100-40gb"
GPUS_PER_NODE = 8
_POD_WEIGHT = {f"label-{i}": "x" * 24 for i in range(8)}


def pages(documents: Iterable[dict[str, Any]]) -> list[bytes]:
    """The bodies of a list's pages, each telling where the next one is."""
    made: list[bytes] = []
    rest: Iterator[dict[str, Any]] = iter(documents)
    page = list(islice(rest, PAGE))
    while page:
        following = list(islice(rest, PAGE))
        more = str(len(made) + 1) if following else ""
        body = {"metadata": {"resourceVersion": "1", "continue": more}, "items": page}
        made.append(msgspec.json.encode(body))
        page = following
    return made or [b'{"metadata":{"resourceVersion":"1"},"items":[]}']


def nodes(count: int) -> Iterator[dict[str, Any]]:
    """Node objects."""
    return ({"metadata": {"name": f"node-{n:05d}", "labels": _POD_WEIGHT}} for n in range(count))


def mig_nodes(count: int, slices_per_node: int) -> Iterator[dict[str, Any]]:
    """MigNodes whose first GPUs are full of one-slice pods."""
    catalogue = gpu_models.find(MODEL)
    for n in range(count):
        gpus = []
        for g in range(GPUS_PER_NODE):
            slices = tuple(
                report.Slice(
                    Placement("1g.5gb", s, 1),
                    report.SliceState.ALLOCATED,
                    report.Owner("bench", f"pod-{n}-{g * 7 + s}", f"uid-{n}-{g * 7 + s}", "main"),
                    mig_uuid=f"MIG-{n}-{g}-{s}",
                    gpu_instance_id=s,
                    compute_instance_id=0,
                )
                for s in range(7)
                if g * 7 + s < slices_per_node
            )
            gpus.append(
                report.GpuReport(_gpu(n, g), g, "NVIDIA A100-SXM4-40GB", report.MigMode.ENABLED, catalogue, slices)
            )
        node = report.NodeReport(f"node-{n:05d}", tuple(gpus))
        status = contract.encode_status(node, agent_version="bench", mode="simulated")
        yield {"metadata": {"name": node.node, "resourceVersion": "1"}, "status": status}


def pods(count: int, slices_per_node: int) -> Iterator[dict[str, Any]]:
    """Bound pods, one slice each, with the placement annotation that bind writes."""
    for n in range(count):
        for number in range(slices_per_node):
            promise = Promise("main", _gpu(n, number // 7), "1g.5gb", number % 7)
            yield {
                "metadata": {
                    "name": f"pod-{n}-{number}",
                    "namespace": "bench",
                    "uid": f"uid-{n}-{number}",
                    "resourceVersion": "1",
                    "labels": _POD_WEIGHT,
                    "annotations": {contract.PLACEMENT_ANNOTATION: placement_annotation.encode([promise])},
                },
                "spec": {
                    "nodeName": f"node-{n:05d}",
                    "schedulerName": "migsched",
                    "containers": [{"name": "main", "resources": {"limits": {"nvidia.com/mig-1g.5gb": "1"}}}],
                },
                "status": {"phase": "Running"},
            }


def _gpu(node: int, index: int) -> str:
    return f"GPU-{node:08d}-0000-0000-0000-{index:012d}"


class StaticApiServer:
    """Serves the pages from a thread, as a context manager; `url` is where."""

    def __init__(self, lists: dict[WatchedKind, list[bytes]]) -> None:
        by_path = {PATHS[kind]: made for kind, made in lists.items()}
        closing = self._closing = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                url = urlsplit(self.path)
                query = parse_qs(url.query)
                if "watch" in query:
                    self.send_response(200)
                    self.send_header("Transfer-Encoding", "chunked")
                    self.end_headers()
                    closing.wait()
                    return
                body = by_path[url.path][int(query.get("continue", ["0"])[0])]
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "StaticApiServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
