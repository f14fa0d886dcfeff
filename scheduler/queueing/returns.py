"""Returns: released pods that kube-scheduler refuses. Called by the cycle.

A pin can never be loosened, so such a pod waits for ever if nobody acts: its node was lost, or something is true there
that is not judged here. Its place is given back after a while. If a controller makes pods anew, the pod, which never
ran, is deleted, and its successor avoids the node for a time. So does that of a pod that a kubelet has failed, because
the agent did not answer. A pod that kube-scheduler has not looked at yet is not refused: then its place stays held,
however long that takes. A pod that was released without a pin is left to its scheduler once its place is given back.
"""

import asyncio
from collections.abc import Callable

import structlog

from allocator import errors
from allocator.queueing.life import QueueState
from allocator.queueing.queued_pod import PodController, QueuedPod
from scheduler import cooperative
from scheduler.cache import eviction_facts, queued_pods
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.port import Cluster
from scheduler.metrics import Metrics
from scheduler.queueing.node_rules import ClusterNodeRules
from scheduler.queueing.token_bucket import TokenBucket

_log = structlog.get_logger("queue")
AVOIDED_S = 600.0  # how long a node is avoided by the pods of an owner
NOT_ADMITTED_S = 30.0  # the same after its kubelet or agent refused one: an agent is back in seconds
DELETIONS_PER_MINUTE = 30.0


class Returns:
    """Watches over released pods."""

    def __init__(
        self,
        state: ClusterCache,
        cluster: Cluster,
        rules: ClusterNodeRules,
        metrics: Metrics,
        *,
        after_s: float,
        clock: Callable[[], float],
        on_returned: Callable[[QueuedPod, bool], None] = lambda _, __: None,
    ) -> None:
        self._state = state
        self._cluster = cluster
        self._rules = rules
        self._metrics = metrics
        self._after_s = after_s
        self._clock = clock
        self._on_returned = on_returned  # told the pod, and whether it is deleted
        self._refused_since: dict[str, float] = {}
        self._deletions = TokenBucket(per_s=DELETIONS_PER_MINUTE / 60, burst=DELETIONS_PER_MINUTE, now=clock())
        self._tasks: set[asyncio.Task[None]] = set()

    def look(self) -> None:
        """Give up released pods that have been refused for long enough, and delete those that come anew."""
        now = self._clock()
        self._rules.forget_avoided(now)
        refused = {pod.uid: pod for pod in self._state.queue if pod.state is QueueState.RELEASED and pod.refusal}
        for uid in self._refused_since.keys() - refused.keys():
            del self._refused_since[uid]
        for uid, pod in refused.items():
            since = self._refused_since.setdefault(uid, now)
            if now - since >= self._after_s and self._deletions.take(now):
                self._return(pod, now)

    def not_admitted(self, owner: PodController, node: str) -> None:
        """A kubelet has failed a pod for want of its devices: its successors go elsewhere for a while, if they can."""
        self._rules.avoid(owner, node, self._clock() + NOT_ADMITTED_S)

    async def close(self) -> None:
        """Cancel deletions in flight, and forget since when pods are refused: nobody looks from here on."""
        self._refused_since.clear()
        await cooperative.cancel(self._tasks)

    def _return(self, pod: QueuedPod, now: float) -> None:
        del self._refused_since[pod.uid]
        self._state.unbindable(pod.uid)
        self._metrics.releases.labels("returned").inc()
        is_pinned = bool(queued_pods.named_nodes(pod.constraints))  # else its scheduler may still find it another node
        comes_anew = is_pinned and pod.owner is not None and eviction_facts.makes_anew(pod.owner.kind)
        _log.warning("kube-scheduler refuses it", pod=pod.title, nodes=pod.nodes, why=pod.refusal, deleted=comes_anew)
        self._on_returned(pod, comes_anew)
        if pod.owner is not None and comes_anew:
            for node in pod.nodes:
                self._rules.avoid(pod.owner, node, now + AVOIDED_S)
            task = asyncio.create_task(self._delete(pod), name=f"delete {pod.title}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _delete(self, pod: QueuedPod) -> None:
        """Delete it; where the API server does not do so, it stays unbindable, and explanations say so."""
        try:
            await self._cluster.delete_pod(pod.namespace, pod.name, pod.uid)
        except (errors.NotFoundError, errors.ConflictError):
            return
        except errors.ClusterError as error:
            _log.warning("cannot delete a pod that cannot be bound", pod=pod.title, error=str(error))
