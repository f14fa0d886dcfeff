"""A small cluster for the queue: an API server in memory, a kube-scheduler that only binds, the real cache and cycle.

What is true is decided by the API server. The scheduler service hears of it when it is told to, in order, and may be
started anew at any moment; what a call of its became may never reach it. Another replica of it stands by, and
hears of what happened later.
"""

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

from allocator import errors
from allocator.claims import contract, placement_annotation
from allocator.claims.ledger import ClaimState
from allocator.eligibility.node_selector import NAME_FIELD
from allocator.placement.fitting import GpuState
from allocator.placement.room import remaining
from allocator.queueing import spare_places
from allocator.queueing.life import HOLDING, QueueState
from allocator.queueing.pod_queue import PLACED
from allocator.queueing.queued_pod import GANG_ANNOTATION, GANG_SIZE_ANNOTATION, GATE, QueuedPod
from allocator.queueing.release import QueueRelease
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.port import Binding, WatchedKind
from scheduler.metrics import Metrics
from scheduler.queueing.announcements import Announcements
from scheduler.queueing.cycle import QueueCycle
from simulator.cluster import api
from simulator.cluster.api import Document
from simulator.cluster.memory_cluster.client import MemoryCluster
from simulator.cluster.memory_cluster.server import MemoryServer
from tests.builders import node as node_builder
from tests.property.queue_replica import RESERVATIONS, Replica, turns

NODES = ("n1", "n2", "n3")
MODEL = "a100-40gb"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
HOST = "kubernetes.io/hostname"
KEEP_APART = {"podAntiAffinity": {REQUIRED: [{"topologyKey": HOST, "labelSelector": {"matchLabels": {"app": "shy"}}}]}}


