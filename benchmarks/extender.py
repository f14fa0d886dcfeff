"""How long the extender's own work takes: filter + prioritize per cycle, beside a no-op route fed the same body.

Called by `migsched bench extender`. The times are the server's, measured inside it; the no-op shows what reading
the body and the HTTP machinery cost on this machine at this moment.
"""

import http.client
import io
import random
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import msgspec
import numpy as np

from benchmarks.benchmark import Progress
from benchmarks.servers import extender_server

SIZES = (100, 1_000, 5_000)
PROFILES = ("1g.5gb", "2g.10gb", "3g.20gb", "7g.40gb")
JOINT = (("1g.5gb", "3g.20gb"), ("2g.10gb", "2g.10gb", "3g.20gb"), ("1g.5gb", "2g.10gb", "3g.20gb", "4g.20gb"))
WARM_UP = 20


@dataclass(frozen=True, slots=True)
class _Cycle:
    """Server milliseconds of one scheduling cycle."""

    filter: float
    prioritize: float
    noop: float


def measure(
    sizes: Sequence[int] = SIZES, cycles: int = 400, progress: Progress = lambda _: None
) -> list[dict[str, Any]]:
    """Rows {nodes, verb, p50_ms, p99_ms, noop_p50_ms}.

    The verb `cycle` is filter + prioritize of the same pod; `cycle of several profiles` the same for pods that ask for
    two to four different slices.
    """
    rows = []
    for nodes in sizes:
        progress(f"extender: {nodes} nodes × {extender_server.GPUS_PER_NODE} GPUs, filling them")
        with _server(nodes) as client:
            progress(f"extender: {nodes} nodes, {cycles} cycles of each kind")
            single = _cycles(client, nodes, cycles, [(profile,) for profile in PROFILES])
            joint = _cycles(client, nodes, cycles, JOINT)
        noop = float(np.median([c.noop for c in single]))
        for verb, times in (
            ("filter", [c.filter for c in single]),
            ("prioritize", [c.prioritize for c in single]),
            ("cycle", [c.filter + c.prioritize for c in single]),
            ("cycle of several profiles", [c.filter + c.prioritize for c in joint]),
        ):
            p50, p99 = np.percentile(times, [50, 99])
            rows.append(
                {
                    "nodes": nodes,
                    "verb": verb,
                    "p50_ms": round(float(p50), 3),
                    "p99_ms": round(float(p99), 3),
                    "noop_p50_ms": round(noop, 3),
                }
            )
    return rows


class _Connection(http.client.HTTPConnection):
    """Writes through a buffer of 4 KiB, as Go's client does: a small call is one packet, not head and body apart."""

    _writer: io.BufferedWriter

    def connect(self) -> None:
        super().connect()
        self._writer = io.BufferedWriter(socket.SocketIO(self.sock, "w"), 4096)

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        self._writer.write(data)

    def flush(self) -> None:
        """Send what is kept."""
        self._writer.flush()


class _Client:
    """Keep-alive calls to the measured server, as kube-scheduler makes them."""

    def __init__(self, url: str) -> None:
        self._connection = _Connection(urlsplit(url).netloc, timeout=60)

    def post(self, verb: str, body: bytes) -> Any:
        self._connection.request("POST", f"/v1/{verb}", body, {"Content-Type": "application/json"})
        return self._answer()

    def timings(self) -> dict[str, list[float]]:
        self._connection.request("GET", "/timings")
        times: dict[str, list[float]] = self._answer()
        return times

    def _answer(self) -> Any:
        self._connection.flush()
        response = self._connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise RuntimeError(f"HTTP {response.status}: {body[:200]!r}")
        return msgspec.json.decode(body)


@contextmanager
def _server(nodes: int) -> Any:
    command = [sys.executable, "-m", "benchmarks.servers.extender_server", "--nodes", str(nodes)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None  # asked for above
        url = process.stdout.readline().strip()
        if not url:
            raise RuntimeError("the measured server did not start")
        yield _Client(url)
    finally:
        process.terminate()
        process.wait(30)


def _cycles(client: _Client, nodes: int, cycles: int, requests: Sequence[Sequence[str]]) -> list[_Cycle]:
    chance = random.Random(7)
    names = extender_server.node_names(nodes)
    for number in range(WARM_UP + cycles):
        if number == WARM_UP:
            client.timings()
        chance.shuffle(names)  # kube-scheduler's parallel filters give no order
        pod = pod_document(f"pod-{number}", *requests[number % len(requests)])
        body = msgspec.json.encode({"Pod": pod, "Nodes": None, "NodeNames": names})
        client.post("noop", body)
        kept = client.post("filter", body)["NodeNames"]
        client.post("prioritize", msgspec.json.encode({"Pod": pod, "Nodes": None, "NodeNames": kept}))
    times = client.timings()
    series = [times[f"/v1/{verb}"] for verb in ("filter", "prioritize", "noop")]
    return [_Cycle(*fields) for fields in zip(*series, strict=True)]


def pod_document(name: str, *profiles: str) -> dict[str, Any]:
    """A pod as a controller makes it, with the weight of a real one, asking for one slice of each of these profiles."""
    slices = {f"nvidia.com/mig-{profile}": str(profiles.count(profile)) for profile in profiles}
    return {
        "metadata": {
            "name": name,
            "namespace": "bench",
            "uid": f"uid-{name}-{'-'.join(profiles)}",
            "labels": {f"label-{i}": "x" * 20 for i in range(8)},
            "annotations": {f"annotation-{i}": "y" * 60 for i in range(6)},
            "managedFields": [
                {"manager": "kube-controller-manager", "fieldsV1": {f"f:field-{i}": {} for i in range(60)}}
            ],
        },
        "spec": {
            "schedulerName": "migsched",
            "containers": [
                {
                    "name": "main",
                    "image": "nvcr.io/nvidia/tritonserver:26.10-py3",
                    "env": [{"name": f"VARIABLE_{i}", "value": "z" * 30} for i in range(12)],
                    "resources": {"limits": {**slices, "cpu": "4", "memory": "16Gi"}},
                }
            ],
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
        },
        "status": {"phase": "Pending"},
    }
