"""PodWatch: keeps what the agent knows of its node's pods up to date, by list and watch. Run by service.

While the API server is away the agent works on with what it knows.
"""

from collections.abc import AsyncIterator, Callable, Mapping

from kubeclient.changes import Change, ChangeType, Listing
from kubeclient.list_watch import ListWatch
from kubeclient.objects import Pod
from node_agent.cluster import pods
from node_agent.cluster.pods import PodView
from node_agent.cluster.port import Cluster

BACKOFF_MAX_S = 2.0


class PodWatch:
    """All pods of the node: the collection that their list + watch follows. `changed` is called after each change."""

    def __init__(self, cluster: Cluster, node: str, changed: Callable[[], None]) -> None:
        self._cluster = cluster
        self._node = node
        self._changed = changed
        self._list_watch = ListWatch("pods", self, backoff_max_s=BACKOFF_MAX_S)
        self._views: dict[str, tuple[Pod, PodView | None]] = {}
        self.all: dict[str, Pod] = {}
        self.synced = self._list_watch.synced

    async def run(self) -> None:
        """Until cancelled."""
        await self._list_watch.run()

    async def refresh(self) -> None:
        """Ask for the pods now. Raises ClusterError. The watch goes on where it was."""
        listing = await self.list()
        self.all |= {pod.metadata.uid: pod for pod in listing.items}

    def views(self) -> Mapping[str, PodView] | None:
        """The pods that ask for slices, by UID; None before the first list. Only changed ones are read again."""
        if not self.synced.is_set():
            return None
        last = self._views
        self._views = {
            uid: last[uid] if uid in last and last[uid][0] is pod else (pod, pods.view(pod))
            for uid, pod in self.all.items()
        }
        return {uid: view for uid, (_, view) in self._views.items() if view is not None}

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
