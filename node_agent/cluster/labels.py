"""Labels: keeps the GPU Operator's labels of the own node as they have to be. Run by service where it is told to.

The operator and its MIG manager rewrite these labels, also of a node that is new to them; with them NVIDIA's writers
come back. The node is watched, so that a label is set back at once. Where another controller keeps changing the label,
the two do not overload the API server: each time the agent waits twice as long.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import structlog

from allocator import errors
from kubeclient.changes import Change, ChangeType, Listing
from kubeclient.list_watch import ListWatch
from kubeclient.objects import Node
from node_agent.cluster import coexistence
from node_agent.cluster.port import Cluster

_log = structlog.get_logger("labels")

PAUSE_S = 1.0  # after the first write
PAUSE_MAX_S = 60.0
BACKOFF_MAX_S = 30.0


class Labels:
    """The own node's labels: the collection, of one object, that its list + watch follows."""

    def __init__(
        self, cluster: Cluster, node: str, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._cluster = cluster
        self._node = node
        self._sleep = sleep
        self._list_watch = ListWatch("own node", self, backoff_max_s=BACKOFF_MAX_S)
        self._labels: Mapping[str, str] | None = None  # None while the node does not exist
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._list_watch.run())
            group.create_task(self._keep())

    async def _keep(self) -> None:
        pause, written = PAUSE_S, float("-inf")
        now = asyncio.get_running_loop().time
        while True:
            await self._news.wait()
            self._news.clear()
            wrong = coexistence.to_assert(self._labels) if self._labels is not None else {}
            if not wrong:
                continue
            insists = now() - written < pause
            pause = min(2 * pause, PAUSE_MAX_S) if insists else PAUSE_S
            try:
                await self._cluster.label_node(self._node, wrong)
                _log.warning("set the GPU Operator's labels back", labels=wrong, next_in_s=pause)
            except errors.ClusterError as error:
                self._news.set()
                _log.warning("cannot set the node's labels", error=str(error), next_in_s=pause)
            await self._sleep(pause)
            written = now()

    async def list(self) -> Listing[Node]:
        """See Collection."""
        return await self._cluster.list_node(self._node)

    def watch(self, resource_version: str) -> AsyncIterator[Change[Node]]:
        """See Collection."""
        return self._cluster.watch_node(self._node, resource_version)

    async def replace(self, listing: Listing[Node]) -> None:
        """See Collection."""
        self._labels = next((node.metadata.labels or {} for node in listing.items), None)
        self._news.set()

    def apply(self, change: Change[Node]) -> None:
        """See Collection."""
        gone = change.type is ChangeType.DELETED
        self._labels = None if gone or change.item is None else change.item.metadata.labels or {}
        self._news.set()

    def relisting(self, cause: str) -> None:
        """See Collection."""
