"""Whom to evict so that a pod's slices fit: kube-scheduler's victims completed by its own rule, PodDisruptionBudgets
counted as it counts them. Asked by the extender's preempt verb.

kube-scheduler counts slices and does not see where they lie, and up to version 1.37 it does not ask at all where only
we refused; from 1.38 on it names such nodes with empty lists of victims. The victims that it names may be needed for
something else, such as processors: they stand, and others are added where the slices do not fit without.

Room that is on its way counts first, and nobody else is evicted for it:

- Where it takes only pods that are being deleted, these are answered as the victims, on the one node where they are
  given least time. kube-scheduler deletes no pod twice; it nominates the pod to that node, whose room is kept then.
- Where it takes only slices that an agent is giving back, there is no pod left to name, and where the slices fit by
  now there is nobody to evict: without a node of the first kind nothing is answered. kube-scheduler says that
  preemption does not help, and the pod is tried again when the room is there.

What is not known of budgets does not count as leave to evict: no pod is added whose budgets could not be read, and the
answer says so. kube-scheduler's own victims stand, since it reads the budgets itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from allocator.planning import preemption
from allocator.planning.preemption import NodeChoice
from allocator.request import Request
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.known_pod import KnownPod
from scheduler.cache.port import Cluster
from scheduler.extender.current_budgets import BUDGETS_TTL_S, CurrentBudgets
from scheduler.extender.victim_search import Candidates, ComingRoom, Search, VictimSearch

CHOICES = 20  # nodes to preempt on that kube-scheduler gets to choose from; it starts from some 100 candidates
WORK_S = 2.0  # until no further node is looked at, and as long again while none helps; kube-scheduler waits for 5 s


@dataclass(frozen=True, slots=True)
class Preemption:
    """By node, the victims (UIDs), the most important first as kube-scheduler expects them, and how many of them
    violate a budget; `note` says what could not be considered.
    """

    victims: Candidates
    note: str = ""


class Preemptor:
    """Chooses victims by what the state knows and the cluster's budgets allow."""

    def __init__(
        self,
        state: ClusterCache,
        cluster: Cluster,
        *,
        budgets_ttl_s: float = BUDGETS_TTL_S,
        work_s: float = WORK_S,
    ) -> None:
        self._search = VictimSearch(state)
        self._budgets = CurrentBudgets(cluster, ttl_s=budgets_ttl_s)
        self._work_s = work_s

    async def preempt(self, pod: KnownPod, request: Request, candidates: Candidates) -> Preemption:
        """By node, the victims whose eviction makes room, those that kube-scheduler named among them.

        Nodes where nothing helps are dropped, and of many the best are kept, as kube-scheduler compares them. Nodes are
        not looked at once that takes too long, and the note says so.
        """
        search = Search(pod, request)
        coming = await self._search.coming(search, candidates)
        if coming is not None:
            return _arriving(coming)
        budgets = await self._budgets.read()
        choices = await self._search.choices(search, candidates, budgets, self._work_s)
        late = f"{choices.unseen} nodes were not looked at in {self._work_s:g} s" if choices.unseen else ""
        return Preemption(_best(choices.nodes), "; ".join(filter(None, (self._budgets.note(budgets), late))))


def _arriving(room: ComingRoom) -> Preemption:
    if room.is_there:
        return Preemption({}, f"nobody is evicted: {room.node} has room by now")
    if not room.ending:
        return Preemption({}, "nobody is evicted: an agent is giving back slices")
    return Preemption({room.node: (room.ending, 0)})


def _best(choices: Sequence[NodeChoice]) -> Candidates:
    best = preemption.best_first(choices)[:CHOICES]
    return {choice.node: ([victim.uid for victim in choice.victims], choice.violations) for choice in best}
