"""FakeAgent: stands in for the node agent of one node where a fleet is too large for real ones (`node_agents`).

It runs no code of `node_agent` but the types of its device port: no journal, no device plugin, no Allocate over gRPC,
no reconciliation. It does what the real one comes to, which one contract suite runs on both to see
(tests/contract/agents): it cuts what a pod's placement promises, chooses a place where there is no promise to keep,
refuses where there is no room, and keeps slices of ended pods until their room is wanted. Used by `agents`, many at a
time.

The GPUs refuse every illegal or overlapping placement, so what this agent reports is a legal geometry whatever the
annotations say.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from allocator import errors
from allocator.claims import contract
from allocator.claims.placement_annotation import Promise
from allocator.claims.report import GpuReport, MigMode, NodeReport, Owner, Slice, SliceState
from allocator.mig import gpu_models
from allocator.mig.profile import Placement, profile_name
from allocator.placement import fitting, policy
from allocator.request import Request, SliceRequest
from config.version import version
from kubeclient.objects import Pod
from scheduler.cache import pods
from simulator.cluster import pod_devices
from simulator.cluster.api import Document
from simulator.cluster.nodes import Gpu, SimulatedNode
from simulator.cluster.pod_devices import Need, PodDevices
from simulator.gpu.gpu import SimulatedGpu

MODE = "simulated"
READY_EVENT, FAILED_EVENT = "SliceReady", "SliceFailed"


@dataclass(frozen=True, slots=True)
class Told:
    """What a pod is told by an Event."""

    reason: str
    message: str

    @property
    def type(self) -> str:
        """Normal or Warning."""
        return "Normal" if self.reason == READY_EVENT else "Warning"


class _NoRoomError(errors.MigschedError):
    """A container cannot have what it asks for."""


class FakeAgent:
    """One node. GPUs are made when the first slice is cut on them: large fleets are mostly empty for long."""

    def __init__(self, node: SimulatedNode) -> None:
        self.node = node
        self._models = {gpu.uuid: gpu.model for gpu in node.gpus}
        self._gpus: dict[str, SimulatedGpu] = {}
        self._devices = PodDevices()
        self._places: dict[str, tuple[str, Placement]] = {}  # what ids mean
        self._left: dict[str, list[tuple[str, Placement]]] = {}  # by pod, places promised to it for which it got others
        self._resources = _resources(tuple(sorted(set(self._models.values()))))

    def holds(self, uid: str) -> bool:
        """Whether a pod has slices here."""
        return bool(uid in self._devices.pods and self._devices.pods[uid].devices)

    def admit(self, pod: Pod) -> tuple[str, list[Told]]:
        """Give a pod's containers their slices, all or nothing. Returns why not, or nothing, and what it is told."""
        uid, told = pod.metadata.uid, list[Told]()
        promises, problem = self._believed(pod)
        if problem:
            told.append(Told(FAILED_EVENT, problem))
        promised = self._cut_promised(promises)
        self._devices.admit(pod)
        try:
            for need in pod_devices.needs(pod, self._resources):
                if not self._devices.has(uid, need):
                    self._devices.give(uid, need, self._give(uid, need, promised))
        except _NoRoomError as error:
            self.free(uid)
            return str(error), [*told, Told(FAILED_EVENT, str(error))]
        self._left[uid] = self._left_of(uid, promises)
        told += [
            Told(READY_EVENT, f"{self._places[id_][1]} on {self._places[id_][0]} ready after 0.0 s")
            for id_ in dict.fromkeys(id_ for ids in self._devices.pods[uid].devices.values() for id_ in ids)
        ]
        return "", told

    def free(self, uid: str) -> bool:
        """A pod is over: its slices stay, idle, until their room is wanted. Returns whether it had any."""
        had = self.holds(uid)
        self._left.pop(uid, None)
        self._devices.release(uid)
        return had

    @property
    def uids(self) -> Collection[str]:
        """The pods that were admitted."""
        return self._devices.pods.keys()

    def offered(self) -> dict[str, int]:
        """How many devices of each resource there are: one for each place where a slice could be."""
        models = [_blank(model).catalogue for model in self._models.values()]
        places = Counter(
            profile.resource for catalogue in models for profile in catalogue.profiles for _ in profile.starts
        )
        return dict(places)

    # --- what is told

    def report(self) -> NodeReport:
        """What the GPUs hold, and whose it is."""
        owners = dict(self._owners())
        return NodeReport(
            self.node.name, tuple(self._gpu_report(index, gpu, owners) for index, gpu in enumerate(self.node.gpus))
        )

    def status(self) -> Document:
        """The report as the status of a MigNode."""
        status = contract.encode_status(self.report(), agent_version=version(), mode=MODE)
        ready = {
            "type": "Ready",
            "status": "True",
            "reason": "Ready",
            "message": "stands in for an agent, on simulated GPUs",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
        return status | {"conditions": [ready]}

    def _owners(self) -> Iterator[tuple[str, Owner]]:
        """Ids and whose they are: the container that goes on running, where an init container handed them on."""
        for uid, held in self._devices.pods.items():
            of_init_first = sorted(held.devices.items(), key=lambda item: item[0][0] not in held.init)
            for (container, _), ids in of_init_first:
                for id_ in ids:
                    yield id_, Owner(held.namespace, held.name, uid, container)

    def _gpu_report(self, index: int, gpu: Gpu, owners: dict[str, Owner]) -> GpuReport:
        board = _blank(gpu.model).board
        made = self._gpus.get(gpu.uuid)
        slices = []
        for instance in made.instances() if made else ():
            owner = owners.get(self._id(gpu.uuid, instance.placement))
            state = SliceState.IDLE if owner is None else SliceState.ALLOCATED
            ci_id = instance.compute_instances[0].ci_id
            slices.append(Slice(instance.placement, state, owner, instance.mig_uuid or "", instance.gi_id, ci_id))
        slices.sort(key=lambda slice_: (slice_.placement.start, slice_.placement))
        return GpuReport(gpu.uuid, index, board.product, MigMode.ENABLED, board.catalogue, tuple(slices))

    # --- what is given

    def _believed(self, pod: Pod) -> tuple[tuple[Promise, ...], str]:
        """The pod's promises; none, and why, where they are not what it asks for or are no places of this node."""
        where = f"annotation {contract.PLACEMENT_ANNOTATION}"
        try:
            asked, promises = pods.request_of(pod), pods.promises_of(pod)
            has_any = contract.PLACEMENT_ANNOTATION in (pod.metadata.annotations or {})
            if has_any and Counter(SliceRequest(p.container, p.profile) for p in promises) != Counter(asked.slots):
                promised = ", ".join(f"{promise.profile} for {promise.container}" for promise in promises)
                raise errors.ContractError(where, promised, f"must promise what the pod asks for: {asked}")
        except errors.MigschedError as error:
            return (), str(error)
        kept, problem = [], ""
        for promise in promises:
            try:
                if promise.gpu not in self._models:
                    raise errors.ContractError(f"{where}: gpu", promise.gpu, f"must be a GPU of node {self.node.name}")
                self._gpu(promise.gpu).catalogue.placement(promise.profile, promise.start)
            except errors.MigschedError as error:
                problem = problem or str(error)
            else:
                kept.append(promise)
        return tuple(kept), problem

    def _cut_promised(self, promises: Sequence[Promise]) -> dict[str, tuple[str, ...]]:
        """Cut what is promised, as far as others leave room for it: ids by profile."""
        promised: dict[str, tuple[str, ...]] = {}
        for promise in promises:
            gpu, placement = self._kept_at(promise)
            kept = [id_ for ids in promised.values() for id_ in ids]
            if self._cut(gpu, placement, kept):
                id_ = self._id(gpu, placement)
                promised[promise.profile] = (*promised.get(promise.profile, ()), id_)
        return promised

    def _kept_at(self, promise: Promise) -> tuple[str, Placement]:
        """Where a promise is kept: at its place, or, where another pod has that, at one which such a pod left."""
        place = promise.gpu, self._gpu(promise.gpu).catalogue.placement(promise.profile, promise.start)
        taken = self._devices.taken()
        if self._id(*place) not in taken:
            return place
        left = (other for others in self._left.values() for other in others)
        free = (other for other in left if other[1].profile == promise.profile and self._id(*other) not in taken)
        return next(free, place)

    def _left_of(self, uid: str, promises: Sequence[Promise]) -> list[tuple[str, Placement]]:
        """The places promised to a pod for which it got others of the profile."""
        places = [(p.gpu, self._gpu(p.gpu).catalogue.placement(p.profile, p.start)) for p in promises]
        has = {self._places[id_] for ids in self._devices.pods[uid].devices.values() for id_ in ids}
        elsewhere = Counter(placement.profile for _, placement in has - set(places))
        left = []
        for gpu, placement in places:
            if (gpu, placement) not in has and elsewhere[placement.profile]:
                elsewhere[placement.profile] -= 1
                left.append((gpu, placement))
        return left

    def _give(self, uid: str, need: Need, promised: dict[str, tuple[str, ...]]) -> list[str]:
        """Ids for a container: those handed on, those promised, and any places for the rest. Raises _NoRoomError."""
        profile, given = profile_name(need.resource), self._devices.reusable(uid, need)
        taken = self._devices.taken()
        given += [id_ for id_ in promised.get(profile, ()) if id_ not in taken][: need.number - len(given)]
        rest = need.number - len(given)
        if rest:
            kept = [*(id_ for ids in promised.values() for id_ in ids), *given]
            given += self._anywhere(profile, rest, kept)
        return given

    def _anywhere(self, profile: str, number: int, kept: Sequence[str]) -> list[str]:
        """Places that the scheduler's policy would choose beside all that is held or kept. Raises _NoRoomError."""
        stay = [self._places[id_] for id_ in {*self._devices.taken(), *kept}]
        gpus = [self._gpu(gpu.uuid) for gpu in self.node.gpus]
        states = [(gpu.geometry, gpu.geometry.state_of([p for uuid, p in stay if uuid == gpu.uuid])) for gpu in gpus]
        try:
            placed = fitting.place(states, Request((SliceRequest("", profile),) * number), policy.DEFAULT)
        except fitting.TooComplexError:
            placed = None
        if placed is None:
            raise _NoRoomError(f"no room for {number} × {profile} on this node")
        ids: list[str] = []
        for slice_ in placed:
            uuid = gpus[slice_.gpu].uuid
            self._cut(uuid, slice_.placement, [*kept, *ids])
            ids.append(self._id(uuid, slice_.placement))
        return ids

    def _cut(self, uuid: str, placement: Placement, kept: Sequence[str]) -> bool:
        """Cut a slice unless it stands idle, in place of idle ones in its way. False without room, or if it is kept."""
        gpu, id_ = self._gpu(uuid), self._id(uuid, placement)
        taken = self._devices.taken()
        if id_ in taken or id_ in kept:
            return False
        standing = {instance.placement: instance for instance in gpu.instances()}
        if placement in standing:
            return True
        stay = [p for p in standing if self._id(uuid, p) in taken or self._id(uuid, p) in kept]
        if not _legal(gpu, [*stay, placement]):
            return False
        idle = sorted((p for p in standing if p not in stay), key=lambda p: (not p.overlaps(placement), p))
        while idle and (idle[0].overlaps(placement) or not _legal(gpu, [*stay, *idle, placement])):
            gpu.destroy(standing[idle.pop(0)].gi_id)
        gpu.create(placement.profile, placement.start)
        return True

    def _id(self, uuid: str, placement: Placement) -> str:
        id_ = f"{uuid}/{placement}"
        self._places[id_] = (uuid, placement)
        return id_

    def _gpu(self, uuid: str) -> SimulatedGpu:
        if uuid not in self._gpus:
            index = list(self._models).index(uuid)
            self._gpus[uuid] = SimulatedGpu(gpu_models.find(self._models[uuid]), uuid, index)
        return self._gpus[uuid]


def _legal(gpu: SimulatedGpu, placements: Sequence[Placement]) -> bool:
    try:
        gpu.geometry.state_of(placements)
    except errors.GeometryError:
        return False
    return True


@lru_cache(maxsize=64)
def _blank(model: str) -> SimulatedGpu:
    """A GPU of a model, to ask what all of them have in common."""
    return SimulatedGpu(gpu_models.find(model), "GPU-blank")


@lru_cache(maxsize=64)
def _resources(models: tuple[str, ...]) -> frozenset[str]:
    """What GPUs of these models offer."""
    return frozenset(profile.resource for model in models for profile in _blank(model).catalogue.profiles)
