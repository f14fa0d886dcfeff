"""A small cluster for both services at once: an API server in memory, a kubelet, the real agent, and the real cache of
the scheduler.

What is true is decided here by the simulated driver, the kubelet and the API server. Both services hear of it late:
each has its own place in the log of changes, and the scheduler hears of the agent only by its reports.
"""

from collections import Counter
from collections.abc import Coroutine, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from allocator import errors
from allocator.claims import contract, held, placement_annotation
from allocator.claims.ledger import Claim
from allocator.mig.profile import GpuPlacement, resource_name
from allocator.placement import policy
from kubeclient.changes import Change, ChangeType, Listing
from kubeclient.objects import Container, Meta, PodStatus, Resources
from node_agent import report
from node_agent.allocation import AllocationError
from node_agent.cluster.node_pod import NodePod, NodePodSpec
from node_agent.cluster.pod_watch import PodWatch
from node_agent.slices import device_ids, states
from node_agent.slices.ownership import Assigned, Assignment, Holder, PodResourcesView
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.pods import request_of
from scheduler.cache.port import MigNode, WatchedKind
from tests.unit.node_agent.agent_on_node import NODE, AgentOnNode
from tests.unit.node_agent.memory_cluster import OneNodeCluster

ATTEMPTS = 6  # at an Allocate that may be tried again, with a step of the agent between two: longer than the grace time
PREPARE, MAIN = "prepare", "main"


class ApiServer:
    """All pods, and everything that became of them in order. A resource version is a place in `changes`."""

    def __init__(self) -> None:
        self.pods: dict[str, NodePod] = {}
        self.changes: list[Change[NodePod]] = []
        self.report = msgspec.Raw(b"{}")  # the status of the node's MigNode
        self._made = 0

    def create(self, main: Sequence[str], init: Sequence[str]) -> NodePod:
        """A pod that asks for slices in its container, its init container, or both."""
        self._made += 1
        name = f"p{self._made}"
        spec = NodePodSpec((_container(MAIN, main),), (_container(PREPARE, init),))
        meta = Meta(name, "default", f"uid-{name}", creation_timestamp=f"{self._made:06}")
        return self._put(ChangeType.ADDED, NodePod(meta, spec, PodStatus("Pending")))

    def bind(self, uid: str, placement: str | None) -> None:
        """A Binding: node and placement in one write."""
        pod = self.pods[uid]
        self.annotate(uid, placement, msgspec.structs.replace(pod, spec=_on_node(pod.spec)))

    def annotate(self, uid: str, placement: str | None, pod: NodePod | None = None) -> None:
        """A pod gets a placement annotation, another one, or loses it."""
        pod = pod or self.pods[uid]
        notes = None if placement is None else {contract.PLACEMENT_ANNOTATION: placement}
        meta = msgspec.structs.replace(pod.metadata, annotations=notes)
        self._put(ChangeType.MODIFIED, msgspec.structs.replace(pod, metadata=meta))

    def show(self, uid: str, phase: str, *, started: bool) -> None:
        """The kubelet writes a pod's status."""
        status = PodStatus(phase, start_time="2026-01-01T00:00:00Z" if started else None)
        self._put(ChangeType.MODIFIED, msgspec.structs.replace(self.pods[uid], status=status))

    def delete(self, uid: str) -> None:
        """A pod is gone."""
        self.changes.append(Change(ChangeType.DELETED, self.pods.pop(uid), str(len(self.changes) + 1)))

    def bound(self) -> Listing[NodePod]:
        """The node's pods as they are now."""
        pods = tuple(pod for pod in self.pods.values() if pod.spec.node_name)
        return Listing(pods, str(len(self.changes)))

    def _put(self, type_: ChangeType, pod: NodePod) -> NodePod:
        meta = msgspec.structs.replace(pod.metadata, resource_version=str(len(self.changes) + 1))
        pod = msgspec.structs.replace(pod, metadata=meta)
        self.pods[pod.metadata.uid] = pod
        self.changes.append(Change(type_, pod, str(len(self.changes) + 1)))
        return pod


def _container(name: str, profiles: Sequence[str]) -> Container:
    limits: dict[str, str | int] = {resource_name(p): str(n) for p, n in Counter(profiles).items()}
    return Container(name, Resources(limits))


