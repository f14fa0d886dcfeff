"""A small cluster for the queue: an API server in memory, a kube-scheduler that only binds, the real cache and cycle.

What is true is decided by the API server. The scheduler service hears of it when it is told to, in order, and may be
started anew at any moment; what a call of its became may never reach it.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import msgspec

from allocator import errors
from allocator.claims import contract
from allocator.claims.ledger import ClaimState
from allocator.eligibility.node_selector import NAME_FIELD
from allocator.placement import policy
from allocator.queueing.life import HOLDING, QueueState
from allocator.queueing.queued_pod import GANG_ANNOTATION, GANG_SIZE_ANNOTATION, GATE
from kubeclient.changes import Change, ChangeType
from scheduler.cache import port
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.port import Binding, WatchedKind
from scheduler.metrics import Metrics
from scheduler.queueing.cycle import QueueCycle
from simulator.cluster import api
from simulator.cluster.api import Document, ResourceKind
from simulator.cluster.memory_cluster.client import MemoryCluster
from simulator.cluster.memory_cluster.history import Entry
from simulator.cluster.memory_cluster.server import MemoryServer
from tests.builders import node as node_builder

NODES = ("n1", "n2", "n3")
MODEL = "a100-40gb"
RETURN_AFTER_S = 10.0
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_KINDS = {WatchedKind.NODE: api.NODE, WatchedKind.MIG_NODE: api.MIG_NODE, WatchedKind.POD: api.POD}


class QueuedCluster:
    """Three nodes with one GPU each."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.server = MemoryServer()
        self.now = 0.0
        self.made = 0
        for name in NODES:
            self.server.create(api.NODE, _node(name))
            self.server.create(api.MIG_NODE, {"metadata": {"name": name}})
            report = node_builder(name).gpu(MODEL).report()
            status = contract.encode_status(report, agent_version="1", mode="managed")
            self.server.patch_status(api.MIG_NODE, name, {"status": status})
        self._watches: dict[WatchedKind, AsyncIterator[Entry]] = {}
        self._next: dict[WatchedKind, asyncio.Task[Entry]] = {}
        self.restart()

    def close(self) -> None:
        """End everything."""
        self._drop()
        self.loop.close()

    # --- the scheduler service

    def restart(self) -> None:
        """The service dies, whatever it was doing, and another one lists everything."""
        self._drop()
        self.cluster = MemoryCluster(self.server)
        self.state = ClusterCache(policy.DEFAULT, lambda: None)
        self.state.queueing = True
        self.cycle = QueueCycle(
            self.state, self.cluster, Metrics(), window_s=0, return_after_s=RETURN_AFTER_S, clock=lambda: self.now
        )
        for kind, of_server in _KINDS.items():
            self.run(self._list(kind, of_server))

    def deliver(self, most: int = 1_000) -> None:
        """The watches bring what happened, in order, at most so many changes of each kind."""
        for kind in _KINDS:
            for _ in range(most):
                entry = self.run(self._entry(kind))
                if entry is None:
                    break
                item = msgspec.json.decode(entry.raw, type=port.TYPES[kind])
                self.state.apply(kind, Change(entry.type, item, str(entry.version)))

    def step(self) -> None:
        """One cycle of the queue, and its releases as far as they come without waiting for anything."""
        self.run(self.cycle.step())
        self.run(_turns())

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Do something in the loop."""
        return self.loop.run_until_complete(work)

    async def _list(self, kind: WatchedKind, of_server: ResourceKind) -> None:
        self.state.expect(kind)
        listing = await self.cluster.list(kind)
        await self.state.replace(kind, listing)
        self._watches[kind] = self.server.watch(of_server, listing.resource_version)

    async def _entry(self, kind: WatchedKind) -> Entry | None:
        """The next change of a kind that is not a bookmark; None if there is none yet."""
        while True:
            if kind not in self._next:
                self._next[kind] = asyncio.ensure_future(anext(self._watches[kind]))
            await _turns()
            if not self._next[kind].done():
                return None
            entry: Entry = self._next.pop(kind).result()
            if entry.type is not ChangeType.BOOKMARK:
                return entry

    def _drop(self) -> None:
        async def cancel() -> None:
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self.run(cancel())
        self._watches.clear()
        self._next.clear()

    # --- the cluster

    def create(self, profile: str, *, gang: str = "", size: int = 0, owned: bool = False, priority: int = 0) -> str:
        """A gated pod."""
        self.made += 1
        name = f"p{self.made:03}"
        meta: Document = {"name": name, "namespace": "default"}
        if gang:
            meta["annotations"] = {GANG_ANNOTATION: gang, GANG_SIZE_ANNOTATION: str(size)}
        if owned:
            owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "r", "controller": True}
            meta["ownerReferences"] = [owner]
        limits = {f"nvidia.com/mig-{profile}": "1"}
        spec = {
            "containers": [{"name": "main", "image": "none", "resources": {"limits": limits}}],
            "schedulingGates": [{"name": GATE}],
            "priority": priority,
            "terminationGracePeriodSeconds": 0,
        }
        self.server.create(api.POD, {"metadata": meta, "spec": spec})
        return name

    def pods(self) -> list[Document]:
        """All pods."""
        return [stored.document for stored in self.server.list(api.POD)]

    def kube_scheduler(self) -> None:
        """Binds every pod that has no gate to the node it is pinned to, or says that it cannot."""
        for pod in self.pods():
            meta, spec = pod["metadata"], pod["spec"]
            if spec.get("nodeName") or spec.get("schedulingGates"):
                continue
            target = pinned_to(pod)
            takes = target is not None and self.takes(target)
            if target is not None and takes:
                self.server.bind(Binding("default", meta["name"], meta["uid"], target, {}))
            else:
                said = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
                self.server.patch_status(api.POD, meta["name"], {"status": {"conditions": [said]}}, "default")

    def takes(self, node: str) -> bool:
        """Whether a node exists and is not cordoned."""
        with contextlib.suppress(errors.NotFoundError):
            return not self.server.get(api.NODE, node).document["spec"].get("unschedulable")
        return False

    def cordon(self, node: str, *, value: bool) -> None:
        """A node takes no more pods, or takes them again."""
        self.server.patch(api.NODE, node, {"spec": {"unschedulable": value}})

    def delete(self, name: str) -> None:
        """A pod is deleted, and gone at once."""
        with contextlib.suppress(errors.NotFoundError):
            self.server.delete(api.POD, name, "default", grace_seconds=0)

    # --- what must hold

    def check(self) -> None:
        """No place twice, no place held for nobody, and every pod in one state that its claim agrees with."""
        inventory, queue = self.state.inventory, self.state.queue
        inventory.check()
        queue.check()
        for pod in queue:
            claim = inventory.ledger.get(pod.uid)
            if pod.state in HOLDING:
                assert claim is not None, f"{pod.title} is {pod.state} without a claim"
                assert claim.node == pod.node
                assert claim.state is ClaimState.RESERVED
            elif pod.state in (QueueState.QUEUED, QueueState.UNBINDABLE):
                assert claim is None, f"{pod.title} is {pod.state} and holds {claim}"
        for claim in inventory.ledger:
            if claim.state is ClaimState.RESERVED:
                held = queue.get(claim.uid)
                assert held is not None, f"{claim.pod} holds a place and is not queued"
                assert held.state in HOLDING
        self._check_promises()

    def _check_promises(self) -> None:
        """What the API server's pods are promised and still have a right to is legal and disjoint."""
        taken: dict[str, int] = {}
        for pod in self.pods():
            promises = promises_of(pod)
            queued = self.state.queue.get(pod["metadata"]["uid"])
            if queued is not None and queued.state is QueueState.UNBINDABLE:
                continue
            for promise in promises:
                mask = _mask(promise)
                assert not taken.get(promise.gpu, 0) & mask, f"{pod['metadata']['name']} shares {promise}"
                taken[promise.gpu] = taken.get(promise.gpu, 0) | mask


