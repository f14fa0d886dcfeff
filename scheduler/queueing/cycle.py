"""QueueCycle: gives places to queued pods, in order, and has them released.

A cycle runs when something has changed that may matter: a pod came, room arose, a node changed. Changes of a moment are
looked at together. Between two pods the event loop is given back, so filter and bind never wait for a long queue;
whatever changes meanwhile is seen, since each pod is looked at as it is then.
"""

import asyncio
import time
from collections.abc import Callable, Hashable, Sequence
from functools import partial

import structlog

from allocator.queueing import holding, spare_places
from allocator.queueing.holding import NoPlace
from allocator.queueing.life import HOLDING, QueueEvent, QueueState
from allocator.queueing.queued_pod import QueuedPod
from allocator.queueing.release import QueueRelease
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.port import Cluster
from scheduler.cooperative import paced
from scheduler.metrics import Metrics
from scheduler.queueing.announcements import Announcements
from scheduler.queueing.claimed_volumes import ClaimedVolumes
from scheduler.queueing.gang_placer import GangPlacer
from scheduler.queueing.gang_sizes import GangSizes
from scheduler.queueing.node_rules import ClusterNodeRules
from scheduler.queueing.options import QueueOptions
from scheduler.queueing.preemption import QueuePreemption
from scheduler.queueing.promised_places import NoPromises, PromisedPlaces
from scheduler.queueing.releaser import Releaser
from scheduler.queueing.reservations import ReservationKeeper
from scheduler.queueing.returns import Returns
from scheduler.queueing.turns import Turns
from scheduler.queueing.waits import Waits

_log = structlog.get_logger("queue")
_LOOK_S = 1.0  # how often released pods are looked at, and the queue again although nothing seemed to change
_LOOK_SHARE = 0.02  # of the time that looking at the queue again may take then: a long queue is looked at less often

_Room = tuple[object, ...]
_Kind = tuple[int, tuple[tuple[str, int], ...], object]  # priority, slices, and where pods may run