def _on_node(spec: NodePodSpec) -> NodePodSpec:
    return msgspec.structs.replace(spec, node_name=NODE)


class _Pause:
    """An answer that is on its way."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class _LateCluster(OneNodeCluster):
    """The agent's port to the API server: a list is made at once and arrives when the caller is resumed."""

    def __init__(self, api: ApiServer) -> None:
        super().__init__(NODE)
        self._api = api

    async def pods(self, node: str) -> Listing[NodePod]:
        """See Cluster."""
        if self.down or node != self.name:
            raise errors.UnreachableError("the API server is away")
        listing = self._api.bound()
        await _Pause()
        return listing


@dataclass
class Admitted:
    """What the kubelet knows of a pod that it has admitted: its devices by container and resource, in order."""

    devices: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    started: bool = False  # the API server has heard of it
    running: dict[GpuPlacement, int | None] = field(default_factory=dict)  # serial numbers of the slices that it uses
    pids: list[int] = field(default_factory=list)

    def ids(self) -> set[tuple[str, str]]:
        """All its devices: resource and id."""
        return {(resource, id_) for (_, resource), ids in self.devices.items() for id_ in ids}


class WatchedNode(AgentOnNode):
    """A node whose agent hears of pods by list and watch, and whose kubelet lists no ordinary init containers."""

    def __init__(self, directory: Path, gpus: str, api: ApiServer) -> None:
        self.api = api
        self.cluster = _LateCluster(api)
        self.admitted: dict[str, Admitted] = {}
        self.given: dict[str, set[GpuPlacement]] = {}  # what each pod got, by UID, and no other one since
        self.checkpoint: dict[tuple[str, str], tuple[Assignment, ...]] = {}
        self.checkpoint_readable = True
        self.refused = ""  # why the kubelet's last Allocate was
        super().__init__(directory, gpus)

    def assigned(self) -> Assigned | None:
        """The kubelet's checkpoint as it was last written."""
        return self.checkpoint if self.checkpoint_readable else None

    # The agent

    def restart(self, *, start: bool = True) -> None:
        """A new agent, which lists the pods if the API server answers."""
        self.watch = PodWatch(self.cluster, NODE, lambda: None, clock=lambda: self.now)
        self.seen = 0  # changes that the watch has told
        self.refreshes: list[Coroutine[None, None, None]] = []  # whose lists are on their way
        super().restart(start=start)
        self.list_pods()

    def list_pods(self) -> None:
        """The agent's first list, unless it has it."""
        if not self.cluster.down and not self.watch.synced.is_set():
            listing = self.api.bound()
            _finish(self.watch.replace(listing))
            self.seen = int(listing.resource_version)
            self.watch.synced.set()

    def watch_tells(self, number: int) -> None:
        """The watch tells of so many more changes."""
        if not self.cluster.down and self.watch.synced.is_set():
            for change in self.api.changes[self.seen : self.seen + number]:
                if change.item is not None and change.item.spec.node_name:
                    self.watch.apply(change)
            self.seen = min(self.seen + number, len(self.api.changes))

    def hear(self) -> None:
        """See AgentOnNode."""
        if self.state.wants_pods:
            self.state.wants_pods = False
            with suppress(errors.ClusterError):
                _finish(self.watch.refresh())
        self.state.on_pods(self.watch.views(), self.watch.listed_at)
        if self.kubelet_up:
            self.state.on_listing(self.listing())

    def refresh_begins(self) -> None:
        """The agent asks for pods; the answer is on its way."""
        refresh = self.watch.refresh()
        with suppress(errors.ClusterError):
            refresh.send(None)
            self.refreshes.append(refresh)

    def refresh_ends(self) -> None:
        """The oldest answer arrives."""
        _finish(self.refreshes.pop(0))

    # The kubelet

    def listing(self) -> PodResourcesView:
        """PodResources: devices of running containers, which ordinary init containers are not."""
        holders = {
            (resource, id_): Holder("default", self.api.pods[uid].metadata.name, container)
            for uid, pod in self.admitted.items()
            for (container, resource), ids in pod.devices.items()
            for id_ in ids
            if container != PREPARE
        }
        return PodResourcesView(self.now, holders, self.checkpoint if self.checkpoint_readable else None)

    def write_checkpoint(self) -> None:
        """The kubelet writes down who has what, init containers too, only when it has given something away."""
        assigned: dict[tuple[str, str], tuple[Assignment, ...]] = {}
        for uid, pod in self.admitted.items():
            for (container, resource), ids in pod.devices.items():
                for id_ in ids:
                    key = (resource, id_)
                    assigned[key] = (*assigned.get(key, ()), Assignment(uid, container))
        self.checkpoint = assigned

    def admit_pod(self, uid: str) -> bool:
        """Devices for the init container, then for the main one, which gets the former's first. False: it failed."""
        pod, admitted = self.api.pods[uid], Admitted()
        self.admitted[uid] = admitted
        for container in (*(pod.spec.init_containers or ()), *pod.spec.containers):
            for resource, number in (container.resources.limits or {} if container.resources else {}).items():
                reusable = admitted.devices.get((PREPARE, resource), ())[: int(number)]
                try:
                    ids = self._pick(resource, reusable, int(number))
                    self._allocate(resource, ids)
                except AllocationError as error:
                    self.refused = str(error)
                    del self.admitted[uid]
                    self.api.show(uid, "Failed", started=True)
                    return False
                admitted.devices[container.name, resource] = tuple(ids)
                self.write_checkpoint()
        got = self.places_of_uid(uid)
        self.given = {other: places - got for other, places in self.given.items() if places - got} | {uid: got}
        return True

    def _pick(self, resource: str, must: Sequence[str], number: int) -> list[str]:
        """Which ids the kubelet takes: those preferred, then any free ones."""
        if len(must) == number:
            return list(must)
        taken = {id_ for pod in self.admitted.values() for _, id_ in pod.ids()}
        free = [id_ for id_ in sorted(self.allocation.offers().get(resource, {})) if id_ not in taken]
        self._catch_up(resource, free, number - len(must))
        preferred = self.allocation.prefer(resource, [*free, *must], must, number)
        rest = [id_ for id_ in free if id_ not in preferred]
        ids = [*preferred, *rest][:number]
        if len(ids) < number:
            raise AllocationError(f"requested number of devices unavailable for {resource}")
        return ids

    def _catch_up(self, resource: str, free: Sequence[str], number: int) -> None:
        """As the agent's answers to the kubelet do: ask for pods unless enough promises are known."""
        self.state.on_pods(self.watch.views(), self.watch.listed_at)
        if not self.allocation.expects(resource, frozenset(free), number):
            with suppress(errors.ClusterError):
                _finish(self.watch.refresh())
            self.state.on_pods(self.watch.views(), self.watch.listed_at)

    def _allocate(self, resource: str, ids: Sequence[str]) -> None:
        for attempt in range(ATTEMPTS):
            try:
                self.allocation.allocate(resource, ids)
            except AllocationError as error:
                if not error.retryable or attempt == ATTEMPTS - 1:
                    raise
                self.step()
            else:
                return

    def run_pod(self, uid: str) -> None:
        """The pod's containers use all its slices, unless one of them is not whole yet."""
        pod = self.admitted[uid]
        there = {place: self.instance(place) for place in self.places_of_uid(uid)}
        if pod.pids or not all(instance is not None and instance.whole for instance in there.values()):
            return
        for place, instance in there.items():
            assert instance is not None
            self._pid += 1
            self.driver.find(place.gpu).start_process(instance.gi_id, self._pid)
            pod.pids.append(self._pid)
            pod.running[place] = self.serial(place)

    def stop_pod(self, uid: str) -> None:
        """The pod's containers end, and the kubelet forgets its devices."""
        for pid in self.admitted.pop(uid, Admitted()).pids:
            for gpu in self.driver.gpus.values():
                gpu.end_process(pid)

    def reboot(self, *, start: bool = True) -> None:
        """See AgentOnNode. The kubelet's checkpoint remembers devices."""
        for pod in self.admitted.values():
            pod.pids.clear()
            pod.running.clear()
        super().reboot(start=start)

    # What is true

    def places_of_uid(self, uid: str) -> set[GpuPlacement]:
        """Where a pod's devices lie."""
        offered = device_ids.offered({gpu.uuid: gpu.catalogue for gpu in self.driver.gpus.values()})
        return {offered[id_] for _, id_ in self.admitted[uid].ids()}

    def serial(self, place: GpuPlacement) -> int | None:
        """Which making of a slice lies at a place."""
        there = self.instance(place)
        return None if there is None else self.driver.find(place.gpu).serial(there.gi_id)


