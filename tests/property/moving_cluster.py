"""A small cluster in which Repacks are carried out: beside the queue's, agents that report what pods were promised, and
controllers that make pods anew.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import msgspec

from allocator import errors
from allocator.claims import contract, placement_annotation, snapshot_file
from allocator.claims.ledger import ClaimState
from allocator.claims.report import Owner, Slice, SliceState
from allocator.mig import geometry, gpu_models
from allocator.moves.document import RepackStatus, read_status
from allocator.queueing.life import HOLDING
from scheduler.cache.port import WatchedKind
from scheduler.cache.reflector import Sink
from scheduler.moves.executor import MovesExecutor
from scheduler.moves.options import MovesOptions
from scheduler.planner.port import JobContext, JobFactory, Task
from scheduler.queueing.promised_places import PromisedPlaces
from scheduler.snapshots import Snapshots
from simulator.cluster import api
from simulator.cluster.api import Document
from tests.builders import node as node_builder
from tests.property.queue_replica import KINDS, Replica, turns
from tests.property.queued_cluster import MODEL, NODES, QueuedCluster, is_over, promises_of

BEGAN = datetime(2026, 11, 30, tzinfo=UTC)
Answer = Callable[[Any, JobContext], Any]


class DirectPlanner:
    """A planner that does its work at once, where it is asked."""

    answer: Answer | None = None  # instead of the task's own

    async def submit(self, task: Task, make_job: JobFactory, client: str = "") -> bytes:
        """See Planner."""
        del client
        job = await make_job()
        saved = snapshot_file.decode(b"".join(job.snapshot or ()))
        terms = JobContext(saved, {}, job.time_limit_s, 60.0)
        return msgspec.json.encode((self.answer or task)(msgspec.json.decode(job.document), terms))

    async def close(self) -> None:
        """See Planner."""


class MovingReplica(Replica):
    """A replica that carries out Repacks."""

    kinds: ClassVar[dict[WatchedKind, api.ResourceKind]] = {
        **KINDS,
        WatchedKind.NAMESPACE: api.NAMESPACE,
        WatchedKind.REPACK: api.REPACK,
    }
    options = MovesOptions()

    def promises(self) -> PromisedPlaces:
        """The executor."""
        self.planner = DirectPlanner()
        self.moves = MovesExecutor(
            self.state,
            self.cluster,
            self.metrics,
            Snapshots(self.state, self.cluster, step_s=60),
            self.planner,
            self.options,
            now=lambda: BEGAN + timedelta(seconds=self.clock()),
        )
        return self.moves

    def sink(self, kind: WatchedKind) -> Sink:
        """Where objects of a kind go."""
        if kind is WatchedKind.NAMESPACE:
            return self.state.namespaces
        return self.moves.repacks if kind is WatchedKind.REPACK else self.state


class MovingCluster(QueuedCluster):
    """Pods with `owned=True` are made anew by `controllers` for each that is gone or going."""

    replicas: type[Replica] = MovingReplica

    def __init__(self, nodes: int = len(NODES), *, gpus: int = 1) -> None:
        self.gpus = gpus
        self.templates: dict[str, Document] = {}  # of owned pods, by the owner's name
        self.wanted: dict[str, int] = {}  # how many pods an owner shall have
        self.foreign: set[tuple[str, str, int]] = set()  # slices that no pod has: node, profile, start
        self.refused: set[str] = set()  # owners whose pods kubelets refuse to start
        super().__init__(preemption="off", nodes=nodes)

    @property
    def moves(self) -> MovesExecutor:
        """The executor of the service that leads."""
        assert isinstance(self.leader, MovingReplica)
        return self.leader.moves

    def restart(self, *, preemption: str = "") -> None:
        """All replicas die, and others list everything; what leads holds again what was held."""
        super().restart(preemption=preemption)
        self.run(self.moves.begin())

    def lead_elsewhere(self) -> None:
        """The leader stops, and the other one decides once it has listed the pods and the Repacks."""
        self.run(self.moves.step_down())
        super().lead_elsewhere()
        self.run(self.moves.begin())

    def plan_quickly(self, answer: Answer) -> None:
        """The planners of both replicas answer by this, not by the solver."""
        for replica in (self.leader, self.standby):
            assert isinstance(replica, MovingReplica)
            replica.planner.answer = answer

    def propose(self, options: MovesOptions) -> None:
        """Services that come after make Repacks by themselves."""

        class Proposing(MovingReplica):
            """A replica with these options."""

        Proposing.options = options
        self.replicas = Proposing
        self.restart()

    # --- what is asked for

    def repack(self, name: str = "r", **spec: Any) -> None:
        """A Repack; in mode Auto unless something else is said."""
        self.server.create(api.REPACK, {"metadata": {"name": name}, "spec": {"mode": "Auto", **spec}})

    def status(self, name: str = "r") -> RepackStatus:
        """What its status says."""
        return read_status(msgspec.json.encode(self.server.get(api.REPACK, name).document.get("status") or {}))

    def workload(self, owner: str, profile: str, replicas: int = 1, *, movable: str = "true", **spec: Any) -> None:
        """Pods of one owner, marked movable unless something else is said."""
        meta: Document = {"generateName": f"{owner}-", "namespace": "default", "labels": {"app": owner}}
        if movable:
            meta["annotations"] = {contract.MOVABLE_ANNOTATION: movable}
        reference = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "uid": owner, "controller": True}
        resources = {"limits": {f"nvidia.com/mig-{profile}": "1"}}
        self.templates[owner] = {
            "metadata": {**meta, "ownerReferences": [reference]},
            "spec": {
                "containers": [{"name": "main", "image": "none", "resources": resources}],
                "schedulingGates": [{"name": "migsched.io/place"}],
                "priority": 0,
                "terminationGracePeriodSeconds": 0,
                **spec,
            },
        }
        self.wanted[owner] = replicas

    def controllers(self) -> None:
        """Each owner has as many pods again as it shall, those that are over or on their way out not counted."""
        for owner, number in self.wanted.items():
            alive = [pod for pod in self.of(owner) if "deletionTimestamp" not in pod["metadata"] and not is_over(pod)]
            for _ in range(number - len(alive)):
                self.server.create(api.POD, self.templates[owner])

    def of(self, owner: str) -> Sequence[Document]:
        """The pods of an owner."""
        return [
            pod
            for pod in self.pods()
            if any(reference["name"] == owner for reference in pod["metadata"].get("ownerReferences", ()))
        ]

    def bound(self, name: str, profile: str, node: str, start: int, *, owner: str = "") -> None:
        """A pod that somebody else has put on a node, with a slice; of an owner's template, where one is named."""
        promise = placement_annotation.Promise("main", f"{node}-gpu-0", profile, start)
        meta: Document = {"name": name, "namespace": "default"}
        document: Document = {"metadata": meta, "spec": {"containers": [{"name": "main", "image": "none"}]}}
        if owner:
            document = msgspec.json.decode(msgspec.json.encode(self.templates[owner]))
            document["metadata"] |= meta
        resources = {"limits": {f"nvidia.com/mig-{profile}": "1"}}
        document["spec"]["containers"] = [{"name": "main", "image": "none", "resources": resources}]
        document["spec"].pop("schedulingGates", None)
        document["spec"]["nodeName"] = node
        annotations = document["metadata"].setdefault("annotations", {})
        annotations[contract.PLACEMENT_ANNOTATION] = placement_annotation.encode((promise,))
        self.server.create(api.POD, document)
        self.server.patch_status(api.POD, name, {"status": {"phase": "Running"}}, "default")

    def free_start(self, node: str, profile: str) -> int | None:
        """The first start of a profile on a node that no pod's promise and nobody's slice is in the way of."""
        catalogue = gpu_models.find(MODEL)
        taken = [
            catalogue.placement(promise.profile, promise.start)
            for pod in self.pods()
            for promise in promises_of(pod)
            if promise.gpu == f"{node}-gpu-0" and not is_over(pod)
        ]
        taken += [catalogue.placement(name, start) for where, name, start in self.foreign if where == node]
        for start in catalogue.profile(profile).starts:
            placement = catalogue.placement(profile, start)
            if not any(placement.overlaps(other) for other in taken):
                with contextlib.suppress(errors.GeometryError):
                    geometry.compiled(catalogue).state_of([*taken, placement])
                    return start
        return None

    # --- what happens

    def agents(self) -> None:
        """Each node's report shows what its pods were promised, and what is nobody's."""
        for stored in tuple(self.server.list(api.MIG_NODE)):
            name = stored.document["metadata"]["name"]
            built = node_builder(name).gpu(MODEL)
            (gpu,) = built.gpus
            assert gpu.catalogue is not None
            slices = [
                Slice(gpu.catalogue.placement(profile, start), SliceState.FOREIGN, None)
                for node, profile, start in sorted(self.foreign)
                if node == name
            ]
            for pod in self.pods():
                meta = pod["metadata"]
                if pod["spec"].get("nodeName") != name or is_over(pod):
                    continue
                for promise in promises_of(pod):
                    placement = gpu.catalogue.placement(promise.profile, promise.start)
                    if any(placement.overlaps(other.placement) for other in slices):
                        continue  # the first that came has it
                    owner = Owner("default", meta["name"], meta["uid"], promise.container)
                    slices.append(Slice(placement, SliceState.ALLOCATED, owner))
            report = replace(built, gpus=(replace(gpu, slices=tuple(slices)),)).report()
            status = contract.encode_status(report, agent_version="1", mode="managed")
            with contextlib.suppress(errors.NotFoundError):
                self.server.patch_status(api.MIG_NODE, name, {"status": status})

    def refuse(self, owner: str) -> None:
        """Kubelets fail the pods of an owner that they were given and that no agent has reported yet."""
        reports = [stored.document.get("status", {}) for stored in self.server.list(api.MIG_NODE)]
        seen = {
            slice_["owner"]["uid"]
            for report in reports
            for gpu in report.get("gpus", ())
            for slice_ in gpu.get("slices", ())
            if slice_.get("owner")
        }
        for pod in self.of(owner):
            meta = pod["metadata"]
            if pod["status"].get("phase") == "Running" and meta["uid"] not in seen:
                self.server.patch_status(api.POD, meta["name"], {"status": {"phase": "Failed"}}, "default")

    def move(self) -> None:
        """One look of the executor, as far as it comes without waiting for anything."""
        self.run(self.moves.step())
        self.run(turns())

    def turn(self, times: int = 1) -> None:
        """Everybody does what is to be done, once each."""
        for _ in range(times):
            self.deliver()
            self.move()
            self.step()
            self.deliver()
            self.kube_scheduler()
            for owner in sorted(self.refused):
                self.move()  # it sees who has the place, and then that nobody has it any more
                self.refuse(owner)
            self.end_terminating()
            self.controllers()
            self.agents()
            self.now += 1
        self.deliver()

    # --- what must hold

    def check(self) -> None:
        """As for the queue; and a place is held for nobody else than a Repack that is under way."""
        inventory, queue = self.state.inventory, self.state.queue
        inventory.check()
        queue.check()
        for claim in inventory.ledger:
            if claim.state is not ClaimState.RESERVED:
                continue
            if claim.uid.startswith("repack/"):
                assert self.moves.is_holding(claim.uid), f"{claim.uid} is held for nobody"
            else:
                held = queue.get(claim.uid)
                assert held is not None, f"{claim.pod} holds a place and is not queued"
                assert held.state in HOLDING
