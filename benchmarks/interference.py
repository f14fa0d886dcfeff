"""What a long plan costs the extender: filter + prioritize with the planner idle, and with it busy without a pause.

Called by `migsched bench interference`. Blocks of scheduling cycles alternate between an idle planner, one that works
out plans of 10,000 slices over three GPU models, and one that answers capacity questions about the whole cluster, each
of which takes a snapshot of it. So the ratios are of one run on one machine. Times are the server's.
"""

import http.client
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import numpy as np

from allocator.mig import gpu_models
from allocator.mig.geometry import compiled
from benchmarks import extender, fleets
from benchmarks.benchmark import Progress
from benchmarks.servers import extender_server, service_process

SIZES = (1_000, 5_000)
NOTHING, PLANS, CAPACITY = "nothing", "plans", "capacity of the cluster"
MODELS = {"a100-40gb": 1.5, "a100-80gb": 2.0, "h100-80gb": 3.1}  # and what one costs
SLICES = 10_000
PINNED = 200
WARM_UP = 40
_BEGIN_S = 60.0  # until the planner's process works: it loads the solver first
_BUSY_S = 0.05  # of its processor time; then it does


def measure(
    sizes: Sequence[int] = SIZES, cycles: int = 300, rounds: int = 4, progress: Progress = lambda _: None
) -> list[dict[str, Any]]:
    """Rows {nodes, meanwhile, cycles, p50_ms, p99_ms, p50_ratio, p99_ratio, planner_cpu, answers}.

    A ratio is to the row of the same size where the planner does nothing. `planner_cpu` is the share of one processor
    that the planner got, `answers` how many questions it answered.
    """
    rows = []
    for nodes in sizes:
        progress(f"interference: {nodes} nodes × {extender_server.GPUS_PER_NODE} GPUs, filling them")
        with _server(nodes) as server:
            server.cycle(WARM_UP)
            phases = {meanwhile: _Phase() for meanwhile in (NOTHING, PLANS, CAPACITY)}
            for number in range(rounds):
                for meanwhile, so_far in phases.items():
                    progress(f"interference: {nodes} nodes, round {number + 1} of {rounds}, meanwhile {meanwhile}")
                    with server.busy(meanwhile, so_far):
                        so_far.times += server.cycle(cycles)
        rows += [_row(nodes, meanwhile, so_far, phases[NOTHING]) for meanwhile, so_far in phases.items()]
    return rows


@dataclass
class _Phase:
    """Milliseconds of each cycle, and what the planner did meanwhile."""

    times: list[float] = field(default_factory=list)
    planner_s: float = 0.0
    wall_s: float = 0.0
    answers: int = 0

    def percentiles(self) -> tuple[float, float]:
        p50, p99 = np.percentile(self.times, [50, 99])
        return float(p50), float(p99)


def _row(nodes: int, meanwhile: str, phase: _Phase, quiet: _Phase) -> dict[str, Any]:
    (p50, p99), (quiet_p50, quiet_p99) = phase.percentiles(), quiet.percentiles()
    return {
        "nodes": nodes,
        "meanwhile": meanwhile,
        "cycles": len(phase.times),
        "p50_ms": round(p50, 3),
        "p99_ms": round(p99, 3),
        "p50_ratio": round(p50 / quiet_p50, 3),
        "p99_ratio": round(p99 / quiet_p99, 3),
        "planner_cpu": round(phase.planner_s / phase.wall_s, 2) if phase.wall_s else 0.0,
        "answers": phase.answers,
    }