class SchedulerBeside:
    """The scheduler's cache, fed by the API server's changes and the agent's reports."""

    def __init__(self, api: ApiServer) -> None:
        self._api = api
        self.restart()

    def restart(self) -> None:
        """A new process: it lists nodes, MigNodes and pods."""
        self.cache = ClusterCache(policy.DEFAULT, lambda: None)
        self.inventory = self.cache.inventory
        self.inventory.nodes.add(NODE)
        self.hear_report()
        for pod in self._api.pods.values():
            self.cache.apply(WatchedKind.POD, Change(ChangeType.ADDED, pod, ""))
        self.seen = len(self._api.changes)

    def hear_report(self) -> None:
        """The watch shows the MigNode as it is now."""
        item = MigNode(Meta(NODE), self._api.report)
        self.cache.apply(WatchedKind.MIG_NODE, Change(ChangeType.MODIFIED, item, ""))

    def watch_tells(self, number: int) -> None:
        """The watch tells of so many more changes of pods."""
        for change in self._api.changes[self.seen : self.seen + number]:
            self.cache.apply(WatchedKind.POD, Change(change.type, change.item, change.resource_version))
        self.seen = min(self.seen + number, len(self._api.changes))

    def reserve(self, pod: NodePod) -> str | None:
        """A claim for a pod, as the text of its placement; None if it does not fit."""
        meta = pod.metadata
        claim = self.inventory.reserve(meta.uid, meta.namespace, meta.name, request_of(pod), NODE)
        return placement_annotation.encode(held.promises(claim.holds)) if isinstance(claim, Claim) else None

    def claimed(self, uid: str) -> set[GpuPlacement]:
        """Where a pod's claim lies."""
        return {hold.place for hold in held.of(self.inventory.ledger.get(uid))}

    def taken(self) -> dict[str, int]:
        """The memory slices that are not free, by GPU, as a mask."""
        node = self.inventory.report(NODE)
        apart = self.inventory.conflicts(NODE)
        uuids = [gpu.uuid for gpu in node.gpus if gpu.usable and gpu.uuid not in apart] if node else []
        rows = self.inventory.fleet.gpus(NODE) if NODE in self.inventory.fleet else ()
        return {uuid: int(kind.masks[state]) for uuid, (kind, state) in zip(uuids, rows, strict=True)}


