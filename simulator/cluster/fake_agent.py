"""FakeAgent: stands in for the node agent of one node; it cuts what a pod's placement says on simulated GPUs.

It runs no code of `node_agent` but the types of its device port: no journal, no device plugin, no Allocate and no
reconciliation. What it shares with the real agent is the contract: it reads the same annotation, and its report is
read by the same scheduler. The real agent on simulated GPUs is `migsched agent --simulate`. Used by `agents`, many at
a time, where the scheduler is what matters.

The GPUs refuse every illegal or overlapping placement, so what this agent reports is a legal geometry whatever the
annotations say. It keeps nothing that it could not find out again, and no idle slices: a pod's slices are destroyed
as soon as the pod is over.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from allocator import errors
from allocator.claims import contract
from allocator.claims.contract import Promise
from allocator.claims.report import GpuReport, MigMode, NodeReport, Owner, Slice, SliceState
from allocator.mig import gpu_models
from allocator.placement import fitting, policy
from allocator.request import Request, SliceRequest
from config.version import version
from kubeclient.objects import Pod
from node_agent.gpu.device import GpuInstance
from scheduler.cache import pods
from simulator.cluster.api import Document
from simulator.cluster.nodes import Gpu, SimulatedNode
from simulator.gpu.gpu import SimulatedGpu

MODE = "simulated"


@dataclass(frozen=True, slots=True)
class Cut:
    """One slice that a pod has."""

    container: str
    gpu: str
    instance: GpuInstance


@dataclass(frozen=True, slots=True)
class Holding:
    """All slices that one pod has on this node."""

    namespace: str
    pod: str
    cuts: tuple[Cut, ...]


class FakeAgent:
    """One node. GPUs are made when the first slice is cut on them: large fleets are mostly empty for long."""

    def __init__(self, node: SimulatedNode) -> None:
        self.node = node
        self._models = {gpu.uuid: gpu.model for gpu in node.gpus}
        self._gpus: dict[str, SimulatedGpu] = {}
        self._holdings: dict[str, Holding] = {}

    def holds(self, uid: str) -> bool:
        """Whether a pod has slices here."""
        return uid in self._holdings

    def admit(self, pod: Pod) -> str:
        """Cut what the pod's placement says, all or nothing. Returns why not, or nothing.

        A pod without a placement, bound past migsched, is given room if there is some. A pod that asks for nothing or
        has its slices already is a success.
        """
        try:
            request = pods.request_of(pod)
            if not request or self.holds(pod.metadata.uid):
                return ""
            promises = pods.promises_of(pod) or self._chosen(request)
            self._check(request, promises)
            cuts = self._cut_all(promises)
        except errors.MigschedError as error:
            return str(error)
        self._holdings[pod.metadata.uid] = Holding(pod.metadata.namespace, pod.metadata.name, cuts)
        return ""

    def free(self, uid: str) -> bool:
        """Destroy a pod's slices. Returns whether it had any."""
        holding = self._holdings.pop(uid, None)
        if holding is None:
            return False
        self._destroy(holding.cuts)
        return True

    def report(self) -> NodeReport:
        """What the GPUs hold, and whose it is."""
        owners = {
            (cut.gpu, cut.instance.gi_id): Owner(holding.namespace, holding.pod, uid, cut.container)
            for uid, holding in self._holdings.items()
            for cut in holding.cuts
        }
        return NodeReport(
            self.node.name, tuple(self._gpu_report(index, gpu, owners) for index, gpu in enumerate(self.node.gpus))
        )

    def status(self) -> Document:
        """The report as the status of a MigNode."""
        status = contract.encode_status(self.report(), agent_version=version(), mode=MODE)
        ready = {
            "type": "Ready",
            "status": "True",
            "reason": "Simulated",
            "message": "cuts slices on simulated GPUs",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
        return status | {"conditions": [ready]}

    def _gpu_report(self, index: int, gpu: Gpu, owners: dict[tuple[str, int], Owner]) -> GpuReport:
        board = _blank(gpu.model).board
        made = self._gpus.get(gpu.uuid)
        slices = (
            Slice(
                instance.placement,
                SliceState.ALLOCATED,
                owners[gpu.uuid, instance.gi_id],
                instance.mig_uuid or "",
                instance.gi_id,
                instance.compute_instances[0].ci_id,
            )
            for instance in (made.instances() if made else ())
        )
        return GpuReport(gpu.uuid, index, board.product, MigMode.ENABLED, board.catalogue, tuple(slices))

    def _chosen(self, request: Request) -> tuple[Promise, ...]:
        """Room for a pod that has no placement."""
        gpus = [self._gpu(gpu.uuid) for gpu in self.node.gpus]
        placed = fitting.place([(g.geometry, g.state) for g in gpus], request, policy.DEFAULT)
        if placed is None:
            raise errors.GeometryError(f"no room for {request}, which was bound to this node past migsched")
        return tuple(
            Promise(
                slot.container,
                gpus[placed_slice.gpu].uuid,
                placed_slice.placement.profile,
                placed_slice.placement.start,
            )
            for slot, placed_slice in zip(request.slots, placed, strict=True)
        )

    def _check(self, request: Request, promises: Sequence[Promise]) -> None:
        """Raise ContractError unless the promises are what the pod asks for, on GPUs of this node."""
        where = f"annotation {contract.PLACEMENT_ANNOTATION}"
        if Counter(SliceRequest(promise.container, promise.profile) for promise in promises) != Counter(request.slots):
            promised = ", ".join(f"{promise.profile} for {promise.container}" for promise in promises)
            raise errors.ContractError(where, promised, f"must promise what the pod's containers ask for: {request}")
        for promise in promises:
            if promise.gpu not in self._models:
                raise errors.ContractError(f"{where}: gpu", promise.gpu, f"must be a GPU of node {self.node.name}")

    def _cut_all(self, promises: Sequence[Promise]) -> tuple[Cut, ...]:
        cuts: list[Cut] = []
        try:
            for promise in promises:
                made = self._gpu(promise.gpu).create(promise.profile, promise.start)
                cuts.append(Cut(promise.container, promise.gpu, made))
        except errors.MigschedError:
            self._destroy(cuts)
            raise
        return tuple(cuts)

    def _destroy(self, cuts: Sequence[Cut]) -> None:
        for cut in cuts:
            self._gpu(cut.gpu).destroy(cut.instance.gi_id)

    def _gpu(self, uuid: str) -> SimulatedGpu:
        if uuid not in self._gpus:
            index = list(self._models).index(uuid)
            self._gpus[uuid] = SimulatedGpu(gpu_models.find(self._models[uuid]), uuid, index)
        return self._gpus[uuid]


@lru_cache(maxsize=64)
def _blank(model: str) -> SimulatedGpu:
    """A GPU of a model, to ask what all of them have in common."""
    return SimulatedGpu(gpu_models.find(model), "GPU-blank")
