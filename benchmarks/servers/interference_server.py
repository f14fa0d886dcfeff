"""The server that the interference benchmark measures: extender, API and planner of one service over a half-full fleet.

Run as a process of its own by `benchmarks.interference`. A line with the extender's and the API's URL on standard
output says that it is ready; GET /timings of the extender gives the server times since the last call.
"""

import argparse
import asyncio

import uvicorn
import uvloop
from starlette.types import ASGIApp

from benchmarks.servers import extender_server
from benchmarks.servers.extender_server import Timed
from scheduler import api, servers, service
from scheduler.api import Context
from scheduler.extender.one_write import OneWriteProtocol
from scheduler.extender.routes import Routes
from scheduler.metrics import Metrics
from scheduler.planner.pool import PlannerPool
from scheduler.planner.port import PoolLimits
from scheduler.snapshots import Snapshots
from simulator.cluster.memory_cluster.client import MemoryCluster
from simulator.cluster.memory_cluster.server import MemoryServer

MAX_BODY = 2**25


async def _serve(nodes: int) -> None:
    metrics = Metrics()
    state = extender_server.half_full(nodes)
    cluster = MemoryCluster(MemoryServer())  # nothing is bound, and there are no budgets to be read
    extender = extender_server.extender_of(state, metrics, cluster)
    context = Context(
        state=state,
        metrics=metrics,
        ready=lambda: True,
        refresh=lambda: None,
        snapshots=Snapshots(state, cluster),
        planner=PlannerPool(PoolLimits(), metrics),
        simulate=None,
        max_body=MAX_BODY,
    )
    applications = (Timed(Routes(extender, metrics, ready=lambda: True, max_body=MAX_BODY)), api.build(context))
    made = [_server(application) for application in applications]
    sockets = [server.config.bind_socket() for server in made]
    service.freeze_gc()
    for sock in sockets:
        sock.listen()  # so that a client told the address now is never refused
    print(*(f"http://127.0.0.1:{sock.getsockname()[1]}" for sock in sockets), flush=True)  # noqa: T201  # read by the parent
    await asyncio.gather(*(server.serve(sockets=[sock]) for server, sock in zip(made, sockets, strict=True)))


def _server(application: ASGIApp) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            application,
            port=0,
            http=OneWriteProtocol,
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            lifespan="off",
            timeout_keep_alive=servers.KEEP_ALIVE_S,
        )
    )


def main() -> None:
    """Build the fleet and serve until ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, required=True)
    uvloop.run(_serve(parser.parse_args().nodes))


if __name__ == "__main__":
    main()