class QueuedCluster:
    """Nodes with one GPU each, three of them unless something else is said.

    `cluster`, `state` and `cycle` are those of the service that leads; `way` is how it releases pods.
    """

    replicas: type[Replica] = Replica

    def __init__(
        self, way: QueueRelease = QueueRelease.PIN, *, preemption: str = "owned", nodes: int = len(NODES)
    ) -> None:
        self.way = way
        self._preemption = preemption
        self.loop = asyncio.new_event_loop()
        self.server = MemoryServer()
        self.now = 0.0
        self.made = 0
        self.restarts = 0  # every second service lets namespaces take turns
        self.evicted: list[tuple[Document, list[Document]]] = []
        self.refusing: set[str] = set()  # nodes that kube-scheduler refuses to pods with resource claims
        for name in (f"n{number}" for number in range(1, nodes + 1)):
            self.server.create(api.NODE, _node(name))
            self.server.create(api.MIG_NODE, {"metadata": {"name": name}})
            report = node_builder(name).gpu(MODEL).report()
            status = contract.encode_status(report, agent_version="1", mode="managed")
            self.server.patch_status(api.MIG_NODE, name, {"status": status})
        self.restart()

    def close(self) -> None:
        """End everything."""
        self._drop()
        self.loop.close()

    # --- the scheduler service

    @property
    def cluster(self) -> MemoryCluster:
        """The client of the service that leads."""
        return self.leader.cluster

    @property
    def metrics(self) -> Metrics:
        """Its metrics."""
        return self.leader.metrics

    @property
    def announcements(self) -> Announcements:
        """What its pods are told."""
        return self.leader.cycle.announcements

    @property
    def state(self) -> ClusterCache:
        """What it knows."""
        return self.leader.state

    @property
    def cycle(self) -> QueueCycle:
        """Its queue."""
        return self.leader.cycle

    def restart(self, *, preemption: str = "") -> None:
        """All replicas die, whatever they were doing, and others list everything; maybe with another setting."""
        self._drop()
        self._preemption = preemption or self._preemption
        self.restarts += 1
        self.leader, self.standby = self.replica(), self.replica()

    def replica(self) -> Replica:
        """One more replica."""
        fair = self.restarts % 2 == 0
        made = self.replicas(self.server, lambda: self.now, self.evicted, self._preemption, fair=fair, way=self.way)
        for kind in made.kinds:
            self.run(made.list(kind))
        return made

    def lead_elsewhere(self) -> None:
        """The leader stops, and the other one decides once it has listed the pods."""
        self.run(self.cycle.step_down())
        self.leader, self.standby = self.standby, self.leader
        self.run(self.leader.list(WatchedKind.POD))

    def deliver(self, most: int = 1_000) -> None:
        """The watches of the leader bring what happened."""
        self.run(self.leader.hear(most))

    def step(self) -> None:
        """One cycle of the queue, and its releases as far as they come without waiting for anything."""
        before = {pod.uid for pod in self.state.queue if pod.state in HOLDING}
        self.run(self.cycle.step())
        self.run(turns())
        self._check_gangs(before)

    def tell(self) -> None:
        """Pods that wait are told why, as far as the pace allows."""
        self.run(self.announcements.look(within_s=60))
        self.run(self.announcements.send())

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Do something in the loop."""
        return self.loop.run_until_complete(work)

    def _drop(self) -> None:
        async def cancel() -> None:
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self.run(cancel())

    # --- the cluster

    def create(
        self,
        profile: str,
        *,
        gang: str = "",
        size: int = 0,
        owned: bool = False,
        priority: int = 0,
        app: str = "",
        labels: dict[str, str] | None = None,
        annotations: dict[str, str] | None = None,
        wishes: Document | None = None,
        cpu: str = "0",
        **spec: Any,
    ) -> str:
        """A gated pod; `app` is one of its labels, `wishes` and `spec` are what its spec says beside."""
        self.made += 1
        name = f"p{self.made:03}"
        meta: Document = {"name": name, "namespace": "default", "labels": {**(labels or {})}}
        if annotations:
            meta["annotations"] = annotations
        if gang:
            meta["annotations"] = {GANG_ANNOTATION: gang, GANG_SIZE_ANNOTATION: str(size)}
        if app:
            meta["labels"]["app"] = app
        if owned:
            owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "r", "controller": True}
            meta["ownerReferences"] = [owner]
        resources = {"limits": {f"nvidia.com/mig-{profile}": "1"}, "requests": {"cpu": cpu}}
        spec = {
            **spec,
            "containers": [{"name": "main", "image": "none", "resources": resources}],
            "schedulingGates": [{"name": GATE}],
            "priority": priority,
            "terminationGracePeriodSeconds": spec.get("terminationGracePeriodSeconds", 0),
            **(wishes or {}),
        }
        self.server.create(api.POD, {"metadata": meta, "spec": spec})
        return name

    def budget(self, app: str, allowed: int) -> None:
        """A PodDisruptionBudget over pods with this label that allows so many disruptions."""
        status = {"disruptionsAllowed": allowed}
        with contextlib.suppress(errors.NotFoundError):
            self.server.replace_status(api.DISRUPTION_BUDGET, app, status, "default")
            return
        spec = {"selector": {"matchLabels": {"app": app}}}
        meta = {"name": app, "namespace": "default"}
        self.server.create(api.DISRUPTION_BUDGET, {"metadata": meta, "spec": spec, "status": status})

    def create_shy(self, profile: str, *, gang: str = "", size: int = 0) -> str:
        """A gated pod that keeps apart from others like it."""
        return self.create(profile, gang=gang, size=size, labels={"app": "shy"}, wishes={"affinity": KEEP_APART})

    def create_unjudged(self, profile: str, *, owned: bool = False, **spec: Any) -> str:
        """A gated pod with a resource claim, which nobody but kube-scheduler judges."""
        return self.create(profile, owned=owned, resourceClaims=[{"name": "nic", "resourceClaimName": "nic"}], **spec)

    def pods(self) -> list[Document]:
        """All pods."""
        return [stored.document for stored in self.server.list(api.POD)]

    def kube_scheduler(self) -> None:
        """Binds every pod that has no gate to the node it is pinned to, of several the first that takes it, or says
        that it cannot.

        One that is not pinned goes to the node that it is nominated to, or to any other that takes pods.
        """
        for pod in self.pods():
            meta, spec = pod["metadata"], pod["spec"]
            if spec.get("nodeName") or spec.get("schedulingGates"):
                continue
            nodes = named_nodes(pod)
            if not nodes and promises_of(pod):
                nodes = [node for node in (pod["status"].get("nominatedNodeName"), *NODES) if node]
            refusing = self.refusing if spec.get("resourceClaims") else ()
            target = next((node for node in nodes if self.takes(node) and node not in refusing), None)
            if target is not None:
                self.server.bind(Binding("default", meta["name"], meta["uid"], target, {}))
                self.server.patch_status(api.POD, meta["name"], {"status": {"phase": "Running"}}, "default")
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
        placed = self.state.used.placed
        placed.check()
        for pod in queue:
            if pod.state is not QueueState.BOUND:
                assert placed.node_of(pod.uid) == pod.node, f"{pod.title} is not where its neighbours take it to be"
            claim = inventory.ledger.get(pod.uid)
            if pod.state is QueueState.RELEASED and pod.refusal and claim is None:
                continue  # a leader before has given its place to another; the next cycle finds that out
            if pod.state in HOLDING:
                assert claim is not None, f"{pod.title} is {pod.state} without a claim"
                assert claim.node == pod.node
                assert claim.state is ClaimState.RESERVED
            elif pod.state in (QueueState.QUEUED, QueueState.UNBINDABLE):
                assert claim is None, f"{pod.title} is {pod.state} and holds {claim}"
        for claim in inventory.ledger:
            if claim.state is ClaimState.RESERVED:
                held = queue.get(spare_places.pod_of(claim.uid))
                assert held is not None, f"{claim.pod} holds a place and is not queued"
                assert claim.node in (held.spares if spare_places.is_spare(claim.uid) else [held.node])
        assert len(queue.reservations) <= RESERVATIONS
        self._check_promises()

    def check_evictions(self) -> None:
        """Who was evicted ran, comes anew, and was less important than somebody who waited; no budget was broken."""
        for pod, others in self.evicted:
            title = pod["metadata"]["name"]
            assert pod["spec"].get("nodeName"), f"{title} was evicted before it ran"
            assert pod["metadata"].get("ownerReferences"), f"{title} was evicted, and nobody makes it anew"
            waiting = [other["spec"]["priority"] for other in others if other["spec"].get("schedulingGates")]
            assert max(waiting, default=0) > pod["spec"]["priority"], f"{title} was evicted for nobody above it"
        self.evicted.clear()
        for stored in self.server.list(api.DISRUPTION_BUDGET):
            assert stored.document["status"]["disruptionsAllowed"] >= 0

    def end_terminating(self) -> None:
        """Kubelets are done with the pods that are being deleted."""
        for pod in self.pods():
            if "deletionTimestamp" in pod["metadata"]:
                self.delete(pod["metadata"]["name"])

    def _check_gangs(self, before: set[str]) -> None:
        """Whoever of a gang has got a place in a cycle has got it together with as many as have to start together."""
        queue = self.state.queue
        for pod in queue:
            if pod.gang is not None and pod.state in HOLDING and pod.uid not in before:
                members = [queue.get(uid) for uid in queue.gangs.of(pod.gang)]
                placed = [m for m in members if m is not None and (m.state in PLACED or queue.kept.node_for(m))]
                size = queue.gangs.size(pod.gang)
                assert size is not None, f"{pod.title} is of a gang of unknown size"
                assert len(placed) >= size, f"{pod.title} has a place, with {len(placed)} of {size}"

    def room_of(self, pod: QueuedPod, node: str) -> list[GpuState]:
        """The GPUs of a node as a waiting pod may use them: without what is reserved for those before it."""
        inventory = self.state.inventory
        left = self.state.queue.reservations.left(inventory, node, pod.uid, pod.order)
        return [state for _, state in remaining(tuple(inventory.gpus_without(node, frozenset()).items()), left)]

    def _check_promises(self) -> None:
        """What the API server's pods are promised and still have a right to is legal and disjoint."""
        taken: dict[str, int] = {}
        for pod in self.pods():
            if is_over(pod):
                continue
            promises = promises_of(pod)
            queued = self.state.queue.get(pod["metadata"]["uid"])
            if queued is not None and queued.state is QueueState.UNBINDABLE:
                continue
            if pod["spec"].get("nodeName") and self.state.inventory.ledger.get(pod["metadata"]["uid"]) is None:
                continue  # bound past its place, which others may have: its agent decides
            for promise in promises:
                mask = mask_of(promise)
                assert not taken.get(promise.gpu, 0) & mask, f"{pod['metadata']['name']} shares {promise}"
                taken[promise.gpu] = taken.get(promise.gpu, 0) | mask


