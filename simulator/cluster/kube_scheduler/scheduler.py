"""KubeScheduler: kube-scheduler's cycle for pods of its names. Run by the demo and by tests.

One pod at a time: in-tree filters, the extender's filter, scores of both, then the pod is assumed on the best node and
bound in a task of its own, while the next one is tried. So the extender sees what it sees in production: the filter
call of a pod comes before the bind call of the one before it.
"""

import asyncio
import contextlib
import random
from collections.abc import Mapping
from dataclasses import dataclass

from allocator import errors
from kubeclient.changes import ChangeType
from kubeclient.objects import TERMINAL_PHASES
from scheduler import kube_scheduler_config
from scheduler.cache.port import Binding
from simulator.cluster import api
from simulator.cluster.api import Api, Document
from simulator.cluster.informer import Informer
from simulator.cluster.kube_scheduler import fit_error, in_tree, queue
from simulator.cluster.kube_scheduler.extender_client import ExtenderClient, ExtenderError
from simulator.cluster.kube_scheduler.in_tree import NodeInfo, NodeRefusal
from simulator.cluster.kube_scheduler.queue import Queued, SchedulingQueue, Wake

_START_S = 10.0  # a pod that does not start for so long is not waited for
_SCORE_FACTOR = 10  # kube-scheduler's MaxNodeScore ÷ MaxExtenderPriority


@dataclass(frozen=True, slots=True)
class SchedulerConfig:
    """A KubeSchedulerConfiguration with one extender; defaults as deploy/kube-scheduler/config.yaml.

    Without an `extender_url` there is none, as in a stock kube-scheduler. `scheduler_names` are the names of its
    profiles, which are alike. `serial` waits for each pod to run, or fail, before the next is tried, which makes a run
    repeatable.
    """

    extender_url: str
    scheduler_names: tuple[str, ...] = ("migsched",)
    node_cache_capable: bool = True
    managed_resources: frozenset[str] = frozenset(kube_scheduler_config.managed_resources())
    weight: int = 120
    timeout_s: float = 5.0
    initial_backoff_s: float = 1.0
    max_backoff_s: float = 5.0
    serial: bool = False
    seed: int = 0


class _Unfit(Exception):  # noqa: N818 - an outcome, not an error
    """A pod fits nowhere."""

    def __init__(self, message: str, wakes: frozenset[Wake]) -> None:
        super().__init__(message)
        self.wakes = wakes


