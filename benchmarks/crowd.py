"""What hostile clients of the capacity API cost kube-scheduler: filter calls with them and without them.

Called by `migsched bench crowd`. Blocks of filter calls over a half-full cluster alternate between quiet and each act
of `hostile_clients`, so the ratios are of one run on one machine. Times are the client's, with the connection that it
keeps. Meanwhile a probe asks /readyz as the kubelet does, each time on a connection of its own, and the memory of the
service, its gateway and its planner is added up.
"""

import http.client
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import numpy as np

from benchmarks import extender
from benchmarks.benchmark import Progress
from benchmarks.servers import extender_server
from benchmarks.servers.hostile_clients import ACTS

QUIET = "nothing"
NODES = 300
PROBE_S = 0.5  # between two probes, and between two looks at the memory
PROBE_TIMEOUT_S = 1.0  # Kubernetes' default
_MIB = 2**20


def measure(
    nodes: int = NODES,
    seconds: float = 4.0,
    rounds: int = 3,
    acts: Sequence[str] = tuple(ACTS),
    progress: Progress = lambda _: None,
) -> list[dict[str, Any]]:
    """Rows {meanwhile, nodes, calls, p50_ms, p99_ms, p50_ratio, p99_ratio, probes, failed_probes, memory_mib, …}.

    A block takes `seconds`. A ratio is to the quiet blocks of the same run. `memory_mib` is the most that all processes
    of the service took; `connections` and `sent_mib` are what the hostile clients did.
    """
    progress(f"crowd: {nodes} nodes × {extender_server.GPUS_PER_NODE} GPUs, filling them")
    phases = {meanwhile: _Phase() for meanwhile in (QUIET, *acts)}
    with _server(nodes) as server:
        server.filter(seconds / 4)
        for number in range(rounds):
            for meanwhile, phase in phases.items():
                progress(f"crowd: round {number + 1} of {rounds}, meanwhile {meanwhile}")
                with _acting(meanwhile, server.api_url, phase), _Probes(server, phase):
                    server.filter(seconds / 4)  # until what they do shows
                    phase.times += server.filter(seconds)
    return [_row(nodes, meanwhile, phase, phases[QUIET]) for meanwhile, phase in phases.items()]


@dataclass
class _Phase:
    """Milliseconds of each filter call, and what the probes saw meanwhile."""

    times: list[float] = field(default_factory=list)
    probes: int = 0
    failed: int = 0
    memory: int = 0
    connections: int = 0
    sent_mib: int = 0

    def percentiles(self) -> tuple[float, float]:
        p50, p99 = np.percentile(self.times, [50, 99])
        return float(p50), float(p99)


def _row(nodes: int, meanwhile: str, phase: _Phase, quiet: _Phase) -> dict[str, Any]:
    (p50, p99), (quiet_p50, quiet_p99) = phase.percentiles(), quiet.percentiles()
    return {
        "meanwhile": meanwhile,
        "nodes": nodes,
        "calls": len(phase.times),
        "p50_ms": round(p50, 2),
        "p99_ms": round(p99, 2),
        "p50_ratio": round(p50 / quiet_p50, 2),
        "p99_ratio": round(p99 / quiet_p99, 2),
        "probes": phase.probes,
        "failed_probes": phase.failed,
        "memory_mib": round(phase.memory / _MIB),
        "connections": phase.connections,
        "sent_mib": phase.sent_mib,
    }


class _Server:
    """The measured service, as kube-scheduler and the kubelet see it."""

    def __init__(self, pid: int, extender_url: str, api_url: str, nodes: int) -> None:
        self.api_url = api_url
        self._pid = pid
        self._extender = http.client.HTTPConnection(urlsplit(extender_url).netloc, timeout=60)
        self._names = extender_server.node_names(nodes)
        self._pods = 0

    def filter(self, seconds: float) -> list[float]:
        """Milliseconds of filter calls, one after the other, for so long."""
        times: list[float] = []
        ends = time.monotonic() + seconds
        while not times or time.monotonic() < ends:
            self._pods += 1
            pod = extender.pod_document(f"pod-{self._pods}", extender.PROFILES[self._pods % len(extender.PROFILES)])
            body = msgspec.json.encode({"Pod": pod, "Nodes": None, "NodeNames": self._names})
            began = time.perf_counter()
            self._extender.request("POST", "/v1/filter", body, {"Content-Type": "application/json"})
            answer = self._extender.getresponse()
            answer.read()
            times.append((time.perf_counter() - began) * 1e3)
            if answer.status != 200:
                raise RuntimeError(f"filter: HTTP {answer.status}")
        return times

    def is_ready(self) -> bool:
        """Whether a probe on a new connection succeeds."""
        probe = http.client.HTTPConnection(urlsplit(self.api_url).netloc, timeout=PROBE_TIMEOUT_S)
        try:
            probe.request("GET", "/readyz")
            return probe.getresponse().status == 200
        except OSError:
            return False
        finally:
            probe.close()

    def memory(self) -> int:
        """Bytes that the service and the processes that it started take now."""
        children = Path(f"/proc/{self._pid}/task/{self._pid}/children").read_text().split()
        return sum(_resident(pid) for pid in (str(self._pid), *children))

    def close(self) -> None:
        """Give the connection back."""
        self._extender.close()


class _Probes(threading.Thread):
    """Probes the service until the block is over."""

    def __init__(self, server: _Server, phase: _Phase) -> None:
        super().__init__(daemon=True)
        self._server = server
        self._phase = phase
        self._over = threading.Event()

    def run(self) -> None:
        """Probe, and look at the memory."""
        while True:
            self._phase.probes += 1
            self._phase.failed += not self._server.is_ready()
            self._phase.memory = max(self._phase.memory, self._server.memory())
            if self._over.wait(PROBE_S):
                return

    def __enter__(self) -> None:
        self.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()


def _resident(pid: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0  # it has ended meanwhile
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


@contextmanager
def _acting(act: str, url: str, phase: _Phase) -> Iterator[None]:
    """Hostile clients at work, unless it is to be quiet; what they did is added up."""
    if act == QUIET:
        yield
        return
    command = [sys.executable, "-m", "benchmarks.servers.hostile_clients", "--act", act, "--url", url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None  # asked for above
            if not process.stdout.readline():
                raise RuntimeError("the hostile clients did not start")
            yield
            process.terminate()
            connections, sent_mib = process.stdout.readline().split()
            phase.connections += int(connections)
            phase.sent_mib += int(sent_mib)
        finally:
            process.kill()


@contextmanager
def _server(nodes: int) -> Iterator[_Server]:
    command = [sys.executable, "-m", "benchmarks.servers.interference_server", "--nodes", str(nodes)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        server = None
        try:
            assert process.stdout is not None  # asked for above
            extender_url, _, api_url = process.stdout.readline().strip().partition(" ")
            if not api_url:
                raise RuntimeError("the measured server did not start")
            server = _Server(process.pid, extender_url, api_url, nodes)
            _wait_until_ready(server)
            yield server
        finally:
            if server is not None:
                server.close()
            process.terminate()
            process.wait(30)


def _wait_until_ready(server: _Server, deadline_s: float = 60.0) -> None:
    ends = time.monotonic() + deadline_s
    while not server.is_ready():
        if time.monotonic() > ends:
            raise RuntimeError("the measured server does not become ready")
