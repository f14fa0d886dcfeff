"""GangPlacer: places for gangs, all or none, and what is kept for them. Called by the cycle.

An attempt goes in small steps, between which filter and bind are served; what it holds meanwhile goes back if not all
pods get a place. A gang for which there were none is not tried again before something changes.
"""

from collections.abc import Callable, Sequence

import structlog

from allocator.queueing.gang import Gang, GangSource
from allocator.queueing.gang_holding import GangHolding, GangVerdict
from allocator.queueing.life import QueueEvent, QueueState
from allocator.queueing.queued_pod import QueuedPod
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cooperative import paced
from scheduler.queueing.node_rules import ClusterNodeRules

_log = structlog.get_logger("queue")
_NOTES = {
    GangVerdict.NO_ROOM: "there is no room for all of it at once",
    GangVerdict.UNKNOWN: "no places for all of it were found; that there are none is not proven",
}

_Room = tuple[object, ...]


class GangPlacer:
    """Gangs of one cycle. `keep_s` is how long the place of a member that died is kept, `limit_s` how long that of one
    whose release was refused; after it the gang stands behind others for as long again.
    """

    def __init__(
        self,
        state: ClusterCache,
        rules: ClusterNodeRules,
        notify: Callable[[], None],
        *,
        keep_s: float,
        limit_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._state = state
        self._rules = rules
        self._notify = notify
        self._keep_s = keep_s
        self._limit_s = limit_s
        self._clock = clock
        self.own_room = 0  # changes of room that were only attempts giving back what they held
        self._refused: dict[Gang, tuple[_Room, frozenset[str]]] = {}
        self._paused_until: dict[Gang, float] = {}
        self._incomplete_since: dict[Gang, float] = {}

    def look(self) -> None:
        """Give up what was kept for long enough; let gangs go on that were paused, or whose other pods do not come."""
        now, queue = self._clock(), self._state.queue
        for place in queue.kept.expire(now, keep_s=self._keep_s, refused_s=self._limit_s):
            if place.refused and place.gang in queue.gangs:
                queue.gangs.paused.add(place.gang)
                self._paused_until[place.gang] = now + self._limit_s
                _log.warning("a gang was not released whole", gang=_title(place.gang), given_up_on=place.node)
        for gang, until in tuple(self._paused_until.items()):
            if until <= now or gang not in queue.gangs:
                queue.gangs.paused.discard(gang)
                del self._paused_until[gang]
        self._loosen(now)
        for gang in self._refused.keys() - queue.gangs.members.keys():
            del self._refused[gang]

    def is_hopeless(self, pods: Sequence[QueuedPod], room: _Room, *, alone: bool) -> bool:
        """Whether a gang's pods found no places, and nothing has changed since; `alone`: one finds none alone."""
        gang = pods[0].gang
        if gang is not None and alone:
            self._state.queue.gangs.notes[gang] = _NOTES[GangVerdict.NO_ROOM]
        return alone or (gang is not None and self._refused.get(gang) == (room, _uids(pods)))

    async def place(self, pods: Sequence[QueuedPod], room: Callable[[], _Room]) -> Sequence[QueuedPod]:
        """Hold a place for each of these pods of a gang; they as they are then, or none of them."""
        gang, queue = pods[0].gang, self._state.queue
        wanting = [pod for pod in pods if pod.request]
        attempt = GangHolding(self._state.inventory, wanting, self._rules, self, self._first)
        async for _ in paced(attempt.steps()):
            pass
        held = [queue.get(pod.uid) for pod in wanting]
        placed = [pod for pod in held if pod is not None and pod.state is QueueState.HELD]
        if attempt.verdict in (GangVerdict.GREEDY, GangVerdict.EXACT) and len(placed) == len(wanting):
            self._note_placed(gang, placed)
            return [*placed, *(pod for pod in pods if not pod.request)]
        attempt.give_back()
        if gang is not None and attempt.verdict in _NOTES:
            self._refused[gang] = (room(), _uids(pods))
            queue.gangs.notes[gang] = _NOTES[attempt.verdict]
        else:
            self._notify()
        return ()

    # --- gang_holding.Promises

    def held(self, pod: QueuedPod, node: str) -> bool:
        """See Promises."""
        now = self._state.queue.get(pod.uid)
        if now is None or now.state is not QueueState.QUEUED or now.gang != pod.gang or now.problem:
            return False
        self._state.queue.apply(pod.uid, QueueEvent.HOLD, node=node)
        return True

    def given_back(self, pod: QueuedPod) -> None:
        """See Promises. Who was refused meanwhile is told that there is room."""
        now = self._state.queue.get(pod.uid)
        if now is not None and now.state is QueueState.HELD:
            before = self._state.inventory.room_generation
            self._state.give_back(pod.uid)
            self.own_room += self._state.inventory.room_generation - before

    # --- inside

    def _first(self, pod: QueuedPod) -> str:
        """Where a place is kept for a pod, or room was made for it; nothing if nowhere."""
        return self._state.queue.kept.node_for(pod) or self._state.nominated.node_of(pod.uid)

    def _note_placed(self, gang: Gang | None, placed: Sequence[QueuedPod]) -> None:
        queue = self._state.queue
        for pod in placed:
            queue.kept.take(pod)
        if gang is not None:
            self._refused.pop(gang, None)
            queue.gangs.notes.pop(gang, None)
            if any(
                queue_pod.state is QueueState.QUEUED for queue_pod in map(queue.get, queue.gangs.of(gang)) if queue_pod
            ):
                self._notify()  # pods beyond the gang's size are placed one by one now

    def _loosen(self, now: float) -> None:
        """A LeaderWorkerSet may make its workers only once the leader is ready: it is not waited for for ever."""
        gangs = self._state.queue.gangs
        waiting = {g for g in gangs if g.source is GangSource.LEADER_WORKER_SET and self._state.queue.missing(g)}
        for gang in self._incomplete_since.keys() - waiting:
            del self._incomplete_since[gang]
        for gang in waiting:
            if now - self._incomplete_since.setdefault(gang, now) >= self._limit_s:
                gangs.loose.add(gang)
                self._notify()


def _uids(pods: Sequence[QueuedPod]) -> frozenset[str]:
    return frozenset(pod.uid for pod in pods)


def _title(gang: Gang) -> str:
    return f"{gang.namespace}/{gang.name}"
