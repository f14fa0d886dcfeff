"""A preemptor on its own, for tests of whom it chooses."""

from collections.abc import Sequence
from typing import Any

import msgspec

from allocator.claims.ledger import Claim
from allocator.placement import policy
from kubeclient.changes import Change, ChangeType
from kubeclient.objects import Pod
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.disruption_budget import PodDisruptionBudget
from scheduler.cache.known_pod import KnownPod
from scheduler.cache.port import WatchedKind
from scheduler.extender.preemptor import Preemptor
from simulator.cluster.memory_cluster.client import MemoryCluster
from simulator.cluster.memory_cluster.server import MemoryServer
from tests.builders import node, request
from tests.unit.scheduler.extender_over_nodes import document

Answer = dict[str, tuple[list[str], int]]


class Budgets(MemoryCluster):
    """A cluster with budgets; how often they were read."""

    def __init__(self, *budgets: PodDisruptionBudget) -> None:
        super().__init__(MemoryServer())
        self.budgets: Sequence[PodDisruptionBudget] = budgets
        self.read = 0

    async def disruption_budgets(self) -> Sequence[PodDisruptionBudget]:
        """These, unless a fault is due."""
        self.read += 1
        return (*self.budgets, *await super().disruption_budgets())


class PreemptorOverNodes:
    """Nodes with some A100-40GB each, pods on them, and budgets."""

    def __init__(self, nodes: int, *budgets: PodDisruptionBudget, gpus: int = 1) -> None:
        self.cluster = Budgets(*budgets)
        self.state = ClusterCache(policy.DEFAULT, lambda: None)
        self.names = [f"n{number}" for number in range(nodes)]
        for name in self.names:
            self.state.inventory.observe(node(name).gpus_of("a100-40gb", gpus).report())
        self.preemptor = Preemptor(self.state, self.cluster)
        self.note = ""

    def hold(self, name: str, where: str, *profiles: str, priority: int = 0, **changes: Any) -> Claim:
        """A pod with a claim; `changes` as `pod` has them."""
        self.show(pod(name, *profiles, priority=priority, node_name=where, **changes))
        claim = self.state.inventory.reserve(f"uid-{name}", "default", name, request(*profiles), where)
        assert isinstance(claim, Claim)
        self.state.inventory.confirm(claim.uid)
        return claim

    def show(self, shown: Pod) -> None:
        """The watch shows a pod."""
        if shown.spec.node_name and shown.metadata.uid not in self.state.pods:
            self.state.remember(shown)  # before its claim
            return
        self.state.apply(WatchedKind.POD, Change(ChangeType.MODIFIED, shown, "2"))

    async def preempt(self, candidates: Answer, *profiles: str, priority: int = 50, name: str = "urgent") -> Answer:
        """Ask for a pod, of priority 50 and with a whole GPU unless something else is said. UIDs come sorted."""
        answer = await self.ordered(candidates, *profiles, priority=priority, name=name)
        return {node_name: (sorted(uids), violations) for node_name, (uids, violations) in answer.items()}

    async def ordered(self, candidates: Answer, *profiles: str, priority: int = 50, name: str = "urgent") -> Answer:
        """The same with the UIDs in the order of the answer."""
        urgent: KnownPod = self.state.remember(pod(name, *(profiles or ("7g.40gb",)), priority=priority))
        assert urgent.request is not None
        answer = await self.preemptor.preempt(urgent, urgent.request, candidates)
        self.note = answer.note
        return {node_name: (list(uids), violations) for node_name, (uids, violations) in answer.victims.items()}


def pod(
    name: str,
    *profiles: str,
    priority: int = 0,
    node_name: str = "",
    owner: str = "",
    started: str | None = None,
    deleted: str | None = None,
    nominated: str = "",
    annotations: dict[str, str] | None = None,
    labels: dict[str, str] | None = None,
) -> Pod:
    """A pod as the API server has it; `owner` is the kind of its controller, `deleted` when its grace period ends."""
    made = document(name, *profiles, priority=priority)
    made["metadata"] |= {"labels": labels, "annotations": annotations, "deletionTimestamp": deleted}
    if owner:
        made["metadata"]["ownerReferences"] = [{"kind": owner, "name": "owner", "controller": True}]
    made["spec"]["nodeName"] = node_name
    made["status"] = {"startTime": started, "nominatedNodeName": nominated}
    return msgspec.json.decode(msgspec.json.encode(made), type=Pod)


def budget(allowed: int, name: str = "pdb", disrupted: Sequence[str] = (), **labels: str) -> PodDisruptionBudget:
    """A budget over pods with these labels; over all of the namespace without any."""
    document_: dict[str, Any] = {
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"selector": {"matchLabels": labels} if labels else {}},
        "status": {"disruptionsAllowed": allowed, "disruptedPods": dict.fromkeys(disrupted, "2026-01-01T00:00:00Z")},
    }
    return msgspec.json.decode(msgspec.json.encode(document_), type=PodDisruptionBudget)
