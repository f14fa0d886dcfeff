"""OwnNode: follows the annotation by which a person takes GPUs of the own node out of service. Run by service."""

from collections.abc import AsyncIterator, Callable

from kubeclient.changes import Change, ChangeType, Listing
from kubeclient.list_watch import ListWatch
from kubeclient.objects import Node
from node_agent.cluster.port import Cluster

OUT_OF_SERVICE = "migsched.io/out-of-service"  # on the Node: indices or UUIDs by commas, or all
BACKOFF_MAX_S = 30.0


class OwnNode:
    """The collection, of one object, that its list + watch follows. `tell` is called with the annotation's text, empty
    where there is none, whenever the node was listed or has changed.
    """

    def __init__(self, cluster: Cluster, node: str, tell: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._node = node
        self._tell = tell
        self._list_watch = ListWatch("node annotation", self, backoff_max_s=BACKOFF_MAX_S)
        self.synced = self._list_watch.synced

    async def run(self) -> None:
        """Until cancelled."""
        await self._list_watch.run()

    async def list(self) -> Listing[Node]:
        """See Collection."""
        return await self._cluster.list_node(self._node)

    def watch(self, resource_version: str) -> AsyncIterator[Change[Node]]:
        """See Collection."""
        return self._cluster.watch_node(self._node, resource_version)

    async def replace(self, listing: Listing[Node]) -> None:
        """See Collection."""
        self._tell("".join(_text(node) for node in listing.items))

    def apply(self, change: Change[Node]) -> None:
        """See Collection."""
        if change.item is not None:
            self._tell("" if change.type is ChangeType.DELETED else _text(change.item))

    def relisting(self, cause: str) -> None:
        """See Collection."""


def _text(node: Node) -> str:
    return (node.metadata.annotations or {}).get(OUT_OF_SERVICE, "")
