"""MovesExecutor: has Repacks planned and carries their plans out. Run by the service that leads.

One look brings the present run in line with the cluster (`run`), writes the status where it changed, and only then
evicts. So whoever comes after a process that was killed knows of every pod that may have been evicted.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import msgspec
import structlog

from allocator import errors
from allocator.moves import document
from allocator.moves.document import RepackStatus
from allocator.moves.life import MOVING, MoveState, RepackPhase
from allocator.moves.step import MoveStep
from allocator.queueing.life import QueueState
from allocator.queueing.queued_pod import QueuedPod
from config import fail_points
from scheduler import cooperative
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.port import Cluster, WatchedKind
from scheduler.cache.reflector import Sink
from scheduler.metrics import Metrics
from scheduler.moves.move_events import MoveEvents
from scheduler.moves.options import MovesOptions
from scheduler.moves.planning import RepackPlanning
from scheduler.moves.proposer import MovesProposer
from scheduler.moves.repack_objects import KnownRepack, RepackObjects
from scheduler.moves.run import RepackRun
from scheduler.planner.port import Planner, PlannerError
from scheduler.queueing.evictor import EvictionOutcome, Evictor
from scheduler.queueing.node_rules import ClusterNodeRules
from scheduler.snapshots import Snapshots

_log = structlog.get_logger("moves")
WINDOW_S = 0.02  # how long changes are gathered before it is looked at them
LOOK_S = 1.0  # how often it is looked at although nothing seemed to change
AGAIN_S = 30.0  # until a plan is looked for again where there was none
EVICT_AGAIN_S = 2.0  # until an eviction is asked for again that was not allowed
_LIST_AGAIN_S = 1.0
_NOT_BEGUN = frozenset({RepackPhase.PROPOSED, RepackPhase.PENDING, RepackPhase.WAITING})


def _now() -> datetime:
    return datetime.now(UTC)


class MovesExecutor:
    """The Repacks of one cluster. Implements `scheduler.queueing.promised_places.PromisedPlaces`."""

    def __init__(
        self,
        state: ClusterCache,
        cluster: Cluster,
        metrics: Metrics,
        snapshots: Snapshots,
        planner: Planner,
        options: MovesOptions | None = None,
        *,
        now: Callable[[], datetime] = _now,
        evictor: Evictor | None = None,
    ) -> None:
        self.repacks = RepackObjects()
        self._state = state
        self._cluster = cluster
        self._metrics = metrics
        self._rules = ClusterNodeRules(state)
        self._planning = RepackPlanning(state, snapshots, planner, self._rules)
        self._events = MoveEvents(state, cluster)
        self._evictor = evictor or Evictor(cluster, metrics, patience_s=0.0)
        self._now = now
        self._proposer = MovesProposer(state, cluster, self.repacks, self._planning, options or MovesOptions())
        self._run: RepackRun | None = None
        self._written: dict[str, RepackStatus] = {}  # by UID, what this process wrote last
        self._evictions: dict[int, asyncio.Task[None]] = {}  # by the number of the step
        self._asked_at: dict[int, datetime] = {}  # when a step's eviction was asked for last
        self._plan: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._writing = asyncio.Lock()

    # --- for the queue

    def refresh(self) -> None:
        """Bring holds in line with the cluster; a cycle of the queue begins."""
        run = self._run
        if run is not None and self._look(run):
            self.notify()

    def _look(self, run: RepackRun) -> bool:
        """Have a run look at the cluster; whether its status is another than was written."""
        known = self.repacks.get(run.uid)
        if known is None or known.spec is None:
            return False
        run.look(known.spec, self._now())
        return run.status != self.status_of(known)

    def waits(self, pod: QueuedPod) -> bool:
        """See PromisedPlaces."""
        return self._run is not None and self._run.waits(pod)

    def take(self, pod: QueuedPod) -> str:
        """See PromisedPlaces."""
        return self._run.take(pod) if self._run is not None else ""

    def is_holding(self, uid: str) -> bool:
        """Whether a claim (UID) is one that the present run holds."""
        return self._run is not None and self._run.is_own(uid)

    def notify(self) -> None:
        """Something changed that may matter."""
        self._changed.set()

    # --- one process

    async def begin(self) -> None:
        """Know the Repacks, and hold again what a process before has held; before anything else is decided.

        Where the cluster has no Repacks, or does not let them be read, none are carried out. Where it does not let
        namespaces be read, their marks do not count.
        """
        await self._read(WatchedKind.NAMESPACE, self._state.namespaces)
        if await self._read(WatchedKind.REPACK, self.repacks):
            self._choose()
            self.refresh()

    async def _read(self, kind: WatchedKind, sink: Sink) -> bool:
        """List all objects of a kind, however long that takes; whether the cluster lets it."""
        while True:
            try:
                await sink.replace(kind, await self._cluster.list(kind))
                return True
            except (errors.NotFoundError, errors.RefusedError) as error:
                _log.warning("cannot be read, and does not count", kind=kind.value, error=str(error))
                return False
            except errors.ClusterError as error:
                _log.warning("cannot be read; asking again", kind=kind.value, error=str(error))
                await asyncio.sleep(_LIST_AGAIN_S)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._changed.wait()
            except TimeoutError:
                pass
            else:
                await asyncio.sleep(WINDOW_S)
            self._changed.clear()
            await self.step()

    async def step(self) -> None:
        """One look at everything."""
        self._choose()
        run = self._run
        if run is not None:
            self._look(run)
            if await self._write(run.uid, run.status):
                self._evict(run)
                self._events.tell(run)
            if run.status.phase not in MOVING:
                self._finish(run)
        for known in self.repacks:
            await self._look_at(known)
        if self._run is None:
            self._proposer.look(self._now())
        self._show()

    async def step_down(self) -> None:
        """Another replica decides from now on: nothing more is written, and nothing held."""
        await self.close()
        if self._run is not None:
            self._run.free()
        self._run = None
        self._written.clear()

    async def close(self) -> None:
        """Evict nobody any more, and plan nothing."""
        await self._proposer.close()
        tasks = [*self._evictions.values(), *([self._plan] if self._plan is not None else [])]
        await cooperative.cancel(tasks)
        self._evictions.clear()
        self._plan = None

    # --- which

    def status_of(self, known: KnownRepack) -> RepackStatus:
        """A Repack's status: what was written here last, until the watch shows it."""
        return self._written.get(known.uid, known.status)

    def _choose(self) -> None:
        """The Repack that is carried out: one that was begun, else none yet."""
        if self._run is not None and self.repacks.get(self._run.uid) is None:
            _log.info("Repack is gone", repack=self._run.name)
            self._drop(self._run)
        if self._run is not None:
            return
        for known in self.repacks:
            status = self.status_of(known)
            if status.phase in MOVING and known.spec is not None:
                self._run = self._made(known, status)
                return

    def _made(self, known: KnownRepack, status: RepackStatus) -> RepackRun:
        wanted = known.spec.wanted.pod if known.spec is not None else None
        uid = wanted.uid if wanted is not None else ""
        return RepackRun(self._state, self._rules, known.uid, known.name, status, uid)

    def _drop(self, run: RepackRun) -> None:
        for task in self._evictions.values():
            task.cancel()
        self._evictions.clear()
        self._asked_at.clear()
        run.free()
        self._written.pop(run.uid, None)
        self._run = None

    def _finish(self, run: RepackRun) -> None:
        _log.info("Repack stops", repack=run.name, phase=run.status.phase.value, message=run.status.message)
        written = self._written.get(run.uid)
        self._drop(run)
        if written is not None:
            self._written[run.uid] = written

    # --- planning

    async def _look_at(self, known: KnownRepack) -> None:
        """Have a Repack planned that needs a plan, and begin one that was approved."""
        if known.spec is None or (self._run is not None and self._run.uid == known.uid):
            return
        status = self.status_of(known)
        if status.phase is RepackPhase.WAITING and self._is_due(status):
            status = msgspec.structs.replace(status, phase=RepackPhase.PENDING)
        if status.phase in _NOT_BEGUN and self._is_needless(known):
            await self._write(known.uid, _ended(status, "the pod does not wait any more", self._now()))
            return
        if status.phase is RepackPhase.PROPOSED and known.spec.may_move and self._run is None:
            begun = msgspec.structs.replace(status, phase=RepackPhase.RUNNING, since=self._now(), message="approved")
            if await self._write(known.uid, begun):
                self._run = self._made(known, begun)
                self.notify()
        elif status.phase is RepackPhase.PENDING and self._may_plan(known):
            self._plan = asyncio.create_task(self._make_plan(known, status), name=f"plan {known.name}")

    def _may_plan(self, known: KnownRepack) -> bool:
        """Whether it is a Repack's turn to be planned: one that would begin at once waits for the one under way."""
        is_free = self._plan is None or self._plan.done()
        return is_free and known.spec is not None and (self._run is None or not known.spec.may_move)

    def _is_due(self, status: RepackStatus) -> bool:
        return status.since is None or (self._now() - status.since).total_seconds() >= AGAIN_S

    def _is_needless(self, known: KnownRepack) -> bool:
        """Whether the pod that room is wanted for is gone, or has a place."""
        wanted = known.spec.wanted.pod if known.spec is not None else None
        if wanted is None:
            return False
        queued = self._state.queue.get(wanted.uid)
        return queued is None or queued.state is not QueueState.QUEUED

    async def _make_plan(self, known: KnownRepack, status: RepackStatus) -> None:
        spec = known.spec
        assert spec is not None  # others are not planned
        try:
            planned = await self._planning.plan(spec, status, self._now())
        except PlannerError as error:
            message = f"not planned: {error}"[:1_000]
            planned = msgspec.structs.replace(status, phase=RepackPhase.WAITING, message=message, since=self._now())
        now_known = self.repacks.get(known.uid)
        if now_known is None:
            return
        if planned.phase is RepackPhase.RUNNING and self._run is not None:
            return  # another began meanwhile: it is planned again when that has ended
        if await self._write(known.uid, planned):
            _log.info("planned", repack=known.name, phase=planned.phase.value, message=planned.message)
            self._choose()
            self.notify()

    # --- written, and done

    async def _write(self, uid: str, status: RepackStatus) -> bool:
        """Write a status if it is another than was written; whether the API server has it."""
        known = self.repacks.get(uid)
        if known is None:
            return False
        status = msgspec.structs.replace(status, summary=document.summary(status.steps))
        before = self._written.get(uid)
        if status == (known.status if before is None else before):
            return True
        async with self._writing:
            try:
                await fail_points.pass_by("moves.writing")
                await self._cluster.write_repack_status(known.name, uid, msgspec.json.encode(status))
                await fail_points.pass_by("moves.written")
            except (errors.NotFoundError, errors.ConflictError):
                return False  # the watch will show that it is gone
            except errors.ClusterError as error:
                _log.warning("status not written", repack=known.name, error=str(error))
                return False
            self._count(known.status if before is None else before, status)
            self._written[uid] = status
        return True

    def _count(self, before: RepackStatus, after: RepackStatus) -> None:
        """Count the moves that have come to an end with this write."""
        ended = {(step.plan, step.number) for step in before.steps if step.is_final}
        for step in after.steps:
            if step.is_final and (step.plan, step.number) not in ended:
                self._metrics.moves.labels(step.state.value).inc()

    def _evict(self, run: RepackRun) -> None:
        for number in [number for number, task in self._evictions.items() if task.done()]:
            del self._evictions[number]
        known = self.repacks.get(run.uid)
        steps = self.status_of(known).steps if known is not None else ()
        written = {step.number for step in steps if step.disturbed}  # the queue may have had it look since
        for step in run.to_evict:
            if step.number not in written:
                continue
            asked = self._asked_at.get(step.number)
            waits = asked is not None and (self._now() - asked).total_seconds() < EVICT_AGAIN_S
            if step.number not in self._evictions and not waits:
                self._asked_at[step.number] = self._now()
                self._evictions[step.number] = asyncio.create_task(self._evict_one(run, step), name=f"evict {step.pod}")

    async def _evict_one(self, run: RepackRun, step: MoveStep) -> None:
        pod = self._state.pods.get(step.uid)
        if pod is None or not _still(run, step):
            return
        outcome, said = await self._evictor.evict(pod, f"Repack {run.name}", step.from_node)
        if outcome is EvictionOutcome.FORBIDDEN:
            run.waits_because(step.number, f"its PodDisruptionBudget does not let it go now: {said}")
        elif outcome is EvictionOutcome.REFUSED:
            run.refused(step.number, f"the API server does not evict it: {said}")
        self.notify()

    def _show(self) -> None:
        phases = dict.fromkeys(RepackPhase, 0)
        for known in self.repacks:
            phases[self.status_of(known).phase] += 1
        self._metrics.show_repacks({phase.value: number for phase, number in phases.items()}, self._under_way())

    def _under_way(self) -> int:
        steps: Sequence[MoveStep] = self._run.status.steps if self._run is not None else ()
        return sum(step.state in (MoveState.EVICTING, MoveState.GONE, MoveState.REPLACED) for step in steps)


def _still(run: RepackRun, step: MoveStep) -> bool:
    return any(now.number == step.number for now in run.to_evict)


def _ended(status: RepackStatus, why: str, now: datetime) -> RepackStatus:
    return msgspec.structs.replace(status, phase=RepackPhase.DONE, message=why, since=now)
