"""Informing: keeps what the agent knows of its pods up to date, and tells the cluster what the agent found. Run by
service.

Pods are listed and watched; reports and events are written by tasks of their own, coalesced, so that a slow API
server never holds up a slice. While it is away the agent works on with what it knows.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import structlog

from allocator import errors
from node_agent import reporting
from node_agent.cluster import Cluster, Node, Pod, PodEvent
from node_agent.reporting import Outcome

_log = structlog.get_logger("inform")

COMPONENT = "migsched-agent"
BACKOFF_S = 0.05
BACKOFF_MAX_S = 2.0
MAX_WAITING_EVENTS = 1_000
RELIST_AFTER = 5  # failures in a row, after which the version itself is doubted


def now() -> str:
    """This moment, as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Pods:
    """All pods of the node, followed. `changed` is called after each change."""

    def __init__(self, cluster: Cluster, node: str, changed: Callable[[], None]) -> None:
        self._cluster = cluster
        self._node = node
        self._changed = changed
        self._version = ""
        self.all: dict[str, Pod] = {}
        self.synced = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        failures = 0
        while True:
            try:
                if not self._version:
                    await self._list()
                await self._watch()
                failures = 0
            except errors.GoneError:
                self._version = ""
            except errors.ClusterError as error:
                failures += 1
                _log.warning("cannot follow pods", failures=failures, error=str(error))
                if failures % RELIST_AFTER == 0:
                    self._version = ""
                await asyncio.sleep(min(BACKOFF_MAX_S, BACKOFF_S * 2 ** min(failures, 10)))

    async def refresh(self) -> None:
        """Ask for the pods now. Raises ClusterError. The watch goes on where it was."""
        found = await self._cluster.pods(self._node)
        self.all |= {pod.metadata.uid: pod for pod in found.pods}

    async def _list(self) -> None:
        found = await self._cluster.pods(self._node)
        self.all = {pod.metadata.uid: pod for pod in found.pods}
        self._version = found.resource_version
        self.synced.set()
        self._changed()

    async def _watch(self) -> None:
        async for change in self._cluster.watch_pods(self._node, self._version):
            if change.pod is not None:
                if change.type == "DELETED":
                    self.all.pop(change.pod.metadata.uid, None)
                else:
                    self.all[change.pod.metadata.uid] = change.pod
                self._changed()
            self._version = change.resource_version or self._version


class Reporter:
    """Writes the newest outcome as the MigNode's status, and events, one after the other."""

    def __init__(self, cluster: Cluster, node: str, *, version: str, mode: str, interval_s: float) -> None:
        self._cluster = cluster
        self._node_name = node
        self._version = version
        self._mode = mode
        self._interval_s = interval_s
        self._node: Node | None = None
        self._wanted: Outcome | None = None
        self._written: dict[str, Any] | None = None
        self._ready: tuple[bool, str] = (False, "")
        self._since = ""
        self._events: deque[PodEvent] = deque(maxlen=MAX_WAITING_EVENTS)
        self._some = asyncio.Event()

    def report(self, outcome: Outcome) -> None:
        """This is how things are now."""
        self._wanted = outcome
        self._events.extend(outcome.events)
        if self._events or self._status(outcome) != self._written:
            self._some.set()

    async def run(self) -> None:
        """Until cancelled."""
        failures = 0
        while True:
            await self._some.wait()
            self._some.clear()
            try:
                await self.flush()
                failures = 0
                await asyncio.sleep(self._interval_s)
            except errors.ClusterError as error:
                failures += 1
                self._node = None
                _log.warning("cannot report", failures=failures, error=str(error))
                self._some.set()
                await asyncio.sleep(min(30.0, self._interval_s * 2 ** min(failures, 10)))

    async def flush(self) -> None:
        """Write what is wanted and not written yet. Raises ClusterError."""
        if self._node is None:
            self._node = await self._cluster.node(self._node_name)
        if self._wanted is not None:
            status = self._status(self._wanted)
            if status != self._written:
                await self._cluster.write_status(self._node, status)
                self._written = status
        while self._events:
            event = self._events[0]
            try:
                await self._cluster.event(event, COMPONENT)
            except (errors.RefusedError, errors.NotFoundError, errors.ConflictError) as error:
                _log.warning("event refused", pod=f"{event.namespace}/{event.pod}", error=str(error))
            self._events.popleft()

    def _status(self, outcome: Outcome) -> dict[str, Any]:
        """The status, with the time at which Ready took its present value."""
        ready = (outcome.ready, outcome.reason)
        if ready != self._ready:
            self._ready, self._since = ready, now()
        return reporting.status(outcome, version=self._version, mode=self._mode, since=self._since)
