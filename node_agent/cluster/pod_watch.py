"""PodWatch: keeps what the agent knows of its node's pods up to date, by list and watch. Run by service.

While the API server is away the agent works on with what it knows. Of a pod only what the agent goes by is kept, and of
placement annotations only as much as `MAX_TEXT` at once: pods are anybody's.
"""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace

import structlog

from kubeclient.changes import Change, ChangeType, Listing
from kubeclient.list_watch import ListWatch
from node_agent.cluster import coexistence, pods
from node_agent.cluster.node_pod import NodePod
from node_agent.cluster.pods import PodView
from node_agent.cluster.port import Cluster

BACKOFF_MAX_S = 2.0
MAX_TEXT = (
    4 * 2**20
)  # characters of believed annotations of all living pods: that of a full node takes less than 100,000
MAX_DELETED = 1024  # UIDs of deleted pods that are remembered, the latest
_log = structlog.get_logger("pods")


@dataclass(frozen=True, slots=True)
class FollowedPod:
    """A pod as the agent keeps it.

    `text` is the hash of its annotation as last looked at, `size` how many characters of the first one are believed.
    """

    view: PodView | None
    rival: str | None
    text: int
    size: int = 0
    version: int | None = None  # of the object, where it is a number


class PodWatch:
    """All pods of the node: the collection that their list + watch follows. `changed` is called after each change.

    `unreadable` are the pods that cannot be decoded; of those among them that could be before, it knows what they were
    then. `on_unreadable` is told how many there are.
    """

    def __init__(
        self,
        cluster: Cluster,
        node: str,
        changed: Callable[[], None],
        *,
        max_text: int = MAX_TEXT,
        on_unreadable: Callable[[int], object] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cluster = cluster
        self._node = node
        self._changed = changed
        self._max_text = max_text
        self._clock = clock
        self._asked_at = float("-inf")
        self.listed_at = float("-inf")  # when the last list that counted was asked for
        self._list_watch = ListWatch("pods", self, backoff_max_s=BACKOFF_MAX_S, on_unreadable=on_unreadable)
        self._known: dict[str, FollowedPod] = {}
        self._deleted: dict[str, None] = {}  # UIDs, oldest first; a UID never comes back
        self._replaced = 0  # how often all pods were replaced
        self._text = 0  # characters of annotations that are believed
        self.synced = self._list_watch.synced
        self.unreadable = self._list_watch.unreadable

    async def run(self) -> None:
        """Until cancelled."""
        await self._list_watch.run()

    async def refresh(self) -> None:
        """Ask for the pods now. Raises ClusterError. The watch goes on where it was.

        The answer may be older than what the watch has told meanwhile: it brings back no pod that was deleted, and of
        pods that are known only what is younger counts, by their resource versions (numbers that can be compared:
        KEP-5504). An answer that a whole new list has overtaken says nothing at all.
        """
        replaced, asked_at = self._replaced, self._clock()
        listing = await self._cluster.pods(self._node)
        if self._replaced != replaced:
            return
        listed = {pod.metadata.uid: pod for pod in listing.items if pod.metadata.uid not in self._deleted}
        for uid, pod in listed.items():
            if uid not in self._known or self._is_younger(pod.metadata.resource_version, uid):
                self._take(pod)
        for uid in [uid for uid in self._known if uid not in listed]:
            if self._is_younger(listing.resource_version, uid):
                self._forget(uid)
        self.listed_at = max(self.listed_at, asked_at)

    def views(self) -> Mapping[str, PodView] | None:
        """The pods that ask for slices or whole GPUs, by UID; None before the first list."""
        if not self.synced.is_set():
            return None
        return {uid: known.view for uid, known in self._known.items() if known.view is not None}

    @property
    def uids(self) -> frozenset[str]:
        """Of all pods that are known, whatever they ask for."""
        return frozenset(self._known)

    def rivals(self) -> list[str]:
        """Pods that manage this node's GPUs too, in words."""
        return [known.rival for known in self._known.values() if known.rival is not None]

    async def list(self) -> Listing[NodePod]:
        """See Collection."""
        self._asked_at = self._clock()
        return await self._cluster.pods(self._node)

    def watch(self, resource_version: str) -> AsyncIterator[Change[NodePod]]:
        """See Collection."""
        return self._cluster.watch_pods(self._node, resource_version)

    async def replace(self, listing: Listing[NodePod]) -> None:
        """See Collection."""
        self._replaced += 1
        self.listed_at = self._asked_at
        there = {pod.metadata.uid for pod in listing.items} | {pod.uid for pod in listing.unreadable}
        for uid in [uid for uid in self._known if uid not in there]:
            self._forget(uid)
        for pod in listing.items:
            self._deleted.pop(pod.metadata.uid, None)
            self._take(pod)
        self._changed()

    def apply(self, change: Change[NodePod]) -> None:
        """See Collection."""
        if change.item is None:
            return
        if change.type is ChangeType.DELETED:
            self._forget(change.item.metadata.uid)
        else:
            self._take(change.item)
        self._changed()

    def relisting(self, cause: str) -> None:
        """See Collection."""

    def _is_younger(self, resource_version: str, uid: str) -> bool:
        """Whether a resource version is younger than what is known of a pod; not where that cannot be told."""
        version, known = _number(resource_version), self._known[uid].version
        return version is not None and known is not None and version > known

    def _take(self, pod: NodePod) -> None:
        uid, text = pod.metadata.uid, pods.placement_text(pod)
        known = self._known.get(uid)
        if known is None:
            view = pods.view(pod)
            known = FollowedPod(view, coexistence.rival(pod), hash(text))
            known = self._believed(known, 0 if text is None else len(text))
        else:
            if known.text != hash(text) and known.view is not None:
                _log.warning("its placement was changed after its Binding; not believed", pod=pod.title, uid=uid)
                known = replace(known, text=hash(text))
            view = None if known.view is None else pods.followed(known.view, pod)
            known = self._believed(replace(known, view=view, rival=coexistence.rival(pod)), known.size)
        self._known[uid] = replace(known, version=_number(pod.metadata.resource_version))

    def _believed(self, known: FollowedPod, size: int) -> FollowedPod:
        """The pod with the size of what is believed of its annotation, which is nothing where all would be too much."""
        self._text -= known.size
        if known.view is None or not known.view.promises:
            return replace(known, size=0)
        if self._text + size > self._max_text:
            problem = (
                f"the placements of this node's pods take more than {self._max_text} characters; delete some of them"
            )
            return replace(known, view=pods.without_promises(known.view, problem), size=0)
        self._text += size
        return replace(known, size=size)

    def _forget(self, uid: str) -> None:
        known = self._known.pop(uid, None)
        if known is not None:
            self._text -= known.size
        self._deleted[uid] = None
        while len(self._deleted) > MAX_DELETED:
            del self._deleted[next(iter(self._deleted))]


def _number(resource_version: str) -> int | None:
    return int(resource_version) if resource_version.isascii() and resource_version.isdigit() else None