def something_is_unheard(
    node: WatchedNode, scheduler: SchedulerBeside, promised: Mapping[str, set[GpuPlacement]]
) -> bool:
    """Whether a pod has or had a slice elsewhere than promised, of which the scheduler has not heard."""
    records = node.journal.records
    return any(
        place in records and records[place].state in states.HELD
        for uid, places in node.given.items()
        for place in places - scheduler.claimed(uid)
        if uid in node.admitted or place not in promised.get(uid, set())
    )


def written(outcome: report.StepOutcome) -> msgspec.Raw:
    """The MigNode's status that the agent writes for an outcome."""
    return msgspec.Raw(msgspec.json.encode(report.status(outcome, version="t", mode="managed", since="")))


def mask(places: set[GpuPlacement], gpu: str) -> int:
    """The memory slices of a GPU that these places take."""
    together = 0
    for place in places:
        if place.gpu == gpu:
            together |= place.placement.mask
    return together


def share(places: set[GpuPlacement], others: set[GpuPlacement]) -> bool:
    """Whether two sets of places overlap."""
    return any(mask(places, place.gpu) & mask(others, place.gpu) for place in places)


def _finish(work: Coroutine[None, None, None]) -> None:
    """Run to the end what waits for nothing but late answers."""
    with suppress(StopIteration):
        while True:
            work.send(None)