class _Connection:
    """Keep-alive calls to one of the server's ports."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=120)

    def call(self, method: str, path: str, document: Any = None) -> Any:
        """The decoded answer; RuntimeError for any status but 200."""
        body = None if document is None else msgspec.json.encode(document)
        self._connection.request(method, path, body, {"Content-Type": "application/json"})
        response = self._connection.getresponse()
        answer = response.read()
        if response.status != 200:
            raise RuntimeError(f"{path}: HTTP {response.status}: {answer[:200]!r}")
        return msgspec.json.decode(answer)

    def close(self) -> None:
        """Give the connection back."""
        self._connection.close()


class _Server:
    """The measured server, as its clients see it."""

    def __init__(self, pid: int, extender_url: str, api_url: str, nodes: int) -> None:
        self._pid = pid
        self._extender = _Connection(extender_url)
        self._api_url = api_url
        self._names = extender_server.node_names(nodes)
        self._chance = random.Random(7)
        self._pods = 0

    def close(self) -> None:
        """Give the connection back."""
        self._extender.close()

    def cycle(self, cycles: int) -> list[float]:
        """Milliseconds of filter + prioritize for so many pods, one after the other."""
        self._extender.call("GET", "/timings")
        for _ in range(cycles):
            self._pods += 1
            self._chance.shuffle(self._names)  # kube-scheduler's parallel filters give no order
            profile = extender.PROFILES[self._pods % len(extender.PROFILES)]
            pod = extender.pod_document(f"pod-{self._pods}", profile)
            arguments = {"Pod": pod, "Nodes": None, "NodeNames": self._names}
            kept = self._extender.call("POST", "/v1/filter", arguments)["NodeNames"]
            self._extender.call("POST", "/v1/prioritize", arguments | {"NodeNames": kept})
        times = self._extender.call("GET", "/timings")
        return [a + b for a, b in zip(times["/v1/filter"], times["/v1/prioritize"], strict=True)]

    @contextmanager
    def busy(self, meanwhile: str, phase: _Phase) -> Iterator[None]:
        """The planner at work as long as the block, question after question; what it did is added up."""
        if meanwhile == NOTHING:
            yield
            return
        load = _Load(self._api_url, meanwhile, first=phase.answers)
        load.start()
        try:
            self._wait_until_busy(load)
            began, spent = time.perf_counter(), self._planner_s()
            yield
            phase.wall_s += time.perf_counter() - began
            phase.planner_s += self._planner_s() - spent
        finally:
            load.finish()
        phase.answers += load.answers

    def _wait_until_busy(self, load: "_Load") -> None:
        """Until the planner has used some processor time for this load."""
        before = self._planner_s()
        deadline = time.monotonic() + _BEGIN_S
        while self._planner_s() < before + _BUSY_S:
            load.check()
            if time.monotonic() > deadline:
                raise RuntimeError("the planner does not work")
            time.sleep(0.01)

    def _planner_s(self) -> float:
        """Processor time of the server's worker processes so far."""
        children = Path(f"/proc/{self._pid}/task/{self._pid}/children").read_text().split()
        return sum(service_process.cpu_seconds(int(child)) for child in children)


class _Load(threading.Thread):
    """Asks the planner again and again, until told to finish."""

    def __init__(self, api_url: str, load: str, first: int) -> None:
        super().__init__(daemon=True)
        self.answers = 0
        self._connection = _Connection(api_url)
        self._load = load
        self._first = first
        self._over = threading.Event()
        self._error: Exception | None = None

    def run(self) -> None:
        """Ask; an error ends it and is raised where its end is waited for."""
        try:
            while not self._over.is_set():
                if self._load == PLANS:
                    self._connection.call("POST", "/api/v1/plan", long_plan(self._first + self.answers))
                else:
                    self._connection.call("GET", "/api/v1/capacity")
                self.answers += 1
        except Exception as error:
            self._error = error
        finally:
            self._connection.close()

    def check(self) -> None:
        """Raise what went wrong."""
        if self._error is not None:
            raise RuntimeError("the load on the planner failed") from self._error

    def finish(self) -> None:
        """Let it have its last answer."""
        self._over.set()
        self.join()
        self.check()


def long_plan(seed: int) -> dict[str, Any]:
    """A demand of 10,000 slices over three GPU models, with 200 GPUs that are cut already."""
    draw = np.random.default_rng([seed, SLICES])
    geometries = [compiled(gpu_models.find(name)) for name in MODELS]
    pinned = []
    for _ in range(PINNED):
        geometry = geometries[draw.integers(len(geometries))]
        slices = [
            {"profile": p.profile, "start": p.start} for p in fleets.grown(draw, geometry, int(draw.integers(1, 4)))
        ]
        pinned.append({"model": geometry.catalogue.model, "slices": slices})
    profiles = sorted({p.name for geometry in geometries for p in geometry.catalogue.profiles if p.plain})
    counts = draw.multinomial(SLICES, draw.dirichlet([1] * len(profiles)))
    return {
        "fleet": [{"model": name, "price": price} for name, price in MODELS.items()],
        "demand": {name: int(n) for name, n in zip(profiles, counts, strict=True)},
        "pinned": pinned,
        "goal": "cost",
        "headroom": profiles,
    }


@contextmanager
def _server(nodes: int) -> Iterator[_Server]:
    command = [sys.executable, "-m", "benchmarks.servers.interference_server", "--nodes", str(nodes)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None  # asked for above
            extender_url, _, api_url = process.stdout.readline().strip().partition(" ")
            if not api_url:
                raise RuntimeError("the measured server did not start")
            with closing(_Server(process.pid, extender_url, api_url, nodes)) as server:
                yield server
        finally:
            process.terminate()
            process.wait(30)
