"""MoveEvents: pods that are moved, and those that come in their stead, are told so by Events."""

import asyncio
from datetime import UTC, datetime

import structlog

from allocator import errors
from allocator.moves.life import MoveState
from allocator.moves.step import MoveStep
from kubeclient.events import PodEvent
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.port import Cluster
from scheduler.moves.run import RepackRun

_log = structlog.get_logger("moves")
MOVING_EVENT, MOVED_EVENT, WAITING_EVENT = "Moving", "Moved", "MoveWaits"
MAX_TOLD = 2_000  # that are remembered


class MoveEvents:
    """Each pod is told each thing once. An Event that cannot be written is lost."""

    def __init__(self, state: ClusterCache, cluster: Cluster) -> None:
        self._state = state
        self._cluster = cluster
        self._told: dict[tuple[str, str], None] = {}
        self._sending: set[asyncio.Task[None]] = set()

    def tell(self, run: RepackRun) -> None:
        """What the steps of a run, as they were written, are to their pods."""
        for step in run.status.steps:
            if step.state is MoveState.EVICTING and step.reason:
                self._say(step.uid, WAITING_EVENT, f"Repack {run.name}: {step.reason}", "Warning")
            elif step.state is MoveState.EVICTING:
                self._say(step.uid, MOVING_EVENT, f"evicted {run.purpose}: {_where(step)}")
            elif step.state in (MoveState.REPLACED, MoveState.CONFIRMED):
                came = f"in the stead of {step.pod}, moved by Repack {run.name}"
                self._say(step.replacement, MOVED_EVENT, f"{came}: {_where(step)}")

    def _say(self, uid: str, reason: str, message: str, type_: str = "Normal") -> None:
        pod = self._state.pods.get(uid)
        if pod is None or (uid, reason) in self._told:
            return
        if len(self._told) >= MAX_TOLD:
            self._told.pop(next(iter(self._told)))
        self._told[uid, reason] = None
        event = PodEvent(pod.namespace, pod.name, uid, type_, reason, message, datetime.now(UTC))
        task = asyncio.get_running_loop().create_task(self._send(event), name=f"tell {pod.name}")
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _send(self, event: PodEvent) -> None:
        try:
            await self._cluster.record_event(event)
        except errors.ClusterError as error:
            _log.debug("pod is not told of its move", pod=f"{event.namespace}/{event.pod}", error=str(error))


def _where(step: MoveStep) -> str:
    slices = ", ".join(f"{s.profile}@{s.start} of GPU {s.gpu}" for s in step.slices[:8])
    return f"to node {step.node}, {slices}"
