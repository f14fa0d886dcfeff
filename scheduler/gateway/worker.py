"""The gateway's program: `python -m scheduler.gateway.worker`, started by `process` only.

It takes the listening socket as a file descriptor and passes calls on to the service. It is less important than the
extender and has bounded memory; where its standard input ends, because the service stops or is gone, it ends.
"""

import argparse
import asyncio
import logging
import signal
import socket
import sys
from pathlib import Path

import msgspec
import uvloop

from config import logs
from httpserver import protocol
from kubeclient.kube import Connection
from kubeclient.reviews import ApiServerReviews, Reviews
from scheduler.child_process import lower_priority
from scheduler.gateway import locking
from scheduler.gateway.guard import Guard
from scheduler.gateway.limits import NICE, GatewayLimits
from scheduler.gateway.proxy import Proxy
from scheduler.lock.terms import LockTerms

STOP_S = 5
_OOM_SCORE_ADJ = 900  # of /proc/self/oom_score_adj: before the service, after the planner


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listener", type=int, required=True, help="file descriptor of a listening socket")
    parser.add_argument("--socket", required=True, help="path of the service's private socket")
    parser.add_argument("--limits", required=True, help="GatewayLimits as JSON")
    parser.add_argument("--lock", required=True, help="LockTerms as JSON")
    parser.add_argument("--log-format", required=True)
    parser.add_argument("--log-level", required=True)
    arguments = parser.parse_args()
    limits = msgspec.json.decode(arguments.limits, type=GatewayLimits)
    terms = msgspec.json.decode(arguments.lock, type=LockTerms)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    lower_priority(NICE, limits.memory_mib, _OOM_SCORE_ADJ)
    logs.configure(arguments.log_format, arguments.log_level)
    # uvicorn has a line for each request that is none and each client that leaves: strangers would write our log.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    uvloop.run(_serve(socket.socket(fileno=arguments.listener), arguments.socket, limits, terms))


async def _serve(listener: socket.socket, upstream: str, limits: GatewayLimits, terms: LockTerms) -> None:
    proxy = Proxy(upstream, answer_s=limits.answer_s)
    reviews = await _reviews(terms)
    guard = Guard(proxy, limits, locking.lock(terms, reviews))
    made = protocol.configuration(
        guard, limits.of_connections(), locking.tls(terms), timeout_graceful_shutdown=STOP_S, backlog=2048
    )
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), _end_with_input, ended)
    dropping = asyncio.create_task(_drop_followers(proxy, ended), name="drop followers")
    await protocol.serve(made, listener, ended)
    await dropping
    await proxy.close()
    if reviews is not None:
        await reviews.close()


async def _drop_followers(proxy: Proxy, ended: asyncio.Event) -> None:
    """Answers without an end would keep the server from ending."""
    await ended.wait()
    await proxy.drop_followers()


async def _reviews(terms: LockTerms) -> Reviews | None:
    """Who is asked about tokens: the API server, on connections of this process."""
    if not terms.tokens:
        return None
    file = Path(terms.kubeconfig) if terms.kubeconfig else None
    return ApiServerReviews(await Connection.connect(file, user_agent="migsched-api"))


def _end_with_input(ended: asyncio.Event) -> None:
    """The service writes nothing: what can be read is the end."""
    asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
    ended.set()


if __name__ == "__main__":
    main()
