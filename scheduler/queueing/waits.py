"""Waits: how long queued pods waited for their release, and how long for their Binding after it. Kept by the cycle."""

import time
from collections.abc import Callable
from datetime import datetime

from allocator.queueing.queued_pod import QueuedPod
from scheduler.metrics import Metrics


class Waits:
    """Observes both waits. Of pods that were released by a process before, the second is not known."""

    def __init__(
        self,
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._metrics = metrics
        self._clock = clock
        self._wall_clock = wall_clock
        self._released_at: dict[str, float] = {}

    def released(self, pod: QueuedPod) -> None:
        """A pod's gate is gone. Its age is by the API server's clock, in whole seconds, and never negative here."""
        self._released_at[pod.uid] = self._clock()
        try:
            created = datetime.fromisoformat(pod.created).timestamp()
        except ValueError:
            return
        self._metrics.queue_wait_seconds.observe(max(0.0, self._wall_clock() - created))

    def bound(self, uid: str) -> None:
        """A released pod was seen with its node."""
        released_at = self._released_at.pop(uid, None)
        if released_at is not None:
            self._metrics.queue_bind_seconds.observe(self._clock() - released_at)

    def keep(self, is_waiting: Callable[[str], bool]) -> None:
        """Forget all but those that are still waited for; note how long the oldest of them waits."""
        self._released_at = {uid: at for uid, at in self._released_at.items() if is_waiting(uid)}

    def oldest_s(self) -> float:
        """How long the pod waits for its Binding that was released first; 0 without one."""
        return self._clock() - min(self._released_at.values(), default=self._clock())
