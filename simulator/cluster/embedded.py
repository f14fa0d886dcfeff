"""A whole cluster in one process: API server in memory, nodes, agents, kubelets, scheduler stand-in, and our service.

The scheduler service is the real one, called over HTTP on loopback, and so are the node agents, which speak with their
kubelets over Unix sockets; large fleets have stand-ins for them (`fake_agent`). Kubernetes and the hardware are
simulated. With the setting `queue` the API server gates new pods as the shipped admission policy does, and the stand-in
asks no extender, unless the queue leaves the choice to it (`queue_release`).
Used by `migsched demo` and by the integration tests.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from allocator import errors
from allocator.queueing.queued_pod import GATE
from allocator.queueing.release import QueueRelease
from scheduler.api import ApiExtension
from scheduler.service import Service
from scheduler.settings import Settings
from simulator import planner_tasks
from simulator.cluster import api, node_agents, nodes
from simulator.cluster.agents import Agents
from simulator.cluster.api import Document
from simulator.cluster.kube_scheduler.scheduler import KubeScheduler, SchedulerConfig
from simulator.cluster.kubelet import Kubelets
from simulator.cluster.memory_cluster import queue_gate
from simulator.cluster.memory_cluster.agent_client import MemoryAgentCluster
from simulator.cluster.memory_cluster.client import MemoryApi, MemoryCluster
from simulator.cluster.memory_cluster.server import MemoryServer
from simulator.cluster.node_agents import NodeAgents
from simulator.cluster.nodes import SimulatedNode
from simulator.cluster.running import running

_GATED = "SchedulingGated"  # of a pod's condition while it is gated, which stays until a scheduler says more


@dataclass(frozen=True)
class EmbeddedOptions:
    """What an embedded cluster is made of. `scheduler.extender_url` is filled in at the start, where it is asked."""

    fleet: tuple[SimulatedNode, ...]
    settings: Settings
    scheduler: SchedulerConfig = field(default_factory=lambda: SchedulerConfig(extender_url=""))
    job_seconds: float | None = None
    seed: int = 0
    extensions: tuple[ApiExtension, ...] = ()  # of the capacity API
    real_agents: bool | None = None  # without a word: where the fleet is small enough


class Embedded:
    """A running cluster. Make one with `start`."""

    def __init__(self, options: EmbeddedOptions) -> None:
        self.options = options
        self._nodes = frozenset(node.name for node in options.fleet)
        self.server = MemoryServer(seed=options.seed, admit=queue_gate.admitted if options.settings.queue else None)
        self.api = MemoryApi(self.server)
        self.agents = self._make_agents()
        self.kubelets = Kubelets(MemoryApi(self.server), options.fleet, self.agents, job_seconds=options.job_seconds)
        self.cluster = MemoryCluster(self.server)  # the extender's connection, with its faults
        self.service = self._make_service(options.settings)
        self.scheduler = KubeScheduler(MemoryApi(self.server), options.scheduler)

    def _make_service(self, settings: Settings) -> Service:
        return Service(settings, self.cluster, planner_tasks.SIMULATE, extensions=self.options.extensions)

    def _make_agents(self) -> NodeAgents | Agents:
        real = self.options.real_agents
        if real or (real is None and len(self.options.fleet) <= node_agents.MOST_NODES):
            return NodeAgents(self.options.fleet, lambda _: MemoryAgentCluster(self.server))
        return Agents(MemoryApi(self.server), self.options.fleet)

    def scheduler_config(self) -> SchedulerConfig:
        """The stand-in's configuration, with the extender's address where it is asked."""
        settings = self.options.settings
        if settings.queue and settings.queue_release != QueueRelease.EXTENDER:
            return self.options.scheduler
        return replace(self.options.scheduler, extender_url=f"{self.service.extender_url}/v1")

    async def start_extender(self) -> None:
        """Start the scheduler service, again too: with nothing but what the API server knows, at the same address."""
        settings = self.options.settings
        if self.service.extender_url:
            port = int(self.service.extender_url.rpartition(":")[2])
            settings = settings.model_copy(update={"extender_port": port})
            self.cluster = MemoryCluster(self.server)
            self.service = self._make_service(settings)
        await self.service.start()

    async def apply(self, pods: Sequence[Document]) -> None:
        """Create pods; those that exist stay as they are."""
        for pod in pods:
            try:
                await self.api.create(api.POD, pod)
            except errors.ConflictError:
                continue

    async def settled(self) -> None:
        """Until every pod runs, is over, or was refused, and nothing is under way that could change that."""
        while not self.is_settled():
            await self._any_change()

    def is_settled(self) -> bool:
        """Whether every pod runs, is over, or was refused, and nothing is under way that could change that."""
        return self.scheduler.idle and not self.unsettled()

    def unsettled(self) -> tuple[str, ...]:
        """The pods, `namespace/name`, for which something is still to happen."""
        pods = (stored.document for stored in self.server.list(api.POD))
        return tuple(api.key_of(pod) for pod in pods if not self._is_settled(pod))

    def _is_settled(self, pod: Document) -> bool:
        spec, status = pod["spec"], pod["status"]
        if pod["metadata"].get("deletionTimestamp"):
            return spec.get("nodeName") not in self._nodes
        if spec.get("nodeName"):
            is_simulated = spec["nodeName"] in self._nodes
            return not is_simulated or status.get("phase") != "Pending" or bool(self.agents.problem(_uid(pod)))
        gates = [gate["name"] for gate in spec.get("schedulingGates") or ()]
        if gates:
            return gates != [GATE] or not self.options.settings.queue or self.service.has_no_place_for(_uid(pod))
        if spec.get("schedulerName") not in self.options.scheduler.scheduler_names:
            return True
        conditions: list[Document] = status.get("conditions") or []
        return any(c["type"] == "PodScheduled" and c.get("reason") != _GATED for c in conditions)

    async def _any_change(self) -> None:
        """Until something changes in the cluster, or a moment has passed."""
        watch = self.server.watch(api.POD, str(self.server.version))
        try:
            async with asyncio.timeout(0.05):
                async for _ in watch:
                    return
        except TimeoutError:
            return


def _uid(pod: Document) -> str:
    return str(pod["metadata"]["uid"])


@asynccontextmanager
async def start(options: EmbeddedOptions) -> AsyncIterator[Embedded]:
    """A cluster that runs as long as the block. Raises SettingsError where a port is taken."""
    cluster = Embedded(options)
    await nodes.create(cluster.api, options.fleet)
    try:
        await cluster.start_extender()
        cluster.scheduler = KubeScheduler(MemoryApi(cluster.server), cluster.scheduler_config())
        async with running(cluster.agents.run(), cluster.kubelets.run(), cluster.scheduler.run()):
            await cluster.agents.ready()
            await cluster.service.synced()
            yield cluster
    finally:
        await cluster.service.stop()
