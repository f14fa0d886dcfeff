"""Agents: stand-ins for the node agents of a large fleet, in one task: pods are admitted, MigNode reports written.

Lets each node's `FakeAgent` cut, give and free as the kubelets say, and writes what changed, a node's changes in one
write if they come faster than the API server takes them. Used by the demo, the local cluster and tests for fleets that
are too large for `node_agents`.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from allocator import errors
from allocator.mig.profile import Placement
from kubeclient.objects import Pod
from simulator.cluster import api
from simulator.cluster.api import Api, Document
from simulator.cluster.fake_agent import FakeAgent, Told
from simulator.cluster.nodes import SimulatedNode
from simulator.cluster.work_queue import WorkQueue

_WRITERS = 16
_RETRY_S = 0.2
_MAX_MESSAGE = 1024  # an event's message has no room for more


class Agents:
    """One stand-in per node."""

    def __init__(self, cluster: Api, fleet: Sequence[SimulatedNode]) -> None:
        self._cluster = cluster
        self._agents = {node.name: FakeAgent(node) for node in fleet}
        self._reports = WorkQueue()
        self._reported: set[str] = set()  # nodes whose MigNode there is
        self._problems: dict[str, str] = {}  # UID → why it was refused
        self._events = WorkQueue()
        self._untold: dict[str, deque[Document]] = {}  # events to be written, by UID of their pod

    def title(self) -> str:
        """What runs, in words."""
        return f"stand-ins ({len(self._agents)} nodes)"

    async def run(self) -> None:
        """Until cancelled."""
        for node in self._agents:
            self._reports.add(node)
        async with asyncio.TaskGroup() as group:
            for _ in range(_WRITERS):
                group.create_task(self._reports.work(self._write_report, retry_s=_RETRY_S))
                group.create_task(self._events.work(self._write_events, retry_s=_RETRY_S))

    async def ready(self) -> None:
        """Until every agent serves: stand-ins do at once."""

    async def admit(self, pod: Pod) -> str:
        """Give a pod its slices. Returns why not, or nothing."""
        uid, node = pod.metadata.uid, pod.spec.node_name
        problem, told = self._agents[node].admit(pod)
        if problem:
            problem = f"Pod was rejected: Allocate failed due to {problem}, which is unexpected"
            self._problems[uid] = problem
        for one in told:
            self._tell(pod, one)
        self._reports.add(node)
        return problem

    def is_ready(self, uid: str, node: str) -> bool:
        """Whether the containers of an admitted pod can be created."""
        return uid in self._agents[node].uids

    def release(self, uid: str, node: str) -> None:
        """A pod's containers have ended."""
        self._problems.pop(uid, None)
        if node in self._agents and self._agents[node].free(uid):
            self._reports.add(node)

    def retain(self, living: Iterable[str]) -> None:
        """Only these pods are left."""
        living = set(living)
        for node, agent in self._agents.items():
            for uid in set(agent.uids) - living:
                self.release(uid, node)

    def problem(self, uid: str) -> str:
        """Why a pod was not given its slices, or nothing."""
        return self._problems.get(uid, "")

    def hardware(self) -> Mapping[str, tuple[Placement, ...]]:
        """What is cut on every GPU, by UUID: the truth that reports are to follow."""
        return {
            gpu.uuid: tuple(slice_.placement for slice_ in gpu.slices)
            for agent in self._agents.values()
            for gpu in agent.report().gpus
        }

    def offered(self, node: str) -> dict[str, int]:
        """How many devices of each resource a node's kubelet would count."""
        return self._agents[node].offered()

    def in_use(self) -> Mapping[str, tuple[Placement, ...]]:
        """What containers have on every GPU, by UUID."""
        return {
            gpu.uuid: tuple(slice_.placement for slice_ in gpu.slices if slice_.owner is not None)
            for agent in self._agents.values()
            for gpu in agent.report().gpus
        }

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

    def _tell(self, pod: Pod, told: Told) -> None:
        """An event on the pod, written until the API server has it."""
        uid = pod.metadata.uid
        self._untold.setdefault(uid, deque()).append(_event(pod, told))
        self._events.add(uid)

    async def _write_events(self, uid: str) -> None:
        waiting = self._untold.get(uid, deque())
        while waiting:
            with contextlib.suppress(errors.NotFoundError, errors.RefusedError, errors.ConflictError):
                await self._cluster.create(api.EVENT, waiting[0])
            waiting.popleft()
        self._untold.pop(uid, None)


def _event(pod: Pod, told: Told) -> Document:
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
        "type": told.type,
        "reason": told.reason,
        "message": told.message[:_MAX_MESSAGE],
        "count": 1,
        "source": {"component": "migsched-agent", "host": pod.spec.node_name},
    }
