"""Agents: stand-ins for the node agents of a whole fleet, in one task: pods in, MigNode reports out.

Follows the pods of its nodes, lets each node's `FakeAgent` cut and free, and writes what changed, a node's changes in
one write if they come faster than the API server takes them. Used by the demo, the local cluster, tests and benchmarks.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence

import msgspec

from allocator import errors
from allocator.claims import contract
from allocator.mig.profile import Placement
from kubeclient.changes import ChangeType
from kubeclient.objects import Pod
from scheduler.cache import pods
from simulator.cluster import api
from simulator.cluster.api import Api, Document
from simulator.cluster.fake_agent import FakeAgent
from simulator.cluster.informer import Informer
from simulator.cluster.nodes import SimulatedNode
from simulator.cluster.work_queue import WorkQueue

REFUSED = "PlacementRefused"  # reason of the event about a pod whose slices could not be cut
_WRITERS = 16
_RETRY_S = 0.2
_MAX_MESSAGE = 1024  # an event's message has no room for more


class Agents:
    """One stand-in per node. `on_ready` is called with the UID of each pod that has all the slices it asks for."""

    def __init__(self, cluster: Api, fleet: Sequence[SimulatedNode]) -> None:
        self.on_ready: list[Callable[[str], None]] = []
        self._cluster = cluster
        self._agents = {node.name: FakeAgent(node) for node in fleet}
        self._pods = Informer(cluster, api.POD)
        self._reports = WorkQueue()
        self._reported: set[str] = set()  # nodes whose MigNode there is
        self._waiting: dict[str, dict[str, Pod]] = {}  # node → pods whose slices could not be cut yet
        self._unplaced: list[Pod] = []  # pods bound past migsched, found at the start
        self._told: dict[str, str] = {}  # UID → why its slices could not be cut, as its event says

    async def run(self) -> None:
        """Until cancelled."""
        for node in self._agents:
            self._reports.add(node)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow())
            group.create_task(self._give_room_to_unplaced())
            for _ in range(_WRITERS):
                group.create_task(self._reports.work(self._write_report, retry_s=_RETRY_S))

    def is_ready(self, uid: str, node: str) -> bool:
        """Whether a pod has slices on a node."""
        agent = self._agents.get(node)
        return agent is not None and agent.holds(uid)

    def problem(self, uid: str) -> str:
        """Why a pod's slices could not be cut, or nothing."""
        return self._told.get(uid, "")

    def hardware(self) -> Mapping[str, tuple[Placement, ...]]:
        """What is cut on every GPU, by UUID: the truth that reports are to follow."""
        return {
            gpu.uuid: tuple(slice_.placement for slice_ in gpu.slices)
            for agent in self._agents.values()
            for gpu in agent.report().gpus
        }

    async def _follow(self) -> None:
        async for change in self._pods.changes():
            if change.item is None:
                continue
            if change.type is ChangeType.DELETED:
                self._over(change.item["metadata"]["uid"], change.item.get("spec", {}).get("nodeName", ""))
            elif change.item["spec"].get("nodeName") in self._agents:
                await self._take(msgspec.convert(change.item, Pod))

    async def _take(self, pod: Pod) -> None:
        if pod.is_over:
            self._over(pod.metadata.uid, pod.spec.node_name)
        elif self._pods.synced.is_set() or contract.PLACEMENT_ANNOTATION in (pod.metadata.annotations or {}):
            await self._admit(pod)
        else:
            self._unplaced.append(pod)

    async def _give_room_to_unplaced(self) -> None:
        """Pods without a placement come last: the places promised to others are taken by then."""
        await self._pods.synced.wait()
        unplaced, self._unplaced = self._unplaced, []
        for pod in unplaced:
            await self._admit(pod)

    async def _admit(self, pod: Pod) -> None:
        agent, uid = self._agents[pod.spec.node_name], pod.metadata.uid
        if not pods.is_ours(pod) or agent.holds(uid):
            return
        problem = agent.admit(pod)
        if problem:
            self._waiting.setdefault(pod.spec.node_name, {})[uid] = pod
            await self._tell(pod, problem)
            return
        self._waiting.get(pod.spec.node_name, {}).pop(uid, None)
        self._told.pop(uid, None)
        self._reports.add(pod.spec.node_name)
        for listener in self.on_ready:
            listener(uid)

    def _over(self, uid: str, node: str) -> None:
        """A pod is over or gone; without a node (its end was not seen) every node is asked."""
        self._told.pop(uid, None)
        for name in [node] if node else list(self._agents):
            self._waiting.get(name, {}).pop(uid, None)
            agent = self._agents.get(name)
            if agent is not None and agent.free(uid):
                self._reports.add(name)
                self._retry(name)

    def _retry(self, node: str) -> None:
        """Room arose: pods whose slices could not be cut are tried again."""
        for uid, pod in tuple(self._waiting.get(node, {}).items()):
            if not self._agents[node].admit(pod):
                del self._waiting[node][uid]
                self._told.pop(uid, None)
                for listener in self.on_ready:
                    listener(uid)

    async def _write_report(self, node: str) -> None:
        if node not in self._reported:
            with contextlib.suppress(errors.ConflictError):  # there is one from an earlier run
                await self._cluster.create(api.MIG_NODE, {"metadata": {"name": node}})
            self._reported.add(node)
        try:
            await self._cluster.patch_status(api.MIG_NODE, node, {"status": self._agents[node].status()})
        except errors.NotFoundError:
            self._reported.discard(node)
            raise

    async def _tell(self, pod: Pod, problem: str) -> None:
        """Say on the pod why it has no slices, once per reason."""
        if self._told.get(pod.metadata.uid) == problem:
            return
        self._told[pod.metadata.uid] = problem
        try:
            await self._cluster.create(api.EVENT, _refusal(pod, problem))
        except errors.ClusterError:
            self._told.pop(pod.metadata.uid, None)  # the next change of the pod tells it


def _refusal(pod: Pod, problem: str) -> Document:
    meta = pod.metadata
    return {
        "metadata": {"generateName": f"{meta.name}.", "namespace": meta.namespace},
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "Pod",
            "namespace": meta.namespace,
            "name": meta.name,
            "uid": meta.uid,
        },
        "type": "Warning",
        "reason": REFUSED,
        "message": problem[:_MAX_MESSAGE],
        "count": 1,
        "source": {"component": "migsched-agent", "host": pod.spec.node_name},
    }
