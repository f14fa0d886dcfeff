"""The web page's side of the service: the document that the page shows, kept current and told to whoever follows.

document        the document and its changes, as types
typescript      the same types for the page's own sources
node_reader     one node as it is shown
sections        what is shown of all nodes together
moves_section   Repacks as they are shown
outlook         what the planner says: room with moves, remedies
history, usage, event_log    what is remembered
watcher         looks at the state, and tells the feed
repack_actions  what people do with Repacks
"""

from collections.abc import Callable

from scheduler.cache.cluster_cache import ClusterCache
from scheduler.feed import Feed
from scheduler.moves.executor import MovesExecutor
from scheduler.page.document import OverviewMay, OverviewMode
from scheduler.page.outlook import Outlook
from scheduler.page.watcher import OverviewWatcher
from scheduler.planner.port import Planner
from scheduler.snapshots import Snapshots


def watcher(
    state: ClusterCache,
    feed: Feed,
    snapshots: Snapshots,
    planner: Planner,
    *,
    queue: bool,
    acts: bool,
    demo: bool,
    moves: MovesExecutor | None,
    stands_by: Callable[[], bool],
) -> OverviewWatcher:
    """The watcher of one service. `acts` is whether people may change the cluster through it, `demo` whether the API
    has a demo's scenarios.

    Where it `stands_by` it does not follow Repacks.
    """
    return OverviewWatcher(
        state,
        feed,
        Outlook(state, snapshots, planner),
        mode=OverviewMode.QUEUE if queue else OverviewMode.EXTENDER,
        may=OverviewMay(plan=True, move=acts and moves is not None, demo=demo),
        repacks=lambda: None if moves is None or stands_by() else moves.repacks,
    )
