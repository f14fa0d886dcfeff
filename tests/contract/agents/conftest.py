"""The node agents of a simulated fleet, real ones and their stand-ins, with kubelets before a cluster in memory."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import pytest

from config import logs
from kubeclient.changes import Change
from kubeclient.objects import TERMINAL_PHASES
from node_agent.cluster.node_pod import NodePod
from simulator.cluster import api, nodes
from simulator.cluster.agents import Agents
from simulator.cluster.kubelet import Kubelets
from simulator.cluster.memory_cluster.agent_client import MemoryAgentCluster
from simulator.cluster.node_agents import NodeAgents
from simulator.cluster.running import running
from tests.unit.simulator.cluster.memory_cluster import MemoryCluster
from tests.waiting import eventually

FLEET = nodes.uniform(2, 2)
NODE, GPU, OTHER_GPU = "node-1", FLEET[0].gpus[0].uuid, FLEET[0].gpus[1].uuid
FOREIGN_GPU = FLEET[1].gpus[0].uuid

Row = tuple[str, str, str, str]  # GPU, profile@start, state, owner's pod/container


class SeenCluster(MemoryAgentCluster):
    """A port that notes how far its agent has read: `seen` is the version of the last change of a pod it took in."""

    seen = 0

    async def watch_pods(self, node: str, resource_version: str) -> AsyncGenerator[Change[NodePod], None]:
        """See Cluster."""
        self.seen = max(self.seen, int(resource_version))
        async for change in super().watch_pods(node, resource_version):
            yield change
            self.seen = int(change.resource_version)  # the agent is back for more


class AgentsWorld(MemoryCluster):
    """A cluster in memory, and which agents it is to have."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.ports: dict[str, SeenCluster] = {}

    @asynccontextmanager
    async def started(self) -> AsyncIterator[NodeAgents | Agents]:
        """Agents and kubelets, running meanwhile."""
        logs.configure("json", "error")
        await nodes.create(self.api, FLEET)
        agents: NodeAgents | Agents
        if self.kind == "real":
            self.ports = {node.name: SeenCluster(self.server) for node in FLEET}
            agents = NodeAgents(FLEET, lambda node: self.ports[node.name])
        else:
            agents = Agents(self.api, FLEET)
        kubelets = Kubelets(self.api, FLEET, agents)
        async with running(agents.run(), kubelets.run()):
            await agents.ready()
            await eventually(lambda: len(self.conditions()) == len(FLEET), "all nodes reported")
            yield agents

    def conditions(self) -> list[tuple[str, str, str]]:
        """Type, status and reason of every MigNode's condition."""
        statuses = (stored.document.get("status", {}) for stored in self.server.list(api.MIG_NODE))
        return [(c["type"], c["status"], c["reason"]) for status in statuses for c in status.get("conditions", ())]

    def rows(self, node: str = NODE) -> list[Row]:
        """What a node's MigNode says, slice by slice."""
        status = self.server.get(api.MIG_NODE, node).document["status"]
        return sorted(
            (
                gpu["uuid"],
                f"{slice_['profile']}@{slice_['start']}",
                slice_["state"],
                f"{slice_['owner']['pod']}/{slice_['owner']['container']}" if slice_.get("owner") else "",
            )
            for gpu in status["gpus"]
            for slice_ in gpu.get("slices", ())
        )

    async def reported(self, *rows: Row) -> None:
        """Until a node's MigNode says this and nothing else."""
        await eventually(lambda: self.rows() == sorted(rows), f"reported: {rows}")

    def told(self, pod: str) -> list[str]:
        """Reasons of the events on a pod."""
        return [event["reason"] for event in self.events() if event["involvedObject"]["name"] == pod]

    async def until_phase(self, name: str, phase: str) -> None:
        """Until a pod has come to a phase."""
        await eventually(lambda: self.phase(name) == phase, f"{name} is {phase}")

    async def until_tried(self, name: str) -> None:
        """Until a pod runs or was refused, and its node's agent has seen that."""
        await eventually(lambda: self.phase(name) in {"Running", *TERMINAL_PHASES}, f"{name} was tried")
        meta, spec = (self.server.get(api.POD, name, "default").document[part] for part in ("metadata", "spec"))
        port = self.ports.get(spec["nodeName"])
        if port is not None:
            await eventually(lambda: port.seen >= int(meta["resourceVersion"]), f"the agent has seen {name}")


@pytest.fixture(params=["real", "stand-in"])
def world(request: pytest.FixtureRequest) -> AgentsWorld:
    """A cluster with agents of either kind."""
    return AgentsWorld(request.param)
