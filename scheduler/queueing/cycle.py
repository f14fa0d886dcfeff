"""QueueCycle: gives places to queued pods, in order, and has them released.

A cycle runs when something has changed that may matter: a pod came, room arose, a node changed. Changes of a moment are
looked at together. Between two pods the event loop is given back, so filter and bind never wait for a long queue;
whatever changes meanwhile is seen, since each pod is looked at as it is then.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence

import structlog

from allocator.eligibility.constraints import PodConstraints
from allocator.queueing import holding
from allocator.queueing.holding import NoPlace
from allocator.queueing.life import QueueEvent, QueueState
from allocator.queueing.queued_pod import QueuedPod
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.port import Cluster
from scheduler.cooperative import paced
from scheduler.metrics import Metrics
from scheduler.queueing.claimed_volumes import ClaimedVolumes
from scheduler.queueing.node_rules import ClusterNodeRules
from scheduler.queueing.releaser import Releaser
from scheduler.queueing.returns import Returns

_log = structlog.get_logger("queue")
_LOOK_S = 1.0  # how often released pods are looked at, and the queue again although nothing seemed to change

_Kind = tuple[tuple[tuple[str, int], ...], PodConstraints, object]  # slices, constraints, owner


class QueueCycle:
    """The queue of one service. `window_s` is how long changes are gathered."""

    def __init__(
        self,
        state: ClusterCache,
        cluster: Cluster,
        metrics: Metrics,
        *,
        window_s: float,
        return_after_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._state = state
        self._metrics = metrics
        self._window_s = window_s
        self._rules = ClusterNodeRules(state)
        self._releaser = Releaser(state, cluster, metrics)
        self._returns = Returns(state, cluster, self._rules, metrics, after_s=return_after_s, clock=clock)
        self._changed = asyncio.Event()
        self._volumes = ClaimedVolumes(state, cluster, self.notify, clock=clock)
        self._ending = False
        self._refused: dict[_Kind, tuple[int, ...]] = {}  # kinds of pods that found no place, and in which state

    def notify(self) -> None:
        """Something changed that may give a pod a place."""
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                async with asyncio.timeout(_LOOK_S):
                    await self._changed.wait()
            except TimeoutError:
                pass
            else:
                await asyncio.sleep(self._window_s)
            self._changed.clear()
            await self.step()

    async def step(self) -> None:
        """One cycle: everybody who waits is looked at once."""
        if self._ending:
            return
        began = time.perf_counter()

        # 1. Released pods of a process before have their places first, and those refused give them back.
        self._state.queue_feed.restore()
        self._returns.look()
        self._releaser.forget()
        self._volumes.forget()

        # 2. Who waits, in order?
        units = self._state.queue.waiting()
        placed = 0
        async for unit in paced(units):
            # 3. What has become of them since the order was made?
            pods = self._as_they_are(unit)
            if not pods or self._ending:
                continue

            # 4. Those that ask for nothing need no place.
            if not any(pod.request for pod in pods):
                for pod in pods:
                    self._releaser.release(pod)
                continue

            # 5. Has one like them found no place, and no room arisen since?
            if self._is_hopeless(pods):
                continue

            # 6. Hold a place for all of them, and release them.
            placed += self._hold(pods)
        self._metrics.queue_cycle_seconds.observe(time.perf_counter() - began)
        if placed:
            _log.debug("cycle", placed=placed, units=len(units))

    async def drain(self, timeout_s: float) -> int:
        """Begin no more releases, and bring those in flight to an end; how many are left without one."""
        self._ending = True
        await self._volumes.close()
        await self._returns.close()
        return await self._releaser.drain(timeout_s)

    def show(self) -> None:
        """Bring the gauge of the queue's depth up to date."""
        depth = Counter(pod.state for pod in self._state.queue)
        for state in QueueState:
            self._metrics.queued_pods.labels(state.value).set(depth[state])

    def _as_they_are(self, unit: Sequence[QueuedPod]) -> Sequence[QueuedPod]:
        """The pods of a unit as they are now; none if one of them cannot be placed."""
        now = [self._state.queue.get(pod.uid) for pod in unit]
        pods = [pod for pod in now if pod is not None and pod.state is QueueState.QUEUED]
        if len(pods) < len(unit) or any(pod.problem or not self._releaser.may_try(pod) for pod in pods):
            return ()
        judged = [self._volumes.judged(pod) for pod in pods]
        return [pod for pod in judged if pod is not None] if None not in judged else ()

    def _is_hopeless(self, pods: Sequence[QueuedPod]) -> bool:
        return any(self._refused.get(_kind(pod)) == self._room() for pod in pods)

    def _room(self) -> tuple[int, ...]:
        """Changes when a pod that found no place may find one."""
        inventory = self._state.inventory
        return (
            inventory.room_generation,
            inventory.fleet.members,
            self._state.facts_generation,
            self._state.used.generation,
        )

    def _hold(self, pods: Sequence[QueuedPod]) -> int:
        places = holding.hold(self._state.inventory, pods, self._rules)
        if isinstance(places, NoPlace):
            if len(pods) == 1:
                if len(self._refused) > 2 * len(self._state.queue) + 64:
                    self._refused.clear()
                self._refused[_kind(places.pod)] = self._room()
            return 0
        for pod, node in zip(pods, places.nodes, strict=True):
            held = self._state.queue.apply(pod.uid, QueueEvent.HOLD, node=node)
            if held is not None:
                self._releaser.release(held)
        return len(pods)


def _kind(pod: QueuedPod) -> _Kind:
    return pod.request.counts, pod.constraints, pod.owner
