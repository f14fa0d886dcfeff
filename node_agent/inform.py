"""Informing: keeps what the agent knows of its pods up to date, and tells the cluster what the agent found. Run by
service.

Pods are listed and watched; reports and events are written by tasks of their own, coalesced, so that a slow API
server never holds up a slice. While it is away the agent works on with what it knows.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import structlog

from allocator import errors
from kubeclient.changes import Change, ChangeType, Listing
from kubeclient.list_watch import ListWatch
from kubeclient.objects import Node, Pod
from node_agent import report
from node_agent.cluster.port import Cluster, PodEvent
from node_agent.report import StepOutcome

_log = structlog.get_logger("inform")

COMPONENT = "migsched-agent"
BACKOFF_MAX_S = 2.0
MAX_WAITING_EVENTS = 1_000


def now() -> str:
    """This moment, as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Pods:
    """All pods of the node: the collection that their list + watch follows. `changed` is called after each change."""

    def __init__(self, cluster: Cluster, node: str, changed: Callable[[], None]) -> None:
        self._cluster = cluster
        self._node = node
        self._changed = changed
        self._following = ListWatch("pods", self, backoff_max_s=BACKOFF_MAX_S)
        self.all: dict[str, Pod] = {}
        self.synced = self._following.synced

    async def run(self) -> None:
        """Until cancelled."""
        await self._following.run()

    async def refresh(self) -> None:
        """Ask for the pods now. Raises ClusterError. The watch goes on where it was."""
        found = await self.list()
        self.all |= {pod.metadata.uid: pod for pod in found.items}

    async def list(self) -> Listing[Pod]:
        """See Collection."""
        return await self._cluster.pods(self._node)

    def watch(self, resource_version: str) -> AsyncIterator[Change[Pod]]:
        """See Collection."""
        return self._cluster.watch_pods(self._node, resource_version)

    async def replace(self, listing: Listing[Pod]) -> None:
        """See Collection."""
        self.all = {pod.metadata.uid: pod for pod in listing.items}
        self._changed()

    def apply(self, change: Change[Pod]) -> None:
        """See Collection."""
        if change.item is None:
            return
        if change.type is ChangeType.DELETED:
            self.all.pop(change.item.metadata.uid, None)
        else:
            self.all[change.item.metadata.uid] = change.item
        self._changed()

    def relisting(self, cause: str) -> None:
        """See Collection."""


class Reporter:
    """Writes the newest outcome as the MigNode's status, and events, one after the other."""

    def __init__(self, cluster: Cluster, node: str, *, version: str, mode: str, interval_s: float) -> None:
        self._cluster = cluster
        self._node_name = node
        self._version = version
        self._mode = mode
        self._interval_s = interval_s
        self._node: Node | None = None
        self._wanted: StepOutcome | None = None
        self._written: dict[str, Any] | None = None
        self._ready: tuple[bool, str] = (False, "")
        self._since = ""
        self._events: deque[PodEvent] = deque(maxlen=MAX_WAITING_EVENTS)
        self._some = asyncio.Event()

    @property
    def heard(self) -> bool:
        """Whether there was an outcome to report at all."""
        return self._wanted is not None

    def report(self, outcome: StepOutcome) -> None:
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

    def _status(self, outcome: StepOutcome) -> dict[str, Any]:
        """The status, with the time at which Ready took its present value."""
        ready = (outcome.ready, outcome.reason)
        if ready != self._ready:
            self._ready, self._since = ready, now()
        return report.status(outcome, version=self._version, mode=self._mode, since=self._since)