class QueueCycle:
    """The queue of one service."""

    def __init__(
        self,
        state: ClusterCache,
        cluster: Cluster,
        metrics: Metrics,
        options: QueueOptions,
        *,
        clock: Callable[[], float] = time.monotonic,
        promised: PromisedPlaces | None = None,
    ) -> None:
        self._state = state
        self._promised = promised or NoPromises()
        self._metrics = metrics
        self._window_s = options.window_s
        self._spare_nodes = options.spare_nodes
        self._rules = ClusterNodeRules(state)
        self._waits = Waits(metrics, clock=clock)
        self.announcements = Announcements(
            state, cluster, metrics, events=options.events, conditions=options.conditions, clock=clock
        )
        self._releaser = Releaser(
            state,
            cluster,
            metrics,
            way=options.release,
            on_released=self._released,
            on_refused=self.announcements.refused,
        )
        self._returns = Returns(
            state,
            cluster,
            self._rules,
            metrics,
            after_s=options.return_s,
            clock=clock,
            on_returned=lambda pod, deleted: self.announcements.returned(pod, deleted=deleted),
        )
        self._turns = Turns(state, fair=options.fair)
        self._preemption = QueuePreemption(state, cluster, self._rules, metrics, mode=options.preemption, clock=clock)
        self._reservations = ReservationKeeper(
            state, self._rules, patience_s=options.patience_s, most=options.reservations, clock=clock
        )
        self._changed = asyncio.Event()
        self._volumes = ClaimedVolumes(state, cluster, self.notify, clock=clock)
        self._gang_sizes = GangSizes(state, cluster, self.notify, clock=clock)
        self._gangs = GangPlacer(
            state, self._rules, self.notify, keep_s=options.gang_keep_s, limit_s=options.gang_limit_s, clock=clock
        )
        self._ending = False
        self._stepping = False
        self._again_at = 0.0  # when the queue is looked at again although nothing seemed to change
        self._refused: dict[_Kind, _Room] = {}  # kinds of pods that found no place, and in which state
        state.queueing = True
        state.queue_feed.pins = options.release is QueueRelease.PIN
        state.queue_feed.on_queued = self.notify
        state.queue_feed.on_bound = self._waits.bound
        state.queue_feed.on_not_admitted = self._returns.not_admitted

    def notify(self) -> None:
        """Something changed that may give a pod a place."""
        self._changed.set()

    @property
    def idle(self) -> bool:
        """Everybody who waits has been looked at as things are now, and no release is on its way."""
        return not self._stepping and not self._changed.is_set() and self._releaser.idle

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                async with asyncio.timeout(_LOOK_S):
                    await self._changed.wait()
            except TimeoutError:
                if time.perf_counter() < self._again_at:
                    self._look()
                    continue
            else:
                await asyncio.sleep(self._window_s)
            self._stepping = True
            self._changed.clear()
            await self.step()
            self._stepping = False

    async def step(self) -> None:
        """One cycle: everybody who waits is looked at once."""
        if self._ending:
            return
        began = time.perf_counter()

        # 1. Released pods of a process before have their places first, and those refused give them back.
        self._look()
        self._promised.refresh()
        self._reservations.begin()

        # 2. Who waits, in order?
        units = self._state.queue.waiting()
        placed = 0
        async for unit in paced(self._turns.taken(units)):
            # 3. What has become of them since the order was made?
            pods = self._as_they_are(unit)
            if not pods or self._ending:
                continue

            # 4. Those that ask for nothing need no place.
            if not any(pod.request for pod in pods):
                for pod in pods:
                    self._releaser.release(pod)
                continue

            # 5. Hold a place for all of them, and release them; not if one like them found none, and no room arose.
            #    A place that was promised before a pod came is its own, or it waits for it.
            held = await self._held_for(pods)
            if held is None:
                continue
            placed += held

            # 6. Make room for those that found none, if others are less important; or keep room for who waits long.
            if not held:
                await self._preemption.make_room(pods)
                self._reservations.found_none(pods, partial(self._asked, pods))
        self._reservations.end()
        took_s = time.perf_counter() - began
        self._again_at = time.perf_counter() + took_s / _LOOK_SHARE
        self._metrics.queue_cycle_seconds.observe(took_s)
        if placed:
            _log.debug("cycle", placed=placed, units=len(units))

    def _look(self) -> None:
        """What time alone changes, and what goes on without the queue."""
        self._state.queue_feed.restore()
        self._returns.look()
        self._releaser.forget()
        self._releaser.resume()
        self._preemption.look()
        self._volumes.forget()
        self._gangs.look()
        self._gang_sizes.look()
        self._waits.keep(self._is_released)

    async def step_down(self) -> None:
        """Another replica decides from now on: nothing more is written, and no place is held for a gated pod."""
        await asyncio.gather(self._returns.close(), self._preemption.close(), self._releaser.step_down())

    async def drain(self, timeout_s: float) -> int:
        """Begin no more releases, and bring those in flight to an end; how many are left without one."""
        self._ending = True
        await self._volumes.close()
        await self._gang_sizes.close()
        await self._returns.close()
        await self._preemption.close()
        return await self._releaser.drain(timeout_s)

    def show(self) -> None:
        """Bring the gauges of released pods and of reservations up to date."""
        self._metrics.queue_unbound_seconds.set(self._waits.oldest_s())
        self._metrics.queue_reservations.set(len(self._state.queue.reservations))

    def _released(self, pod: QueuedPod) -> None:
        self._waits.released(pod)
        self.announcements.released(pod, self._state.inventory.ledger.get(pod.uid))

    def _is_released(self, uid: str) -> bool:
        pod = self._state.queue.get(uid)
        return pod is not None and pod.state in HOLDING

    def _as_they_are(self, unit: Sequence[QueuedPod]) -> Sequence[QueuedPod]:
        """The pods of a unit as they are now; none if one of them cannot be placed."""
        now = [self._state.queue.get(pod.uid) for pod in unit]
        pods = [pod for pod in now if pod is not None and pod.state is QueueState.QUEUED]
        if len(pods) < len(unit) or not all(self._may_try(pod) for pod in pods):
            return ()
        judged = [self._volumes.judged(pod) for pod in pods]
        return [pod for pod in judged if pod is not None] if None not in judged else ()

    def _may_try(self, pod: QueuedPod) -> bool:
        return not pod.problem and self._releaser.may_try(pod) and self.announcements.may_release(pod)

    def _is_hopeless(self, pods: Sequence[QueuedPod]) -> bool:
        kept = self._state.queue.kept
        alone = any(self._refused.get(self._kind(pod)) == self._room(pod) and not kept.node_for(pod) for pod in pods)
        return alone if pods[0].gang is None else self._gangs.is_hopeless(pods, self._room_of(pods), alone=alone)

    def _asked(self, pods: Sequence[QueuedPod]) -> tuple[Hashable, Hashable]:
        """What a unit asks for, and the room that it is refused in."""
        return tuple(map(self._kind, pods)), self._room_of(pods)

    def _kind(self, pod: QueuedPod) -> _Kind:
        return pod.priority, pod.request.counts, self._rules.kind(pod)

    def _room(self, pod: QueuedPod) -> _Room:
        """Changes when a pod that found no place may find one, and is another for one that may use more room."""
        inventory, reservations = self._state.inventory, self._state.queue.reservations
        return (
            reservations.number,
            tuple(made.places for made in reservations.before(pod.uid, pod.order)) if reservations else (),
            inventory.room_generation - self._gangs.own_room,
            inventory.fleet.members,
            self._state.facts_generation,
            self._state.used.generation,
            self._state.nominated.generation,
            self._state.queue.kept.generation,
            self._rules.generation(pod),
        )

    def _room_of(self, pods: Sequence[QueuedPod]) -> _Room:
        """The same for a gang."""
        return self._room(next((pod for pod in pods if pod.constraints.beside_others), pods[0]))

    def _hold(self, pods: Sequence[QueuedPod]) -> int:
        places = holding.hold(self._state.inventory, pods, self._rules)
        self._rules.settled()
        if isinstance(places, NoPlace):
            if len(self._refused) > 2 * len(self._state.queue) + 64:
                self._refused.clear()
            self._refused[self._kind(places.pod)] = self._room(places.pod)
            return 0
        for pod, node in zip(pods, places.nodes, strict=True):
            spares = self._hold_spares(pod, node)
            held = self._state.queue.apply(pod.uid, QueueEvent.HOLD, node=node, spares=spares)
            if held is not None:
                self._releaser.release(held)
        return len(pods)

    def _hold_spares(self, pod: QueuedPod, node: str) -> tuple[str, ...]:
        """Hold places on further nodes where it is not certain that this one takes the pod."""
        self._rules.given_up(pod)  # it would be in its own way; the queue notes its place in the next step
        most = self._spare_nodes if self._releaser.may_have_spares(pod) else 0
        return spare_places.hold(self._state.inventory, pod, self._rules, node, most)

    async def _held_for(self, pods: Sequence[QueuedPod]) -> int | None:
        """How many places were found; None for a pod that has a promised one."""
        if pods[0].gang is None and self._take_promised(pods[0]):
            return None
        if self._is_hopeless(pods):
            return 0
        return await self._hold_gang(pods) if pods[0].gang is not None else self._hold(pods)

    def _take_promised(self, pod: QueuedPod) -> bool:
        """Whether a place was promised to a pod, which gets it now, or waits for it."""
        if self._promised.waits(pod):
            return True
        node = self._promised.take(pod)
        held = self._state.queue.apply(pod.uid, QueueEvent.HOLD, node=node) if node else None
        if held is not None:
            self._releaser.release(held)
        return held is not None

    async def _hold_gang(self, pods: Sequence[QueuedPod]) -> int:
        held = await self._gangs.place(pods, lambda: self._room_of(pods)) or self._take_reserved(pods)
        for pod in held:
            (self._gangs.given_back if self._ending else self._releaser.release)(pod)
        return len(held)

    def _take_reserved(self, gang: Sequence[QueuedPod]) -> Sequence[QueuedPod]:
        """Hold what is reserved for a gang, if all of it is free: looked for one by one its pods may miss it."""
        pods = self._as_they_are(gang)  # filter and bind were served meanwhile
        reserved = self._reservations.take(pods) if pods else None
        if reserved is None:
            return ()
        places = zip(pods, reserved.nodes, strict=True)
        held = [self._state.queue.apply(pod.uid, QueueEvent.HOLD, node=node) for pod, node in places]
        return [pod for pod in held if pod is not None]
