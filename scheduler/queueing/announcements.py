"""Announcements: queued pods are told why they wait and what became of them, by Events and by their condition. Run by
the service beside the cycle.

Words and codes are those of explanations. What is to be told waits in a short line and is sent at a calm pace, so that
a burst of pods is not slowed by what is said of it, and a long queue costs little: what does not fit the line is
dropped and counted. docs/adr/0022 says why PodScheduled.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from allocator import errors
from allocator.claims.ledger import Claim
from allocator.queueing.life import QueueState
from allocator.queueing.queued_pod import QueuedPod
from kubeclient.events import PodEvent
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.known_pod import KnownPod
from scheduler.cache.port import Cluster, GatedPodMessage
from scheduler.cooperative import paced
from scheduler.explain import explanation
from scheduler.explain.codes import ExplanationCode, event_reason
from scheduler.explain.explanation import SharedCounts
from scheduler.metrics import Metrics
from scheduler.queueing.announcement_book import AGAIN_S, AnnouncementBook
from scheduler.queueing.token_bucket import TokenBucket

_log = structlog.get_logger("queue")
RELEASED_EVENT = "Released"
RETURNED_EVENT = "ReturnedToQueue"
PER_S = 5.0  # Events and conditions that are written
BURST = 10
MAX_LINE = 256  # that wait to be written
LOOK_S = 15.0  # how often it is asked why pods wait
WITHIN_S = 0.1  # of asking at once; pods that ask something else are asked about the next time
GRACE_S = 10.0  # a pod that waits for less is told nothing
UNSEEN_S = 2.0  # a watch shows a written condition within this time
NEW = "new"  # in place of a code, of a pod that was not asked about yet
_WAITING = frozenset({QueueState.QUEUED, QueueState.UNBINDABLE})
_NOT_NORMAL = frozenset({ExplanationCode.UNBINDABLE, ExplanationCode.INVALID})
_Told = PodEvent | tuple[str, str]  # an Event, or a pod (UID) and its condition's message


class Announcements:
    """Tells the pods of one queue. Without `events` and `conditions` it says nothing."""

    def __init__(
        self,
        state: ClusterCache,
        cluster: Cluster,
        metrics: Metrics,
        *,
        events: bool = False,
        conditions: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._state = state
        self._cluster = cluster
        self._metrics = metrics
        self._events = events
        self._conditions = conditions
        self._clock = clock
        self._book = AnnouncementBook()
        self._bucket = TokenBucket(per_s=PER_S, burst=BURST, now=clock())
        self._line: deque[_Told] = deque()
        self._filled = asyncio.Event()
        self._since: dict[str, float] = {}  # when a pod was first seen to wait
        self._codes: dict[str, ExplanationCode] = {}  # why a pod waited when it was last asked
        self._written: dict[str, tuple[ExplanationCode, float]] = {}  # code of a pod's condition, and when
        self._unseen: dict[str, tuple[str, float]] = {}  # version at which a condition was written, and until when
        self._next = 0  # of the queue's pods, who is asked about next
        self._warned = False

    async def run(self) -> None:
        """Until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._look_again(), name="why pods wait")
                group.create_task(self._send_all(), name="tell pods")
        finally:
            self._metrics.queued_by_reason.clear()  # another replica may count them now

    def released(self, pod: QueuedPod, claim: Claim | None) -> None:
        """A pod's gate is gone."""
        if len(self._line) >= MAX_LINE // 2:  # of a burst; the rest of the line is for what goes wrong
            self._metrics.announcements.labels("event", "dropped").inc(self._events)
            return
        holds = claim.holds if claim is not None else ()
        where = ", ".join(f"{hold.placement} of GPU {hold.gpu}" for hold in holds[:8])
        more = f" and {len(holds) - 8} more" if len(holds) > 8 else ""
        spare = f"; if that refuses it, to {' or '.join(pod.spares)}" if pod.spares else ""
        self._say(pod, RELEASED_EVENT, f"to node {pod.node}: {where}{more}{spare}" if where else "it asks for no slice")

    def refused(self, pod: QueuedPod, why: str) -> None:
        """The API server did not let a pod go: it waits for another place."""
        self._say(pod, RETURNED_EVENT, f"it could not be released: {why}", normal=False)

    def returned(self, pod: QueuedPod, *, deleted: bool) -> None:
        """kube-scheduler refuses a released pod for too long."""
        if not deleted:
            return  # it stays, unbindable, and is told so with those that wait
        why = f"kube-scheduler refuses it on node {' and '.join(pod.nodes)}: {pod.refusal}"
        self._say(pod, RETURNED_EVENT, f"{why}; it is deleted, and its controller makes it again", normal=False)

    def may_release(self, pod: QueuedPod) -> bool:
        """Whether no write of ours is on its way that would make the pod another version than the known one."""
        version, until = self._unseen.get(pod.uid, ("", 0.0))
        return version != pod.version or self._clock() >= until

    async def look(self, *, within_s: float = WITHIN_S) -> None:
        """Ask why pods wait that have waited for a while, and line up what they are to be told."""
        if not (self._events or self._conditions):
            return
        now, ends = self._clock(), time.perf_counter() + within_s
        waiting = [pod.uid for pod in self._state.queue if pod.state in _WAITING]
        self._forget(waiting, now)
        await self._ask_all(waiting, now, ends)
        self._count()

    async def _ask_all(self, waiting: list[str], now: float, ends: float) -> None:
        shared = SharedCounts(self._state)
        start, self._next, asked = self._next, 0, False
        async for at in paced(range(start, len(waiting))):
            if len(self._line) >= MAX_LINE // 2:
                self._next = self._next or at
                return
            known = self._state.pods.get(waiting[at])
            if known is None or now - self._since[waiting[at]] < GRACE_S:
                continue
            if not asked or time.perf_counter() < ends or shared.knows(known):
                asked = True
                await self._ask(shared, known, now)
            else:
                self._next = self._next or at

    def _count(self) -> None:
        """Bring the gauge of why pods wait up to date."""
        gauge = self._metrics.queued_by_reason
        gauge.clear()
        for uid in self._since:
            code = self._codes.get(uid)
            gauge.labels(NEW if code is None else code.value).inc()

    async def send(self) -> float:
        """Send what is lined up, as far as the pace allows; how long to wait before the rest."""
        while self._line:
            wait_s = self._bucket.wait_s(self._clock()) or await self._send(self._line.popleft())
            if wait_s:
                return wait_s
        self._filled.clear()
        return 0.0

    async def _look_again(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            await self.look()

    async def _send_all(self) -> None:
        while True:
            await self._filled.wait()
            await asyncio.sleep(await self.send())

    async def _ask(self, shared: SharedCounts, known: KnownPod, now: float) -> None:
        uid = known.uid
        pod = self._state.queue.get(uid)
        if pod is None or pod.state not in _WAITING:
            return
        answer = await shared.explain(known)
        code, words = ExplanationCode(answer["code"]), explanation.with_position(answer)["reason"]
        self._codes[uid] = code
        self._say(pod, event_reason(code), words, normal=code not in _NOT_NORMAL)
        written, at = self._written.get(uid, (None, 0.0))
        if self._conditions and pod.state is QueueState.QUEUED and (written is not code or now - at >= AGAIN_S):
            self._written[uid] = (code, now)
            self._put((uid, f"{code.value}: {words}"), "condition")

    def _say(self, pod: QueuedPod, reason: str, message: str, *, normal: bool = True) -> None:
        now = self._clock()
        if self._events and self._book.is_due(pod.uid, reason, now):
            self._book.note(pod.uid, reason, now)
            type_ = "Normal" if normal else "Warning"
            event = PodEvent(pod.namespace, pod.name, pod.uid, type_, reason, message, datetime.now(UTC))
            self._put(event, "event")

    def _put(self, told: _Told, kind: str) -> None:
        if len(self._line) >= MAX_LINE:
            self._metrics.announcements.labels(kind, "dropped").inc()
            return
        self._line.append(told)
        self._filled.set()

    async def _send(self, told: _Told) -> float:
        """Write it, once; how long the API server wants to be left alone."""
        kind, outcome, pause_s = ("event" if isinstance(told, PodEvent) else "condition"), "sent", 0.0
        try:
            if isinstance(told, PodEvent):
                await self._cluster.record_event(told)
            else:
                await self._set_condition(*told)
        except (errors.ConflictError, errors.NotFoundError):
            outcome = "dropped"  # the pod is gone, or another by now
        except errors.TooManyRequestsError as error:
            outcome, pause_s = "failed", error.retry_after_s
        except errors.ClusterError as error:
            outcome = "failed"
            (_log.debug if self._warned else _log.warning)(
                "pods are not told why they wait", what=kind, error=str(error)
            )
            self._warned = True
        self._metrics.announcements.labels(kind, outcome).inc()
        return pause_s

    async def _set_condition(self, uid: str, message: str) -> None:
        pod = self._state.queue.get(uid)
        if pod is None or pod.state is not QueueState.QUEUED:
            raise errors.NotFoundError(f"pod {uid} waits no more")
        self._unseen[uid] = (pod.version, self._clock() + UNSEEN_S)
        said = GatedPodMessage(pod.namespace, pod.name, uid, pod.version, message)
        try:
            await self._cluster.set_pod_condition(said)
        except errors.UnreachableError:  # it may have been written
            raise
        except errors.ClusterError:
            self._unseen.pop(uid, None)
            self._written.pop(uid, None)  # it is told the next time
            raise

    def _forget(self, waiting: list[str], now: float) -> None:
        """Keep what is known of those that wait; note since when the others of them do."""
        self._since = {uid: self._since.get(uid, now) for uid in waiting}
        self._codes = {uid: code for uid, code in self._codes.items() if uid in self._since}
        self._written = {uid: told for uid, told in self._written.items() if uid in self._since}
        self._unseen = {uid: write for uid, write in self._unseen.items() if uid in self._since}
