"""KeptRooms: the places that are being made for queued pods: for whom, where, and who has to go. Kept by
preemption.

While one is kept, the pod counts as nominated to the node, so filter, bind and the cycle keep its room. It ends when
the pod has a place, is gone, or found none although those who had to go are gone.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from allocator.queueing.life import QueueState
from allocator.queueing.queued_pod import QueuedPod
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.extender import evictable

SEEN_S = 10.0  # until the watch has shown that an evicted pod is being deleted


@dataclass(slots=True)
class KeptRoom:
    """Of one pod; those of a gang are made, and end, together with those of the others in `unit` (UIDs). `evictions` is
    None where nobody is evicted: those that have to go are on their way.
    """

    pod: QueuedPod
    node: str
    victims: tuple[str, ...]
    since: float
    unit: frozenset[str]
    evictions: asyncio.Task[None] | None = None


class KeptRooms:
    """By UID, one for each pod at most. Their number is that of units: a gang counts once."""

    def __init__(self, state: ClusterCache, clock: Callable[[], float]) -> None:
        self._state = state
        self._clock = clock
        self._rooms: dict[str, KeptRoom] = {}

    def __len__(self) -> int:
        return len({room.unit for room in self._rooms.values()})

    def __iter__(self) -> Iterator[KeptRoom]:
        return iter(tuple(self._rooms.values()))

    def get(self, uid: str) -> KeptRoom | None:
        """The room that is being made for a pod, or None."""
        return self._rooms.get(uid)

    def begin(
        self, pod: QueuedPod, node: str, victims: tuple[str, ...], unit: frozenset[str] = frozenset()
    ) -> KeptRoom:
        """Keep the room for a pod, alone or of a unit, from now on."""
        room = self._rooms[pod.uid] = KeptRoom(pod, node, victims, self._clock(), unit or frozenset({pod.uid}))
        self._state.nominated.hold(pod.uid, node, victims)
        return room

    def end(self, room: KeptRoom) -> None:
        """Keep the rooms of a unit no longer; nobody else is evicted for it."""
        for uid in room.unit & self._rooms.keys():
            ended = self._rooms.pop(uid)
            self._state.nominated.let_go(uid)
            self._state.queue.remark(uid, None)
            if ended.evictions is not None and ended.evictions is not _current_task():
                ended.evictions.cancel()

    def of_unit(self, room: KeptRoom) -> Sequence[KeptRoom]:
        """The rooms that are made together with one, itself included."""
        return [self._rooms[uid] for uid in sorted(room.unit) if uid in self._rooms]

    def is_wanted(self, room: KeptRoom) -> bool:
        """Whether all pods of the unit still wait for it."""
        pods = (self._state.queue.get(uid) for uid in room.unit)
        waits = all(pod is not None and pod.state is QueueState.QUEUED for pod in pods)
        return waits and room.unit <= self._rooms.keys()

    def is_coming(self, room: KeptRoom) -> bool:
        """Whether somebody still has to go who is expected to, for the pod or others of its unit."""
        return any(map(self._is_coming, self.of_unit(room)))

    def _is_coming(self, room: KeptRoom) -> bool:
        if room.evictions is not None and not room.evictions.done():
            return True
        young = self._clock() - room.since <= SEEN_S
        leaving = evictable.leaving(self._state, room.node)
        claims = ((uid, self._state.inventory.ledger.get(uid)) for uid in room.victims)
        return any(claim is not None and claim.node == room.node and (uid in leaving or young) for uid, claim in claims)


def _current_task() -> asyncio.Task[object] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None
