"""Context: what the API's routes work with. Made by `service`, handed to each group of routes."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

from kubeclient.changes import UnreadableObject
from kubeclient.objects import Pod
from scheduler.api.extensions import ApiExtension
from scheduler.api.problems import NotReadyError
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.feed import Feed
from scheduler.metrics import Metrics
from scheduler.page.repack_actions import RepackActions
from scheduler.planner.port import Planner, ServedTask
from scheduler.snapshots import Snapshots


@dataclass(frozen=True)
class Context:
    """The service as the API sees it.

    `refresh` brings the gauges up to date. `simulate` is the task behind POST /api/v1/simulate, which is not served
    without one. `max_body` is in bytes. `unreadable` are the cluster's objects that could not be decoded.
    `stands_by` says whether another replica decides.
    `feed` is the overview, and `page_asked` is told that somebody begins to follow it. `repacks` is what people may do
    from there; `acts_for_all` is false where nobody knows who asks.
    `get_pod` reads a pod, by namespace and name, from the API server, and raises ClusterErrors; without it only MIG
    pods are known. `extensions` are the routes that only some composition roots have.
    """

    state: ClusterCache
    metrics: Metrics
    ready: Callable[[], bool]
    refresh: Callable[[], None]
    snapshots: Snapshots
    planner: Planner
    simulate: ServedTask | None
    max_body: int
    feed: Feed
    repacks: RepackActions
    page_asked: Callable[[], None] = lambda: None
    acts_for_all: bool = True
    unreadable: Callable[[], Iterable[UnreadableObject]] = tuple
    stands_by: Callable[[], bool] = lambda: False
    get_pod: Callable[[str, str], Awaitable[Pod]] | None = None
    extensions: Sequence[ApiExtension] = ()

    def need_cluster(self) -> None:
        """Raise NotReadyError unless the cluster is known."""
        if not self.ready():
            raise NotReadyError
