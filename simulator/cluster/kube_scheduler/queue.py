"""SchedulingQueue: which pod is tried next, and which refused ones are tried again. Used by scheduler.

As in kube-scheduler: active pods by priority and time; failed ones back off, twice as long each time; refused ones wait
until something happens that could help them, also if it happened while they were being tried. With nothing active,
refused pods that were woken need not wait out their back-off; those that failed by an error do.
"""

import asyncio
import contextlib
import enum
import heapq
import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from simulator.cluster.api import Document


class Wake(enum.Enum):
    """What happened in the cluster."""

    NODE = "node added or changed"
    ROOM = "pod on a node gone"
    OTHER = "any other change of a pod"


IN_TREE = frozenset({Wake.NODE, Wake.ROOM})  # what helps a pod refused by kube-scheduler itself
EXTENDER = frozenset(Wake)  # kube-scheduler cannot know what helps a pod refused by an extender: everything may


@dataclass(slots=True)
class Queued:
    """A pod in the queue: how often it was tried, and when it came or failed."""

    pod: Document
    attempts: int = 0
    since: float = 0.0
    wakes: frozenset[Wake] = field(default=frozenset())

    @property
    def uid(self) -> str:
        """The pod's UID."""
        return str(self.pod["metadata"]["uid"])


class SchedulingQueue:
    """Pods that wait for a node. Times are the event loop's."""

    def __init__(self, *, initial_backoff_s: float, max_backoff_s: float) -> None:
        self._initial_s = initial_backoff_s
        self._max_s = max_backoff_s
        self._all: dict[str, Queued] = {}
        self._active: list[tuple[int, float, int, str]] = []
        self._backing_off: dict[str, float] = {}  # UID → end of back-off
        self._failed: dict[str, float] = {}  # UID → end of back-off that is waited out
        self._refused: set[str] = set()
        self._trying: dict[str, set[Wake]] = {}  # UID → what happened since it was popped
        self._order = itertools.count()
        self._changed = asyncio.Event()

    @property
    def idle(self) -> bool:
        """Nothing is tried or will be, unless something happens: all that wait were refused."""
        active = any(uid in self._all for *_, uid in self._active)
        return not (active or self._backing_off or self._failed or self._trying)

    def add(self, pod: Document) -> None:
        """A new pod, or a newer version of one."""
        uid = pod["metadata"]["uid"]
        queued = self._all.get(uid)
        if queued is not None:
            queued.pod = pod
            self._happened([uid], Wake.OTHER)
            return
        self._all[uid] = Queued(pod, since=_now())
        self._activate(self._all[uid])

    def remove(self, uid: str) -> None:
        """A pod that needs no node any more."""
        self._all.pop(uid, None)
        self._refused.discard(uid)
        self._backing_off.pop(uid, None)
        self._failed.pop(uid, None)
        self._trying.pop(uid, None)

    def happened(self, what: Wake) -> None:
        """Wake the refused pods that this may help."""
        self._happened(tuple(self._refused | self._trying.keys()), what)

    async def pop(self) -> Queued:
        """The next pod to be tried; `done`, `refused` or `failed` has to follow."""
        while True:
            uid = self._next()
            if uid is not None:
                queued = self._all[uid]
                queued.attempts += 1
                self._trying[uid] = set()
                return queued
            self._changed.clear()
            until = min(self._failed.values(), default=None)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    await self._changed.wait()

    def done(self, uid: str) -> None:
        """A tried pod has its node."""
        self.remove(uid)

    def refused(self, queued: Queued, wakes: frozenset[Wake]) -> None:
        """A tried pod fits nowhere, until one of these happens."""
        happened = self._trying.pop(queued.uid, set())
        if queued.uid not in self._all:
            return
        queued.wakes, queued.since = wakes, _now()
        if happened & wakes:
            self._backing_off[queued.uid] = self._backoff_end(queued)
            self._changed.set()
        else:
            self._refused.add(queued.uid)

    def failed(self, queued: Queued) -> None:
        """A tried pod met an error: it is tried again after its back-off."""
        self._trying.pop(queued.uid, None)
        if queued.uid in self._all:
            queued.since = _now()
            self._failed[queued.uid] = self._backoff_end(queued)
            self._changed.set()

    def _happened(self, uids: Iterable[str], what: Wake) -> None:
        for uid in uids:
            if uid in self._trying:
                self._trying[uid].add(what)
            elif uid in self._refused and what in self._all[uid].wakes:
                self._refused.discard(uid)
                queued = self._all[uid]
                if self._backoff_end(queued) > _now():
                    self._backing_off[uid] = self._backoff_end(queued)
                    self._changed.set()
                else:
                    self._activate(queued)

    def _activate(self, queued: Queued) -> None:
        priority = queued.pod["spec"].get("priority") or 0
        heapq.heappush(self._active, (-priority, queued.since, next(self._order), queued.uid))
        self._changed.set()

    def _next(self) -> str | None:
        now = _now()
        for waiting in (self._backing_off, self._failed):
            for uid in [uid for uid, end in waiting.items() if end <= now]:
                del waiting[uid]
                self._activate(self._all[uid])
        while self._active:
            uid = heapq.heappop(self._active)[-1]
            if uid in self._all and uid not in self._trying:
                return uid
        if self._backing_off:
            uid = min(self._backing_off, key=self._backing_off.__getitem__)
            del self._backing_off[uid]
            return uid
        return None

    def _backoff_end(self, queued: Queued) -> float:
        doublings = min(queued.attempts - 1, 30)
        return queued.since + min(math.ldexp(self._initial_s, doublings), self._max_s)


def _now() -> float:
    return asyncio.get_running_loop().time()
