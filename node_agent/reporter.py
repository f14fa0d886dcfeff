"""Reporter: writes the newest outcome of a step as the MigNode's status, and its Events. Run by service.

It is a task of its own and what it writes is coalesced, so that a slow API server never holds up a slice.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog

from allocator import errors
from config import fail_points
from kubeclient.events import PodEvent
from kubeclient.objects import Node
from kubeclient.timestamps import now
from node_agent import report
from node_agent.cluster.port import Cluster
from node_agent.report import StepOutcome

_log = structlog.get_logger("reporter")

COMPONENT = "migsched-agent"
BACKOFF_MAX_S = 30.0
MAX_WAITING_EVENTS = 1_000


class Reporter:
    """Writes the newest outcome as the MigNode's status, and events, one after the other. `conditions` beside Ready."""

    def __init__(
        self,
        cluster: Cluster,
        node: str,
        *,
        version: str,
        mode: str,
        interval_s: float,
        conditions: Callable[[], Sequence[Mapping[str, str]]] = tuple,
    ) -> None:
        self._cluster = cluster
        self._node_name = node
        self._version = version
        self._mode = mode
        self._interval_s = interval_s
        self._conditions = conditions
        self._node: Node | None = None
        self._wanted: StepOutcome | None = None
        self._written: dict[str, Any] | None = None
        self._ready: tuple[bool, str] = (False, "")
        self._since = ""
        self._events: deque[PodEvent] = deque(maxlen=MAX_WAITING_EVENTS)
        self._news = asyncio.Event()

    @property
    def has_outcome(self) -> bool:
        """Whether there was an outcome to report at all."""
        return self._wanted is not None

    def report(self, outcome: StepOutcome) -> None:
        """This is how things are now."""
        self._wanted = outcome
        self._events.extend(outcome.events)
        if self._events or self._status(outcome) != self._written:
            self._news.set()

    def look_again(self) -> None:
        """The conditions may be others now."""
        if self._wanted is not None and self._status(self._wanted) != self._written:
            self._news.set()

    async def run(self) -> None:
        """Until cancelled."""
        failures = 0
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                await self.flush()
                failures = 0
                await asyncio.sleep(self._interval_s)
            except errors.ClusterError as error:
                failures += 1
                self._node = None
                _log.warning("cannot report", failures=failures, error=str(error))
                self._news.set()
                await asyncio.sleep(min(BACKOFF_MAX_S, self._interval_s * 2 ** min(failures, 10)))

    async def flush(self) -> None:
        """Write what is wanted and not written yet. Raises ClusterError."""
        if self._node is None:
            self._node = await self._cluster.node(self._node_name)
        if self._wanted is not None:
            status = self._status(self._wanted)
            if status != self._written:
                await fail_points.pass_by("agent.report")
                await self._cluster.write_status(self._node, status)
                self._written = status
        while self._events:
            event = self._events[0]
            try:
                await self._cluster.event(event, COMPONENT, self._node_name)
            except (errors.RefusedError, errors.NotFoundError, errors.ConflictError) as error:
                _log.warning("event refused", pod=f"{event.namespace}/{event.pod}", error=str(error))
            self._events.popleft()

    def _status(self, outcome: StepOutcome) -> dict[str, Any]:
        """The status, with the time at which Ready took its present value."""
        ready = (outcome.ready, outcome.reason)
        if ready != self._ready:
            self._ready, self._since = ready, now()
        others = self._conditions()
        return report.status(outcome, version=self._version, mode=self._mode, since=self._since, others=others)