def is_over(pod: Document) -> bool:
    """Whether a pod has succeeded or failed."""
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def pinned_to(pod: Document) -> str | None:
    """The node that a pod's affinity names, of several the first."""
    return next(iter(named_nodes(pod)), None)


def named_nodes(pod: Document) -> list[str]:
    """The nodes that a pod's affinity names."""
    terms = pod["spec"].get("affinity", {}).get("nodeAffinity", {}).get(REQUIRED, {}).get("nodeSelectorTerms", [])
    fields = [field for term in terms for field in term.get("matchFields", ()) if field["key"] == NAME_FIELD]
    return [field["values"][0] for field in fields]


def promises_of(pod: Document) -> tuple[placement_annotation.Promise, ...]:
    """What a pod's annotation promises it on its node."""
    text = (pod["metadata"].get("annotations") or {}).get(contract.PLACEMENT_ANNOTATION)
    return () if text is None else placement_annotation.decode(text, pod["spec"].get("nodeName", ""))


def mask_of(promise: placement_annotation.Promise) -> int:
    """The memory slices that a promise lies on, a bit each."""
    report = node_builder("n").gpu(MODEL).report()
    catalogue = report.gpus[0].catalogue
    assert catalogue is not None
    return catalogue.placement(promise.profile, promise.start).mask


def _node(name: str) -> Document:
    amounts = {"cpu": "64", "memory": "256Gi", "pods": "110", "ephemeral-storage": "1Ti"}
    ready = {"type": "Ready", "status": "True"}
    status = {"allocatable": amounts, "capacity": amounts, "conditions": [ready]}
    return {"metadata": {"name": name, "labels": {HOST: name}}, "spec": {}, "status": status}
