"""The server that the benchmarks interference and crowd measure: extender, API and planner over a half-full fleet.

Served as by `migsched scheduler`: the API through a gateway in a process of its own. Run as a process of its own. A
line with the extender's and the API's URL on standard output says that it is ready; GET /timings of the extender gives
the server times since the last call.
"""

import argparse
import asyncio
import resource
import signal

import uvloop

from benchmarks.servers import extender_server
from benchmarks.servers.extender_server import Timed
from scheduler import api, service
from scheduler.api import Context
from scheduler.extender.routes import Routes
from scheduler.feed import Feed
from scheduler.gateway.limits import GatewayLimits
from scheduler.lock.terms import LockTerms
from scheduler.metrics import Metrics
from scheduler.page.repack_actions import RepackActions
from scheduler.planner.pool import PlannerPool
from scheduler.planner.port import PoolLimits
from scheduler.servers import Servers
from scheduler.snapshots import Snapshots
from simulator.cluster.memory_cluster.client import MemoryCluster
from simulator.cluster.memory_cluster.server import MemoryServer

MAX_BODY = 2**25
HOST = "127.0.0.1"
DESCRIPTORS = 1024  # the soft limit that systemd gives, and some container runtimes


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
        feed=Feed(),
        repacks=RepackActions(state, cluster, None),
    )
    made = Servers(shutdown_s=1, log_format="json", log_level="error")
    routes = Routes(extender, metrics, ready=lambda: True, max_body=MAX_BODY)
    extender_url = await made.serve(Timed(routes), HOST, 0, "extender_port")
    api_url = await made.serve_apart(api.build(context), HOST, 0, GatewayLimits(), LockTerms())
    service.freeze_gc()
    print(extender_url, api_url, flush=True)  # noqa: T201  # read by the parent
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()
    await context.planner.close()
    made.finish()
    for task in made.tasks:
        task.cancel()
    await asyncio.gather(*made.tasks, return_exceptions=True)
    await made.close()


def main() -> None:
    """Build the fleet and serve until ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, required=True)
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    uvloop.run(_serve(parser.parse_args().nodes))


if __name__ == "__main__":
    main()
