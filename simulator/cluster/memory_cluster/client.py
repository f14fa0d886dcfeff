"""Clients of a server in memory: the scheduler service's port and the simulator's, each with its own faults."""

from collections.abc import AsyncGenerator, Sequence

import msgspec

from allocator import errors
from allocator.eligibility.constraints import VolumeTopology
from allocator.queueing.gang import Gang, GangPart, GangSource
from kubeclient import events
from kubeclient.changes import Change, ChangeType, Listing
from kubeclient.events import PodEvent
from kubeclient.objects import Pod
from scheduler.cache import pod_groups, port, volumes
from scheduler.cache.disruption_budget import PodDisruptionBudget
from scheduler.cache.lease import Lease
from scheduler.cache.port import COMPONENT, Binding, GatedPodMessage, Object, Release
from simulator.cluster import api
from simulator.cluster.api import Document, ResourceKind
from simulator.cluster.memory_cluster.faults import ApiFaults
from simulator.cluster.memory_cluster.server import MemoryServer

_KINDS = {
    port.WatchedKind.POD: api.POD,
    port.WatchedKind.NODE: api.NODE,
    port.WatchedKind.MIG_NODE: api.MIG_NODE,
    port.WatchedKind.REPACK: api.REPACK,
    port.WatchedKind.NAMESPACE: api.NAMESPACE,
}
_DECODERS = {kind: msgspec.json.Decoder(type_) for kind, type_ in port.TYPES.items()}

_DECODE_LEASE = msgspec.json.Decoder(Lease).decode
_GANG_KINDS = {GangSource.COSCHEDULING: api.COSCHEDULING_POD_GROUP, GangSource.POD_GANG: api.POD_GANG}
_DECODE_BUDGET = msgspec.json.Decoder(PodDisruptionBudget).decode


