"""An extender on its own, for tests of its verbs and of what they know of each other."""

import asyncio

import msgspec

from allocator.claims.ledger import Claim
from allocator.placement import policy
from kubeclient.objects import Pod
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.extender.binder import Binder
from scheduler.extender.extender import Extender
from scheduler.extender.joint_budget import JointBudget
from scheduler.extender.nominations import Nominations
from scheduler.extender.preemptor import Preemptor
from scheduler.metrics import Metrics
from simulator.cluster.api import Document
from simulator.cluster.memory_cluster.client import MemoryCluster
from simulator.cluster.memory_cluster.server import MemoryServer
from tests.builders import node, request


class ExtenderOverNodes:
    """An extender over nodes with one A100-40GB each."""

    def __init__(
        self,
        nodes: int,
        *,
        shortlist: int = 10,
        slack: float = 0,
        nomination_ttl_s: float = 60.0,
        tie_wait_s: float = 60.0,
        by: policy.Policy = policy.DEFAULT,
        joint_budget: JointBudget | None = None,
    ) -> None:
        self.room_arose = asyncio.Event()
        self.names = [f"n{i}" for i in range(nodes)]
        self.state = ClusterCache(by, self.room_arose.set)
        for name in self.names:
            self.state.inventory.nodes.add(name)
            self.state.inventory.observe(node(name).gpu("a100-40gb").report())
        self.server = MemoryServer()
        nominations = Nominations(nomination_ttl_s=nomination_ttl_s, tie_wait_s=tie_wait_s)
        metrics, cluster = Metrics(), MemoryCluster(self.server)
        self.extender = Extender(
            self.state,
            Binder(self.state, cluster, nominations, metrics, timeout_s=1),
            Preemptor(self.state, cluster),
            nominations,
            metrics,
            shortlist=shortlist,
            slack=slack,
            joint_budget=joint_budget,
        )

    def hold(self, name: str, where: str, *profiles: str, priority: int = 0) -> Claim:
        """A pod with a claim."""
        pod = a_pod(name, *profiles, priority=priority)
        self.state.remember(pod)
        claim = self.state.inventory.reserve(pod.metadata.uid, "default", name, request(*profiles), where)
        assert isinstance(claim, Claim)
        return claim


def a_pod(name: str, *profiles: str, priority: int = 0) -> Pod:
    """A pending pod asking for these profiles in one container."""
    return msgspec.convert(document(name, *profiles, priority=priority), Pod)


def document(name: str, *profiles: str, priority: int = 0) -> Document:
    """That pod as the API server would have it, with a UID that follows from its name."""
    limits: dict[str, str] = {}
    for one in profiles:
        resource = f"nvidia.com/mig-{one}"
        limits[resource] = str(int(limits.get(resource, "0")) + 1)
    return {
        "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}"},
        "spec": {"priority": priority, "containers": [{"name": "main", "resources": {"limits": limits}}]},
    }
