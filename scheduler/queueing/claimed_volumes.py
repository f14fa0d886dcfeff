"""ClaimedVolumes: where the volumes of queued pods can be used, asked for one pod at a time. Used by the cycle.

A pin that a volume contradicts would never be bound. Only the claims of queued pods are read, when they are needed, so
nothing of other volumes is watched. Where the API server does not let us read them they stay unjudged, as without it.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

from allocator import errors
from allocator.eligibility.constraints import VolumeTopology
from allocator.queueing.queued_pod import QueuedPod
from scheduler import cooperative
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.port import Cluster

_log = structlog.get_logger("queue")
CALLS = 8  # claims that are read at once
AGAIN_S = 5.0  # after which a claim that is not bound, or did not answer, is read again; later less and less often
MAX_AGAIN_S = 60.0


@dataclass(slots=True)
class _Reading:
    """Of one pod: when its claims are to be read again, None for never, and the pause before that."""

    again_at: float | None = None
    pause_s: float = AGAIN_S


class ClaimedVolumes:
    """Volumes by pod (UID), as they were when they were read last. `on_read` is called when some were.

    They are kept in the queue (`PodQueue.volumes`), so that explanations know them.
    """

    def __init__(
        self, state: ClusterCache, cluster: Cluster, on_read: Callable[[], None], *, clock: Callable[[], float]
    ) -> None:
        self._state = state
        self._cluster = cluster
        self._on_read = on_read
        self._clock = clock
        self._calls = asyncio.Semaphore(CALLS)
        self._readings: dict[str, _Reading] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._warned = False

    def judged(self, pod: QueuedPod) -> QueuedPod | None:
        """The pod with its volumes among its constraints; None while they are being read for the first time."""
        if not pod.claims:
            return pod
        reading = self._readings.get(pod.uid)
        is_due = reading is None or (reading.again_at is not None and self._clock() >= reading.again_at)
        if is_due and pod.uid not in self._tasks:
            task = asyncio.create_task(self._ask(pod), name=f"volumes of {pod.title}")
            self._tasks[pod.uid] = task
            task.add_done_callback(lambda _: self._tasks.pop(pod.uid, None))
        if pod.uid not in self._state.queue.volumes:
            return None
        volumes = self._state.queue.volumes[pod.uid]
        return pod if volumes is None else replace(pod, constraints=pod.constraints.with_volumes(volumes))

    def forget(self) -> None:
        """Forget pods that are not queued any more."""
        for uid in [uid for uid in self._readings if uid not in self._state.queue]:
            del self._readings[uid]

    async def close(self) -> None:
        """Cancel calls in flight."""
        await cooperative.cancel(self._tasks.values())

    async def _ask(self, pod: QueuedPod) -> None:
        reading = self._readings.setdefault(pod.uid, _Reading())
        volumes: tuple[VolumeTopology, ...] | None = None
        try:
            async with self._calls:
                volumes = tuple([await self._cluster.volume_of_claim(pod.namespace, claim) for claim in pod.claims])
        except errors.RefusedError as error:
            if not self._warned:
                self._warned = True
                _log.warning("volumes of queued pods are not judged", pod=pod.title, error=str(error))
        except errors.ClusterError as error:
            self._again(reading)
            _log.debug("volumes not read", pod=pod.title, error=str(error))
            return
        if volumes is None or all(volume.bound for volume in volumes):
            reading.again_at = None
        else:
            self._again(reading)
        queue = self._state.queue
        is_news = pod.uid in queue and (pod.uid not in queue.volumes or queue.volumes[pod.uid] != volumes)
        if is_news:
            queue.volumes[pod.uid] = volumes
            self._on_read()

    def _again(self, reading: _Reading) -> None:
        reading.again_at = self._clock() + reading.pause_s
        reading.pause_s = min(MAX_AGAIN_S, 2 * reading.pause_s)
