"""ReservationKeeper: gives reservations to units that have waited long, and ends them. Driven by the queueing cycle.

A cycle tells of each unit that found no place, in order. The first few that have waited for long enough and would find
one on empty GPUs get a reservation, or keep theirs; whoever is not among them at the end of the cycle has none.
"""

from collections.abc import Callable, Hashable, Sequence

import structlog

from allocator.claims.bound_pod import BoundPod
from allocator.claims.placement_annotation import Promise
from allocator.queueing import reservation
from allocator.queueing.holding import HeldPlaces
from allocator.queueing.queued_pod import QueuedPod
from allocator.queueing.reservation import Reservation, ReservedPlace
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.queueing.node_rules import ClusterNodeRules

_log = structlog.get_logger("queue")
STUCK = 10.0  # times the patience, after which a reservation that no pod has made room for is made elsewhere


class ReservationKeeper:
    """At most `most` reservations, for units that have waited for `patience_s`; 0 for none at all."""

    def __init__(
        self,
        state: ClusterCache,
        rules: ClusterNodeRules,
        *,
        patience_s: float,
        most: int,
        clock: Callable[[], float],
    ) -> None:
        self._state = state
        self._rules = rules
        self._patience_s = patience_s
        self._most = most if patience_s else 0
        self._clock = clock
        self._waits_since: dict[str, float] = {}  # by the UID of a unit's first pod
        self._progress_at: dict[str, float] = {}  # when a pod left the reserved room last
        self._lasting: dict[str, frozenset[str]] = {}  # pods that are not waited for any more
        self._nowhere: dict[Hashable, Hashable] = {}  # kinds of pods that fit no empty GPU, and in which state
        self._looked_at: set[str] = set()
        self._standing = 0

    def begin(self) -> None:
        """A cycle begins."""
        self._looked_at.clear()
        self._standing = 0

    def found_none(self, unit: Sequence[QueuedPod], asked: Callable[[], tuple[Hashable, Hashable]]) -> None:
        """A unit found no place. `asked` tells its kind, all of which fit alike, and in which state the room is."""
        if not self._most:
            return
        uid, now = unit[0].uid, self._clock()
        self._looked_at.add(uid)
        since = self._waits_since.setdefault(uid, now)
        reservations = self._state.queue.reservations
        if now - since < self._patience_s or self._standing == self._most:
            self._end(uid)
            return
        kind, room = asked()
        if self._nowhere.get(kind) == room:
            self._end(uid)
            return
        standing = reservations.get(uid)
        made = self._follow(uid, standing, unit, now) if standing is not None else self._reserve(uid, unit, now)
        if made is None:
            self._end(uid)
            if len(self._nowhere) > 2 * len(self._state.queue) + 64:
                self._nowhere.clear()
            self._nowhere[kind] = room
            return
        self._standing += 1
        reservations.put(uid, made)

    def end(self) -> None:
        """A cycle ends: who did not come up in it has no reservation any more."""
        for uid, _ in self._state.queue.reservations:
            if uid not in self._looked_at:
                self._end(uid)
        for uid in self._waits_since.keys() - self._looked_at:
            del self._waits_since[uid]
            self._progress_at.pop(uid, None)
            self._lasting.pop(uid, None)

    def take(self, unit: Sequence[QueuedPod]) -> HeldPlaces | None:
        """Claim what is reserved for a gang, if all of it is free: looked for one by one its pods may miss it."""
        standing = self._state.queue.reservations.get(unit[0].uid)
        if standing is None or len(unit) == 1:
            return None
        nodes: list[str] = []
        for pod in unit:
            places = [place for place in standing.places if place.uid == pod.uid]
            if not places or not self._rules.takes(pod, places[0].node) or not self._claim(pod, places):
                for claimed in unit[: len(nodes)]:
                    self._state.inventory.refuse(claimed.uid)
                return None
            nodes.append(places[0].node)
        return HeldPlaces(tuple(nodes))

    def _claim(self, pod: QueuedPod, places: Sequence[ReservedPlace]) -> bool:
        promises = tuple(
            Promise(place.container, place.gpu, place.placement.profile, place.placement.start) for place in places
        )
        promised = BoundPod(pod.uid, pod.namespace, pod.name, places[0].node, pod.request, promises)
        return self._state.inventory.restore(promised) is None

    def _reserve(self, uid: str, unit: Sequence[QueuedPod], now: float) -> Reservation | None:
        lasting = self._lasting.get(uid, frozenset())
        kept = self._state.queue.reservations.kept(besides=uid)
        made = reservation.reserve(self._state.inventory, unit, self._rules, kept, lasting)
        if made is None and lasting:
            self._lasting.pop(uid)
            made = reservation.reserve(self._state.inventory, unit, self._rules, kept)
        if made is not None:
            self._progress_at[uid] = now
            nodes = sorted({place.node for place in made.places})
            _log.info("reserved", pod=unit[0].title, pods=len(unit), nodes=nodes[:8], waits_for=len(made.holders))
        return made

    def _follow(self, uid: str, standing: Reservation, unit: Sequence[QueuedPod], now: float) -> Reservation | None:
        """The reservation as it is now; another one if it cannot stay, or nobody leaves."""
        followed = reservation.followed(self._state.inventory, standing, unit, self._rules)
        if followed is not None:
            if followed.holders != standing.holders:
                self._progress_at[uid] = now
            stuck = now - self._progress_at.setdefault(uid, now) >= STUCK * self._patience_s
            if followed.holders and not stuck:
                return followed
            if len(unit) > 1 and not followed.holders:
                return followed
            self._lasting[uid] = self._lasting.get(uid, frozenset()) | followed.holders
        made = self._reserve(uid, unit, now)
        if made is not None and made.places != standing.places:
            self._state.ask_again()
        return made

    def _end(self, uid: str) -> None:
        if self._state.queue.reservations.get(uid) is not None:
            self._state.queue.reservations.end(uid)
            self._state.ask_again()