def pinned_to(pod: Document) -> str | None:
    """The node that a pod's affinity names."""
    terms = pod["spec"].get("affinity", {}).get("nodeAffinity", {}).get(REQUIRED, {}).get("nodeSelectorTerms", [])
    fields = [field for term in terms for field in term.get("matchFields", ()) if field["key"] == NAME_FIELD]
    return fields[0]["values"][0] if fields else None


def promises_of(pod: Document) -> tuple[contract.Promise, ...]:
    """What a pod's annotation promises."""
    text = (pod["metadata"].get("annotations") or {}).get(contract.PLACEMENT_ANNOTATION)
    return () if text is None else contract.decode_placement(text)


def _mask(promise: contract.Promise) -> int:
    report = node_builder("n").gpu(MODEL).report()
    catalogue = report.gpus[0].catalogue
    assert catalogue is not None
    return catalogue.placement(promise.profile, promise.start).mask


def _node(name: str) -> Document:
    amounts = {"cpu": "64", "memory": "256Gi", "pods": "110", "ephemeral-storage": "1Ti"}
    ready = {"type": "Ready", "status": "True"}
    status = {"allocatable": amounts, "capacity": amounts, "conditions": [ready]}
    return {"metadata": {"name": name}, "spec": {}, "status": status}


async def _turns() -> None:
    """Let tasks go on until each waits for something outside."""
    for _ in range(30):
        await asyncio.sleep(0)