class MemoryCluster:
    """`scheduler.cache.port.Cluster` over a server in memory. `faults` says what goes wrong between the two."""

    def __init__(self, server: MemoryServer) -> None:
        self.server = server
        self.faults = ApiFaults()
        self.volumes: dict[str, VolumeTopology] = {}
        self._closed = False

    async def list(self, kind: port.WatchedKind) -> Listing[Object]:
        """All objects of a kind."""
        self._need_open()
        async with self.faults.around("list", kind.value):
            items = tuple(_DECODERS[kind].decode(stored.raw) for stored in self.server.list(_KINDS[kind]))
            return Listing(items, str(self.server.version))

    async def watch(self, kind: port.WatchedKind, resource_version: str) -> AsyncGenerator[Change[Object], None]:
        """Changes after a resource version, until the server ends the watch."""
        self._need_open()
        async with self.faults.around("watch", kind.value):
            entries = self.server.watch(_KINDS[kind], resource_version)
        async for entry in entries:
            item = _DECODERS[kind].decode(entry.raw) if entry.type is not ChangeType.BOOKMARK else None
            yield Change(entry.type, item, str(entry.version))

    async def get_pod(self, namespace: str, name: str) -> Pod:
        """One pod."""
        self._need_open()
        async with self.faults.around("get", api.POD.plural):
            return msgspec.json.decode(self.server.get(api.POD, name, namespace).raw, type=Pod)

    async def disruption_budgets(self) -> Sequence[PodDisruptionBudget]:
        """All PodDisruptionBudgets."""
        self._need_open()
        async with self.faults.around("list", api.DISRUPTION_BUDGET.plural):
            return [_DECODE_BUDGET(stored.raw) for stored in self.server.list(api.DISRUPTION_BUDGET)]

    async def bind(self, binding: Binding) -> None:
        """Write nodeName and annotations in one step."""
        self._need_open()
        async with self.faults.around("bind", api.POD.plural):
            self.server.bind(binding)

    async def release(self, release: Release) -> None:
        """Take a scheduling gate from a pod, pin and annotate it, in one step."""
        self._need_open()
        async with self.faults.around("release", api.POD.plural):
            self.server.release(release)

    async def nominate(self, release: Release, node: str) -> str:
        """Name a node in the status of a pod that is to be released there."""
        self._need_open()
        async with self.faults.around("nominate", api.POD.plural):
            return self.server.nominate(release, node)

    async def volume_of_claim(self, namespace: str, claim: str) -> VolumeTopology:
        """Those of `volumes` are known, by `namespace/name`; all others are missing."""
        self._need_open()
        async with self.faults.around("get", "persistentvolumeclaims"):
            return self.volumes.get(f"{namespace}/{claim}") or volumes.missing(claim, f"PersistentVolumeClaim {claim}")

    async def gang_parts(self, gang: Gang) -> Sequence[GangPart]:
        """How many pods of a gang have to start together."""
        self._need_open()
        kind = _GANG_KINDS.get(gang.source, api.POD_GROUP)
        async with self.faults.around("get", kind.plural):
            stored = self.server.get(kind, gang.name, gang.namespace)
            return msgspec.json.decode(stored.raw, type=pod_groups.type_of(gang.source)).parts

    async def delete_pod(self, namespace: str, name: str, uid: str) -> None:
        """Delete a pod that never ran."""
        self._need_open()
        async with self.faults.around("delete", api.POD.plural):
            self.server.delete(api.POD, name, namespace, uid=uid)

    async def evict(self, namespace: str, name: str, uid: str) -> None:
        """Have a pod deleted, if the PodDisruptionBudgets allow it."""
        self._need_open()
        async with self.faults.around("evict", api.POD.plural):
            self.server.evict(namespace, name, uid)

    async def record_event(self, event: PodEvent) -> None:
        """Create an Event about a pod."""
        self._need_open()
        async with self.faults.around("create", api.EVENT.plural):
            self.server.create(api.EVENT, msgspec.json.decode(events.body_of(event, COMPONENT)))

    async def set_pod_condition(self, said: GatedPodMessage) -> None:
        """Write the message of a gated pod's condition PodScheduled."""
        self._need_open()
        async with self.faults.around("patch_status", api.POD.plural):
            self.server.set_pod_condition(said)

    async def annotate_node(self, node: str, key: str, value: str) -> None:
        """Set one annotation of one node."""
        self._need_open()
        async with self.faults.around("patch", api.NODE.plural):
            self.server.patch(api.NODE, node, {"metadata": {"annotations": {key: value}}})

    async def create_repack(self, name: str, spec: bytes) -> None:
        """Make a Repack with a spec."""
        self._need_open()
        async with self.faults.around("create", api.REPACK.plural):
            self.server.create(api.REPACK, {"metadata": {"name": name}, "spec": msgspec.json.decode(spec)})

    async def approve_repack(self, name: str, uid: str) -> None:
        """Approve a Repack."""
        self._need_open()
        async with self.faults.around("patch", api.REPACK.plural):
            if self.server.get(api.REPACK, name).document["metadata"]["uid"] != uid:
                raise errors.ConflictError(f'repacks "{name}": precondition failed: UID')
            self.server.patch(api.REPACK, name, {"spec": {"approved": True}})

    async def delete_repack(self, name: str, uid: str) -> None:
        """Delete a Repack."""
        self._need_open()
        async with self.faults.around("delete", api.REPACK.plural):
            self.server.delete(api.REPACK, name, uid=uid)

    async def write_repack_status(self, name: str, uid: str, status: bytes) -> None:
        """Write a Repack's status."""
        self._need_open()
        async with self.faults.around("patch_status", api.REPACK.plural):
            if self.server.get(api.REPACK, name).document["metadata"]["uid"] != uid:
                raise errors.ConflictError(f'repacks "{name}": precondition failed: UID')
            self.server.replace_status(api.REPACK, name, msgspec.json.decode(status))

    async def get_lease(self, namespace: str, name: str) -> Lease:
        """One lease."""
        self._need_open()
        async with self.faults.around("get", api.LEASE.plural):
            return _DECODE_LEASE(self.server.get(api.LEASE, name, namespace).raw)

    async def create_lease(self, lease: Lease) -> Lease:
        """Make a lease."""
        self._need_open()
        meta = {"name": lease.metadata.name, "namespace": lease.metadata.namespace}
        async with self.faults.around("create", api.LEASE.plural):
            made = self.server.create(api.LEASE, {"metadata": meta, "spec": msgspec.to_builtins(lease.spec)})
            return _DECODE_LEASE(made.raw)

    async def write_lease(self, lease: Lease) -> Lease:
        """Write all of a lease's spec."""
        self._need_open()
        meta = lease.metadata
        async with self.faults.around("patch", api.LEASE.plural):
            if self.server.get(api.LEASE, meta.name, meta.namespace).document["metadata"]["uid"] != meta.uid:
                raise errors.ConflictError(f'leases "{meta.namespace}/{meta.name}": precondition failed: UID')
            patch = {
                "metadata": {"resourceVersion": meta.resource_version},
                "spec": msgspec.to_builtins(lease.spec),
            }
            return _DECODE_LEASE(self.server.patch(api.LEASE, meta.name, patch, meta.namespace).raw)

    async def close(self) -> None:
        """Every later call is refused."""
        self._closed = True

    def _need_open(self) -> None:
        if self._closed:
            raise errors.UnreachableError("this client is closed")


