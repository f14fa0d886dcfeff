"""MovesProposer: makes Repacks by itself: for pods in the queue that a few moves would serve, and for idle times.

Off unless the settings say so. What it has made is known by its name, and deleted an hour after it has ended.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from datetime import datetime, timedelta

import structlog

from allocator import errors
from allocator.moves.budgets import MoveBudgets
from allocator.moves.document import RepackMode, RepackSpec, RepackStatus, Wanted
from allocator.moves.life import RepackPhase
from allocator.queueing.life import QueueState
from allocator.queueing.queued_pod import QueuedPod
from scheduler import cooperative
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.port import Cluster
from scheduler.moves import repack_for_pod
from scheduler.moves.options import MovesOptions
from scheduler.moves.planning import RepackPlanning
from scheduler.moves.repack_for_pod import FOR_POD
from scheduler.moves.repack_objects import KnownRepack, RepackObjects
from scheduler.planner.port import PlannerError

_log = structlog.get_logger("moves")
DEFRAGMENT = "defragment-"  # how the names of what it makes at idle times begin
MAX_OPEN = 4  # Repacks for pods at once
AGAIN_S = 60.0  # until a pod is looked at again that no few moves serve, or the stranded share
PAUSE_S = 5.0  # between two questions
KEPT_S = 3_600.0  # that a Repack stays which has ended


class MovesProposer:
    """One question to the planner at a time."""

    def __init__(
        self,
        state: ClusterCache,
        cluster: Cluster,
        repacks: RepackObjects,
        planning: RepackPlanning,
        options: MovesOptions,
    ) -> None:
        self._state = state
        self._cluster = cluster
        self._repacks = repacks
        self._planning = planning
        self._options = options
        self._since: dict[str, datetime] = {}  # when a pod was first seen to wait
        self._tried: dict[str, datetime] = {}  # when the planner was asked about a pod
        self._task: asyncio.Task[None] | None = None
        self._next: datetime | None = None
        self._share_at: datetime | None = None  # when the stranded share was looked at last

    def look(self, now: datetime) -> None:
        """Look who waits; no Repack is under way."""
        waiting = [pod for pod in self._state.queue if pod.state is QueueState.QUEUED and pod.gang is None]
        self._since = {pod.uid: self._since.get(pod.uid, now) for pod in waiting}
        self._tried = {uid: at for uid, at in self._tried.items() if uid in self._since}
        if (self._task is not None and not self._task.done()) or (self._next is not None and now < self._next):
            return
        ended = self._ended(now)
        pod = self._next_pod(waiting, now) if self._options.on_refusal is not None else None
        if ended is not None:
            self._begin(self._forget(ended))
        elif pod is not None and self._options.on_refusal is not None:
            self._tried[pod.uid] = now
            self._next = now + timedelta(seconds=PAUSE_S)
            self._begin(self._propose(pod, self._options.on_refusal, now))
        elif self._is_time_to_defragment(now):
            self._begin(self._defragment(now))

    async def close(self) -> None:
        """Ask and make nothing any more."""
        if self._task is not None:
            await cooperative.cancel([self._task])

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        self._task = asyncio.get_running_loop().create_task(work, name="propose moves")

    # --- for pods

    def _next_pod(self, waiting: Sequence[QueuedPod], now: datetime) -> QueuedPod | None:
        """The first pod in the queue's order that has waited for long enough and was not looked at lately."""
        open_for = {
            repack.spec.wanted.pod.uid
            for repack in self._repacks
            if not repack.has_ended and repack.spec is not None and repack.spec.wanted.pod is not None
        }
        if len(open_for) >= MAX_OPEN:
            return None
        for pod in sorted(waiting, key=lambda pod: pod.order):
            tried = self._tried.get(pod.uid)
            is_late = (now - self._since[pod.uid]).total_seconds() >= self._options.after_s
            is_due = tried is None or (now - tried).total_seconds() >= AGAIN_S
            if is_late and is_due and pod.uid not in open_for and pod.request and not pod.problem:
                return pod
        return None

    async def _propose(self, pod: QueuedPod, mode: RepackMode, now: datetime) -> None:
        spec = repack_for_pod.spec(pod, mode, MoveBudgets(moves=self._options.most))
        try:
            planned = await self._planning.plan(spec, RepackStatus(), now)
        except PlannerError as error:
            _log.debug("no moves proposed", pod=pod.title, error=str(error))
            return
        if planned.phase in (RepackPhase.PROPOSED, RepackPhase.RUNNING):
            await self._make(repack_for_pod.name(pod.uid), spec)

    async def _make(self, name: str, spec: RepackSpec) -> None:
        try:
            await self._cluster.create_repack(name, repack_for_pod.encoded(spec))
            _log.info("Repack proposed", repack=name, mode=spec.mode.value)
        except errors.ClusterError as error:
            _log.warning("Repack not made", repack=name, error=str(error))

    # --- at idle times

    def _is_time_to_defragment(self, now: datetime) -> bool:
        """Whether the share is to be looked at: nobody waits, the window is open, and its Repack was not made yet."""
        if self._options.stranded_share is None or self._since or not self._options.window.is_open(now):
            return False
        is_due = self._share_at is None or (now - self._share_at).total_seconds() >= AGAIN_S
        return is_due and all(repack.name != self._defragmentation(now) for repack in self._repacks)

    def _defragmentation(self, now: datetime) -> str:
        """The name of the Repack of a window: one is made for each."""
        return f"{DEFRAGMENT}{self._options.window.day(now)}"

    async def _defragment(self, now: datetime) -> None:
        share = self._options.stranded_share
        if share is None:
            return
        self._share_at = now
        figures = self._state.inventory.fleet.free_and_stranded(frozenset(self._state.demanded())).values()
        free, stranded = sum(free for free, _ in figures), sum(stranded for _, stranded in figures)
        if not free or stranded / free <= share:
            return
        mode = self._options.on_refusal or RepackMode.APPROVE
        spec = RepackSpec(
            Wanted(stranded_share=share),
            MoveBudgets(moves=self._options.budget),
            mode,
            window=self._options.window,
        )
        await self._make(self._defragmentation(now), spec)

    # --- what is over

    def _ended(self, now: datetime) -> KnownRepack | None:
        for repack in self._repacks:
            ours = repack.name.startswith((FOR_POD, DEFRAGMENT)) and repack.name != self._defragmentation(now)
            since = repack.status.since
            if ours and repack.has_ended and since is not None and (now - since).total_seconds() > KEPT_S:
                return repack
        return None

    async def _forget(self, repack: KnownRepack) -> None:
        try:
            await self._cluster.delete_repack(repack.name, repack.uid)
        except errors.ClusterError as error:
            _log.debug("Repack not deleted", repack=repack.name, error=str(error))