class KubeScheduler:
    """The cycle over a cluster and one extender, if it has one."""

    def __init__(self, cluster: Api, config: SchedulerConfig) -> None:
        self._cluster = cluster
        self._config = config
        self._random = random.Random(config.seed)
        self._queue = SchedulingQueue(initial_backoff_s=config.initial_backoff_s, max_backoff_s=config.max_backoff_s)
        self._nodes: dict[str, NodeInfo] = {}
        self._placed: dict[str, tuple[str, in_tree.Amounts]] = {}  # UID → node and requests, assumed pods too
        self._pods: dict[str, Document] = {}  # pods of our name that are not over
        self._pod_informer = Informer(cluster, api.POD)
        self._node_informer = Informer(cluster, api.NODE)
        self._binding: set[asyncio.Task[None]] = set()
        self._told = asyncio.Event()  # of a pod, something new

    @property
    def idle(self) -> bool:
        """All pods seen are bound, or refused with nothing new since."""
        return self._queue.idle and not self._binding and self._pod_informer.synced.is_set()

    @property
    def nodes(self) -> Mapping[str, in_tree.NodeInfo]:
        """The nodes as they were last seen, by name."""
        return self._nodes

    async def run(self) -> None:
        """Until cancelled."""
        extender = ExtenderClient(
            self._config.extender_url,
            node_cache_capable=self._config.node_cache_capable,
            timeout_s=self._config.timeout_s,
        )
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._follow_nodes())
                group.create_task(self._follow_pods())
                group.create_task(self._schedule(extender, group))
        finally:
            await extender.close()

    # --- what the cluster tells

    async def _follow_nodes(self) -> None:
        async for change in self._node_informer.changes():
            if change.item is None:
                continue
            name = change.item["metadata"]["name"]
            if change.type is ChangeType.DELETED:
                self._nodes.pop(name, None)
                continue
            before = self._nodes.get(name)
            self._nodes[name] = in_tree.node_info(change.item)
            if before is not None:
                self._nodes[name].requested, self._nodes[name].pods = before.requested, before.pods
            else:
                for requests in [requests for node, requests in self._placed.values() if node == name]:
                    self._nodes[name].add(requests)
            if before is None or _matters(before.document) != _matters(change.item):
                self._queue.happened(Wake.NODE)

    async def _follow_pods(self) -> None:
        async for change in self._pod_informer.changes():
            if change.item is None:
                continue
            self._told.set()
            pod, uid = change.item, change.item["metadata"]["uid"]
            if change.type is ChangeType.DELETED or pod["status"].get("phase") in TERMINAL_PHASES:
                self._pods.pop(uid, None)
                self._queue.remove(uid)
                if self._lift(uid):
                    self._queue.happened(Wake.ROOM)
            elif pod["spec"].get("nodeName"):
                self._pods[uid] = pod
                self._queue.remove(uid)
                self._put(uid, pod["spec"]["nodeName"], in_tree.requests_of(pod))
                self._queue.happened(Wake.OTHER)
            elif pod["spec"].get("schedulerName") in self._config.scheduler_names:
                self._pods[uid] = pod
                if not pod["spec"].get("schedulingGates") and "deletionTimestamp" not in pod["metadata"]:
                    self._queue.add(pod)

    def _put(self, uid: str, node: str, requests: in_tree.Amounts) -> None:
        """A pod is on a node, or is assumed to be."""
        self._lift(uid)
        self._placed[uid] = (node, requests)
        if node in self._nodes:
            self._nodes[node].add(requests)

    def _lift(self, uid: str) -> bool:
        """A pod is on no node any more. Returns whether it was on one."""
        node, requests = self._placed.pop(uid, ("", {}))
        if node in self._nodes:
            self._nodes[node].remove(requests)
        return bool(node)

    # --- the cycle

    async def _schedule(self, extender: ExtenderClient, group: asyncio.TaskGroup) -> None:
        await self._node_informer.synced.wait()
        await self._pod_informer.synced.wait()
        while True:
            queued = await self._queue.pop()
            binding = await self._try(queued, extender)
            if binding is None:
                continue
            task = group.create_task(self._bind(queued, binding, extender))
            self._binding.add(task)
            task.add_done_callback(self._binding.discard)
            if self._config.serial:
                await asyncio.wait([task])
                await self._until_started(queued.uid)

    async def _until_started(self, uid: str) -> None:
        """Until its kubelet has started a pod that was bound, or it is gone; not for ever."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_START_S):
                while uid in self._placed and self._pods[uid]["status"].get("phase") == "Pending":
                    self._told.clear()
                    await self._told.wait()

    async def _try(self, queued: Queued, extender: ExtenderClient) -> str | None:
        """The node for a pod, assumed to be there already; None if it has to wait."""
        requests = in_tree.requests_of(queued.pod)
        try:
            node = await self._choose(queued.pod, requests, extender)
        except _Unfit as unfit:
            self._queue.refused(queued, unfit.wakes)
            await self._tell(queued, "Unschedulable", str(unfit))
        except ExtenderError as error:
            self._queue.failed(queued)
            await self._tell(queued, "SchedulerError", str(error))
        else:
            self._put(queued.uid, node, requests)
            return node
        return None

    async def _choose(self, pod: Document, requests: in_tree.Amounts, extender: ExtenderClient) -> str:
        """The node that it is nominated to, if that takes it, or else the best one. Raises _Unfit, ExtenderError."""
        nominated = pod["status"].get("nominatedNodeName", "")
        if nominated in self._nodes:
            with contextlib.suppress(_Unfit):
                return await self._best_of({nominated: self._nodes[nominated]}, pod, requests, extender)
        return await self._best_of(self._nodes, pod, requests, extender)

    async def _best_of(
        self, infos: Mapping[str, NodeInfo], pod: Document, requests: in_tree.Amounts, extender: ExtenderClient
    ) -> str:
        """The best of some nodes. Raises _Unfit, ExtenderError."""
        refusals: dict[str, NodeRefusal] = {}
        feasible: dict[str, Document] = {}
        for name, info in infos.items():
            refusal = in_tree.refusal(pod, requests, info)
            if refusal is None:
                feasible[name] = info.document
            else:
                refusals[name] = refusal
        wakes = queue.IN_TREE
        if feasible and self._is_managed(requests):
            answer = await extender.filter(pod, feasible)
            silent = NodeRefusal((), resolvable=False)  # a node that the extender dropped without a word
            refusals |= {n: answer.refusals.get(n, silent) for n in feasible if n not in answer.nodes}
            if len(answer.nodes) < len(feasible):
                wakes = queue.EXTENDER
            feasible = {name: feasible[name] for name in answer.nodes}
        if not feasible:
            may_preempt = pod["spec"].get("preemptionPolicy") != "Never"
            raise _Unfit(fit_error.message(len(infos), refusals, may_preempt=may_preempt), wakes)
        if len(feasible) == 1:
            return next(iter(feasible))
        return self._best(await self._scores(pod, requests, feasible, extender))

    async def _scores(
        self, pod: Document, requests: in_tree.Amounts, feasible: Mapping[str, Document], extender: ExtenderClient
    ) -> Mapping[str, int]:
        scores = {n: in_tree.most_allocated(requests, self._nodes[n]) for n in feasible if n in self._nodes}
        if self._is_managed(requests):
            try:
                ranks = await extender.prioritize(pod, feasible)
            except ExtenderError:
                return scores  # kube-scheduler, too, goes on without the extender's scores
            for name in scores:
                scores[name] += ranks.get(name, 0) * self._config.weight * _SCORE_FACTOR
        return scores

    def _best(self, scores: Mapping[str, int]) -> str:
        highest = max(scores.values(), default=None)
        if highest is None:
            raise ExtenderError("all feasible nodes are gone")
        return self._random.choice(sorted(name for name, score in scores.items() if score == highest))

    def _is_managed(self, requests: in_tree.Amounts) -> bool:
        """Whether the extender is asked about a pod."""
        return bool(self._config.extender_url) and not self._config.managed_resources.isdisjoint(requests)

    async def _bind(self, queued: Queued, node: str, extender: ExtenderClient) -> None:
        meta = queued.pod["metadata"]
        namespace, name = meta["namespace"], meta["name"]
        try:
            if self._is_managed(in_tree.requests_of(queued.pod)):
                await extender.bind(namespace, name, queued.uid, node)
            else:
                await self._cluster.bind(Binding(namespace, name, queued.uid, node, {}))
        except (ExtenderError, errors.ClusterError) as error:
            if self._pods.get(queued.uid, {}).get("spec", {}).get("nodeName"):
                return  # it is bound: only the answer was lost
            self._lift(queued.uid)
            self._queue.happened(Wake.ROOM)
            self._queue.failed(queued)
            await self._tell(queued, "SchedulerError", str(error))
        else:
            self._queue.done(queued.uid)

    async def _tell(self, queued: Queued, reason: str, message: str) -> None:
        """Write on the pod why it has no node, if that is news."""
        pod = self._pods.get(queued.uid)
        if pod is None:
            return
        told = {"type": "PodScheduled", "status": "False", "reason": reason, "message": message}
        conditions = pod["status"].get("conditions") or []
        if any(told.items() <= condition.items() for condition in conditions):
            return
        status = {"conditions": [*(c for c in conditions if c["type"] != "PodScheduled"), told]}
        try:
            meta = pod["metadata"]
            await self._cluster.patch_status(api.POD, meta["name"], {"status": status}, meta["namespace"])
        except errors.ClusterError:
            return  # it is told with the next attempt, if it is still true


def _matters(node: Document) -> tuple[object, ...]:
    """What of a node kube-scheduler wakes refused pods for, when it changes."""
    meta, spec, status = node["metadata"], node.get("spec") or {}, node.get("status") or {}
    return (
        meta.get("labels"),
        meta.get("annotations"),
        spec.get("taints"),
        spec.get("unschedulable"),
        status.get("allocatable"),
        [(c["type"], c["status"]) for c in status.get("conditions") or ()],
    )
