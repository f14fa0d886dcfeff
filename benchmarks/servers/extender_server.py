"""The server that the extender benchmark measures: the real application over a half-full fleet, with each call timed.

Run as a process of its own by `benchmarks.extender`, so that the client's work does not count. GET /timings gives
the server times in milliseconds by path since the last call; a line with the URL on standard output says that it
is ready.
"""

import argparse
import random
import time

import msgspec
import uvicorn
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from allocator.claims import report
from allocator.claims.ledger import Claim
from allocator.mig import gpu_models
from allocator.placement import policy
from allocator.request import Request, SliceRequest
from scheduler import service
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.port import Cluster
from scheduler.extender.binder import Binder
from scheduler.extender.extender import Extender
from scheduler.extender.nominations import Nominations
from scheduler.extender.one_write import OneWriteProtocol
from scheduler.extender.preemptor import Preemptor
from scheduler.extender.routes import Routes
from scheduler.metrics import Metrics
from simulator.cluster.memory_cluster.client import MemoryCluster
from simulator.cluster.memory_cluster.server import MemoryServer as MemoryServer

GPUS_PER_NODE = 8
MODEL = "a100-40gb"
MIX = ("1g.5gb", "1g.5gb", "2g.10gb", "3g.20gb", "4g.20gb", "7g.40gb")


def node_names(nodes: int) -> list[str]:
    """Names as long as a cloud's."""
    return [f"gpu-worker-{n:05d}.eu-west-1.compute.internal" for n in range(nodes)]


def half_full(nodes: int) -> ClusterCache:
    """A state of that many nodes × 8 GPUs whose memory slices are half taken by random pods; the same each time."""
    state = ClusterCache(policy.DEFAULT, on_room=lambda: None)
    catalogue = gpu_models.find(MODEL)
    chance = random.Random(nodes)
    for name in node_names(nodes):
        gpus = tuple(
            report.GpuReport(f"GPU-{name}-{g}", g, "NVIDIA A100-SXM4-40GB", report.MigMode.ENABLED, catalogue)
            for g in range(GPUS_PER_NODE)
        )
        state.inventory.nodes.add(name)
        state.inventory.observe(report.NodeReport(name, gpus))
        taken, number = 0, 0
        while taken < GPUS_PER_NODE * catalogue.memory_slices // 2:
            request = Request((SliceRequest("main", chance.choice(MIX)),))
            outcome = state.inventory.reserve(f"{name}/{number}", "bench", f"pod-{number}", request, name)
            number += 1
            if isinstance(outcome, Claim):
                taken += outcome.holds[0].placement.size
    return state


class Timed:
    """Measures each call of an application; serves the measurements at /timings."""

    def __init__(self, application: ASGIApp) -> None:
        self._application = application
        self._times: dict[str, list[float]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One call."""
        if scope["type"] == "http" and scope["path"] == "/timings":
            await Response(msgspec.json.encode(self._times), media_type="application/json")(scope, receive, send)
            self._times = {}
            return
        began = time.perf_counter()
        await self._application(scope, receive, send)
        self._times.setdefault(scope.get("path", ""), []).append((time.perf_counter() - began) * 1e3)


def extender_of(
    state: ClusterCache, metrics: Metrics, cluster: Cluster, shortlist: int = 10, slack: float = 0.0
) -> Extender:
    """An extender over a state; what it is asked here binds nothing and evicts no pod."""
    nominations = Nominations(nomination_ttl_s=0.3, tie_wait_s=0.0)  # no Binding comes, so none is waited for
    binder, preemptor = Binder(state, cluster, nominations, metrics, timeout_s=1), Preemptor(state, cluster)
    return Extender(state, binder, preemptor, nominations, metrics, shortlist=shortlist, slack=slack)


async def _noop(body: bytes) -> bytes:
    """POST /v1/noop: reads a body and answers nothing; what the transport alone costs."""
    del body
    return b"{}"


def main() -> None:
    """Build the fleet and serve until ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, required=True)
    parser.add_argument("--shortlist", type=int, default=10)
    parser.add_argument("--slack", type=float, default=0.0)
    arguments = parser.parse_args()
    metrics = Metrics()
    state = half_full(arguments.nodes)
    extender = extender_of(state, metrics, MemoryCluster(MemoryServer()), arguments.shortlist, arguments.slack)
    routes = Routes(extender, metrics, ready=lambda: True, max_body=2**25)
    routes.mount("noop", _noop)
    application = Timed(routes)
    service.freeze_gc()
    config = uvicorn.Config(
        application,
        port=0,
        http=OneWriteProtocol,
        loop="uvloop",
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        lifespan="off",
    )
    server = uvicorn.Server(config)
    sockets = [server.config.bind_socket()]
    sockets[0].listen()  # so that a client told the address now is never refused
    print(f"http://127.0.0.1:{sockets[0].getsockname()[1]}", flush=True)  # noqa: T201  # read by the parent
    server.run(sockets=sockets)


if __name__ == "__main__":
    main()