class MemoryApi:
    """`simulator.cluster.api.Api` over a server in memory. `faults` says what goes wrong between the two."""

    def __init__(self, server: MemoryServer) -> None:
        self.server = server
        self.faults = ApiFaults()

    async def create(self, kind: ResourceKind, document: Document) -> Document:
        """Create an object."""
        async with self.faults.around("create", kind.plural):
            return _parsed(self.server.create(kind, document).raw)

    async def get(self, kind: ResourceKind, name: str, namespace: str = "") -> Document:
        """One object."""
        async with self.faults.around("get", kind.plural):
            return _parsed(self.server.get(kind, name, namespace).raw)

    async def list(self, kind: ResourceKind) -> Listing[Document]:
        """All objects of a kind."""
        async with self.faults.around("list", kind.plural):
            return Listing(tuple(_parsed(stored.raw) for stored in self.server.list(kind)), str(self.server.version))

    async def watch(self, kind: ResourceKind, resource_version: str) -> AsyncGenerator[Change[Document], None]:
        """Changes after a resource version, until the server ends the watch."""
        async with self.faults.around("watch", kind.plural):
            entries = self.server.watch(kind, resource_version)
        async for entry in entries:
            document = _parsed(entry.raw) if entry.type is not ChangeType.BOOKMARK else None
            yield Change(entry.type, document, str(entry.version))

    async def patch(self, kind: ResourceKind, name: str, patch: Document, namespace: str = "") -> Document:
        """Apply a merge patch to all but the status."""
        async with self.faults.around("patch", kind.plural):
            return _parsed(self.server.patch(kind, name, patch, namespace).raw)

    async def patch_status(self, kind: ResourceKind, name: str, patch: Document, namespace: str = "") -> Document:
        """Apply a merge patch to the status alone."""
        async with self.faults.around("patch_status", kind.plural):
            return _parsed(self.server.patch_status(kind, name, patch, namespace).raw)

    async def bind(self, binding: Binding) -> None:
        """Write a pod's nodeName and annotations in one step."""
        async with self.faults.around("bind", api.POD.plural):
            self.server.bind(binding)

    async def delete(
        self, kind: ResourceKind, name: str, namespace: str = "", *, uid: str = "", grace_seconds: int | None = None
    ) -> None:
        """Delete an object, or mark a pod whose grace has to be waited for."""
        async with self.faults.around("delete", kind.plural):
            self.server.delete(kind, name, namespace, uid=uid, grace_seconds=grace_seconds)


def _parsed(raw: bytes) -> Document:
    document: Document = msgspec.json.decode(raw)
    return document
