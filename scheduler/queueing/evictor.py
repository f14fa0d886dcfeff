"""Evictor: one pod evicted to a definite end. Called by preemption.

The UID goes with the eviction, so it happens to that pod or to none, whoever asks how often. What a PodDisruptionBudget
does not allow now is asked again for a while: another pod of it may be about to be ready.
"""

import asyncio
import enum

import structlog

from allocator import errors
from config import fail_points
from scheduler.cache.known_pod import KnownPod
from scheduler.cache.port import Cluster
from scheduler.metrics import Metrics

_log = structlog.get_logger("queue")
FIRST_RETRY_S = 0.1
MAX_RETRY_S = 5.0
PATIENCE_S = 30.0  # how long a budget, or a server that does not answer, is asked again


class EvictionOutcome(enum.Enum):
    """How an eviction ended."""

    DONE = "done"  # the pod is being deleted, or gone
    FORBIDDEN = "forbidden"  # its budget does not allow it
    REFUSED = "refused"  # the API server does not do it


class Evictor:
    """Evicts pods through the Eviction API."""

    def __init__(
        self,
        cluster: Cluster,
        metrics: Metrics,
        *,
        first_retry_s: float = FIRST_RETRY_S,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._cluster = cluster
        self._metrics = metrics
        self._first_retry_s = first_retry_s
        self._patience_s = patience_s

    async def evict(self, pod: KnownPod, preemptor: str, node: str) -> tuple[EvictionOutcome, str]:
        """Evict a pod; how that ended, and what the API server said where it was not done."""
        clock = asyncio.get_running_loop().time
        until, pause_s = clock() + self._patience_s, self._first_retry_s
        while True:
            try:
                await self._cluster.evict(pod.namespace, pod.name, pod.uid)
                self._metrics.evicted_pods.inc()
                _log.info("evicted", pod=f"{pod.namespace}/{pod.name}", uid=pod.uid, node=node, preemptor=preemptor)
                await fail_points.pass_by("queue.evicted")
                return EvictionOutcome.DONE, ""
            except (errors.NotFoundError, errors.ConflictError):  # it is gone, by whoever's doing
                return EvictionOutcome.DONE, ""
            except errors.TooManyRequestsError as error:
                outcome, said = EvictionOutcome.FORBIDDEN, str(error)
                pause_s = max(pause_s, error.retry_after_s)
            except errors.UnreachableError as error:
                outcome, said = EvictionOutcome.REFUSED, str(error)
            except errors.ClusterError as error:
                return EvictionOutcome.REFUSED, str(error)
            if clock() + pause_s > until:
                return outcome, said
            await asyncio.sleep(pause_s)
            pause_s = min(MAX_RETRY_S, 2 * pause_s)
