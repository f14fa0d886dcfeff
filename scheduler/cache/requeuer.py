"""Requeues pods that wait when room arises: one node's annotation is patched, and kube-scheduler tries them again.

kube-scheduler retries a pod that an extender refused at any change of a Node, and not when an agent gives a slice
back, which it cannot see. Each requeue costs it a scan per refused pod, so they are coalesced, and none is sent
while no pod waits (`WaitingPods`).
"""

import asyncio

import structlog

from allocator import errors
from allocator.claims import contract
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.port import Cluster
from scheduler.metrics import Metrics

_log = structlog.get_logger("requeuer")

PAUSE_MAX_S = 5.0  # a right that is missing stays missing; an API server that is back is noticed soon enough


class Requeuer:
    """Turns any number of notifications into at most one patch per interval."""

    def __init__(self, cluster: Cluster, metrics: Metrics, *, interval_s: float) -> None:
        self._cluster = cluster
        self._metrics = metrics
        self._interval_s = interval_s
        self._pause_s = interval_s  # doubled by each failure
        self._notified = asyncio.Event()

    def notify(self) -> None:
        """Room arose somewhere."""
        self._notified.set()

    async def run(self, state: ClusterCache) -> None:
        """Until cancelled."""
        while True:
            await self._notified.wait()
            self._notified.clear()
            if state.waiting and state.inventory.nodes:
                await self._requeue(min(state.inventory.nodes))
                await asyncio.sleep(self._interval_s)

    async def _requeue(self, node: str) -> None:
        try:
            await self._cluster.annotate_node(
                node, contract.REQUEUE_ANNOTATION, f"{asyncio.get_running_loop().time():.3f}"
            )
        except errors.ClusterError as error:
            self._pause_s = min(PAUSE_MAX_S, 2 * self._pause_s)
            _log.warning("cannot requeue refused pods", node=node, error=str(error), again_in_s=self._pause_s)
            await asyncio.sleep(self._pause_s)
            self._notified.set()
            return
        self._pause_s = self._interval_s
        self._metrics.requeues.inc()
