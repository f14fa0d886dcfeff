"""ClaimedVolumes: where the volumes of queued pods can be used, asked for one pod at a time. Used by the cycle.

A pin that a volume contradicts would never be bound. Only the claims of queued pods are read, when they are needed, so
nothing of other volumes is watched. Where the API server does not let us read them they stay unjudged, as without it.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import structlog

from allocator import errors
from allocator.eligibility.constraints import VolumeTopology
from allocator.eligibility.document import VOLUMES
from allocator.queueing.queued_pod import QueuedPod
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.port import Cluster

_log = structlog.get_logger("queue")
CALLS = 8  # claims that are read at once
AGAIN_S = 5.0  # after which a claim that was not there, or not bound, or not answered, is read again


class ClaimedVolumes:
    """Volumes by pod (UID), as they were when they were read last. `on_read` is called when some were."""

    def __init__(
        self, state: ClusterCache, cluster: Cluster, on_read: Callable[[], None], *, clock: Callable[[], float]
    ) -> None:
        self._state = state
        self._cluster = cluster
        self._on_read = on_read
        self._clock = clock
        self._calls = asyncio.Semaphore(CALLS)
        self._read: dict[str, tuple[VolumeTopology, ...] | None] = {}  # None: unjudged
        self._again_at: dict[str, float] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._warned = False

    def judged(self, pod: QueuedPod) -> QueuedPod | None:
        """The pod with its volumes among its constraints; None while they are being read."""
        if not pod.claims:
            return pod
        if pod.uid not in self._read:
            if pod.uid not in self._tasks and self._clock() >= self._again_at.get(pod.uid, 0.0):
                task = asyncio.create_task(self._ask(pod), name=f"volumes of {pod.title}")
                self._tasks[pod.uid] = task
                task.add_done_callback(lambda _: self._tasks.pop(pod.uid, None))
            return None
        volumes = self._read[pod.uid]
        if volumes is None:
            return pod
        unjudged = tuple(what for what in pod.constraints.unjudged if what != VOLUMES)
        return replace(pod, constraints=replace(pod.constraints, volumes=volumes, unjudged=unjudged))

    def forget(self) -> None:
        """Forget pods that are not queued any more."""
        for kept in (self._read, self._again_at):
            for uid in [uid for uid in kept if uid not in self._state.queue]:
                del kept[uid]

    async def close(self) -> None:
        """Cancel calls in flight."""
        tasks = tuple(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, pod: QueuedPod) -> None:
        topologies: list[VolumeTopology] = []
        try:
            async with self._calls:
                for claim in pod.claims:
                    topology = await self._cluster.volume_of_claim(pod.namespace, claim)
                    topologies += [topology] if topology is not None else []
        except errors.RefusedError as error:
            if not self._warned:
                self._warned = True
                _log.warning("volumes of queued pods are not judged", pod=pod.title, error=str(error))
            self._read[pod.uid] = None
        except errors.ClusterError as error:
            self._again_at[pod.uid] = self._clock() + AGAIN_S
            _log.debug("volumes not read", pod=pod.title, error=str(error))
            return
        else:
            self._read[pod.uid] = tuple(topologies)
        self._on_read()
