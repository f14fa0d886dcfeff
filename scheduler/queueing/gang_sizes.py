"""GangSizes: the sizes of gangs whose PodGroup or PodGang has it, read one by one while their pods wait. Called by the
cycle.

Nothing is watched: a cluster need not serve PodGroups, and only those count that a queued pod names.
"""

import asyncio
import functools
from collections.abc import Callable

import structlog

from allocator import errors
from allocator.queueing.gang import READ_SOURCES, Gang, sizes_of
from allocator.queueing.life import QueueState
from scheduler import cooperative
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.port import Cluster

_log = structlog.get_logger("queue")
CALLS = 8  # that are made at once
AGAIN_S = 5.0  # after which a PodGroup is read again whose pods still wait


class GangSizes:
    """Follows the PodGroups of waiting gangs. `on_read` is called when one says something new."""

    def __init__(
        self, state: ClusterCache, cluster: Cluster, on_read: Callable[[], None], *, clock: Callable[[], float]
    ) -> None:
        self._state = state
        self._cluster = cluster
        self._on_read = on_read
        self._clock = clock
        self._calls = asyncio.Semaphore(CALLS)
        self._again_at: dict[Gang, float] = {}
        self._tasks: dict[Gang, asyncio.Task[None]] = {}

    def look(self) -> None:
        """Have the PodGroups read that are due."""
        now, queue = self._clock(), self._state.queue
        waiting = {pod.gang for pod in queue if pod.state is QueueState.QUEUED and pod.gang is not None}
        for gang in self._again_at.keys() - waiting:
            del self._again_at[gang]
        for gang in waiting:
            if gang.source in READ_SOURCES and gang not in self._tasks and now >= self._again_at.get(gang, now):
                self._again_at[gang] = now + AGAIN_S
                task = asyncio.create_task(self._read(gang), name=f"size of gang {gang.namespace}/{gang.name}")
                self._tasks[gang] = task
                task.add_done_callback(functools.partial(self._done, gang))

    async def close(self) -> None:
        """Cancel calls in flight."""
        await cooperative.cancel(self._tasks.values())

    def _done(self, gang: Gang, _: asyncio.Task[None]) -> None:
        self._tasks.pop(gang, None)

    async def _read(self, gang: Gang) -> None:
        gangs, sizes, note = self._state.queue.gangs, None, ""
        try:
            async with self._calls:
                parts = await self._cluster.gang_parts(gang)
            asking = {pod.name for pod in self._state.pods.values() if pod.namespace == gang.namespace}
            sizes = sizes_of(parts, asking)
        except errors.NotFoundError:
            note = f"there is no {gang.source.value} of that name"
        except errors.RefusedError as error:
            note = f"its {gang.source.value} cannot be read: {error}"
        except errors.ClusterError as error:
            _log.debug("PodGroup not read", gang=gang.name, error=str(error))
            return
        if gang not in gangs:
            return
        if note:
            gangs.notes[gang] = note
        elif gangs.size(gang) is None:
            gangs.notes.pop(gang, None)
        if gangs.resize(gang, sizes):
            self._on_read()
