"""How long people wait for an answer: one pod's explanation in a large cluster, and pods asked about together.

Called by `migsched bench answers` and `bench all` through `measure`. In one process, without the API around it. The
explanation is without its remedy, whose search has a time limit of its own.
"""

import asyncio
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import UNSET

from allocator.eligibility.amounts import Amounts
from allocator.eligibility.constraints import PodConstraints, Toleration
from allocator.eligibility.node import NodeFacts, Taint
from allocator.planning import capacity
from allocator.request import Request, SliceRequest
from benchmarks.benchmark import Progress
from benchmarks.servers.extender_server import half_full
from scheduler import explain
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.known_pod import KnownPod

NODES = 5_000
PODS = 20
_OFFERED = Amounts(128_000, 1 << 40, 1 << 42, 110)
_FITS = [
    {"name": "a", "profiles": {"3g.20gb": 1}, "count": 24},
    {"name": "b", "profiles": {"1g.5gb": 2}, "count": 48},
]
_TOO_MANY = [
    {"name": "a", "profiles": {"3g.20gb": 1}, "count": 70},
    {"name": "b", "profiles": {"1g.5gb": 2}, "count": 100},
    {"name": "c", "profiles": {"2g.10gb": 1, "1g.5gb": 1}, "count": 60},
]
_QUESTIONS: Mapping[str, tuple[int, Sequence[Mapping[str, Any]], bool]] = {
    "72 pods that fit exactly": (3, _FITS, True),
    "230 pods, too many": (10, _TOO_MANY, False),
}
_SPEC = {"containers": [{"resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}]}


def measure(nodes: int = NODES, pods: int = PODS, progress: Progress = lambda _: None) -> list[dict[str, Any]]:
    """A row per question: seconds (median and worst, of one pod each), and whether the answers are right."""
    progress(f"answers: making {nodes} nodes")
    rows = [_explanations(nodes, pods)]
    for question, (number, requests, fit) in _QUESTIONS.items():
        for spec in (False, True):
            progress(f"answers: {question}")
            rows.append(_capacity(question, number, requests, fit, spec=spec))
    return rows


def _explanations(nodes: int, pods: int) -> dict[str, Any]:
    state = _cluster(nodes)
    seconds, right = [], True
    for number in range(pods):
        profile = ("7g.40gb", "4g.20gb", "3g.20gb")[number % 3]
        tolerations = (Toleration("team", "Exists"),) if number % 2 else ()
        constraints = PodConstraints(tolerations=tolerations, requests=Amounts(4_000 + number, 1 << 30, 0, 1))
        request = Request((SliceRequest("main", profile), SliceRequest("other", "7g.40gb")))
        pod = KnownPod(f"uid-{number}", "bench", f"waits-{number}", "", 0, False, request, constraints=constraints)
        began = time.perf_counter()
        answer = asyncio.run(explain.explain_in_steps(state, pod))
        seconds.append(time.perf_counter() - began)
        right = right and sum(answer["counts"].values()) == nodes
    return _row("explain one pod", nodes, seconds, right=right)


def _cluster(nodes: int) -> ClusterCache:
    """Half-full nodes with labels and what their pods use; a tenth has a taint, another no CPU left."""
    state = half_full(nodes)
    state.used.complete = True
    for number, name in enumerate(sorted(state.inventory.nodes)):
        labels = {f"label-{key}.example.com/name": f"value-{number % 7}" for key in range(40)}
        taints = (Taint("team", "NoSchedule", "a"),) if number % 10 == 0 else ()
        state.nodes[name] = NodeFacts(name, taints=taints, labels=labels, allocatable=_OFFERED)
        cpu = 127_000 if number % 10 == 1 else 20_000 + number
        state.used.put(f"used-{number}", name, Amounts(cpu, 1 << 38, 0, 20))
    return state


def _capacity(
    question: str, nodes: int, requests: Sequence[Mapping[str, Any]], fit: bool, *, spec: bool
) -> dict[str, Any]:
    asked = [{**request, "spec": _SPEC} if spec else dict(request) for request in requests]
    fleet = [{"model": "a100-40gb", "nodes": nodes, "gpus_per_node": 8}]
    began = time.perf_counter()
    answer = capacity.answer({"fleet": fleet, "profiles": [], "requests": asked}, None)
    seconds = time.perf_counter() - began
    right = answer.requests is not UNSET and answer.requests.fit is fit
    return _row(f"capacity: {question}{', with a spec' if spec else ''}", nodes, [seconds], right=right)


def _row(question: str, nodes: int, seconds: Sequence[float], *, right: bool) -> dict[str, Any]:
    return {
        "question": question,
        "nodes": nodes,
        "p50_s": round(statistics.median(seconds), 3),
        "worst_s": round(max(seconds), 3),
        "right": int(right),
    }
