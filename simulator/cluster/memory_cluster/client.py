"""Clients of a server in memory: the scheduler service's port and the simulator's, each with its own faults."""

from collections.abc import AsyncGenerator, Sequence

import msgspec

from allocator import errors
from allocator.eligibility.constraints import VolumeTopology
from kubeclient.changes import Change, ChangeType, Listing
from kubeclient.objects import Pod
from scheduler.cache import port
from scheduler.cache.disruption_budget import PodDisruptionBudget
from scheduler.cache.port import Binding, Object, Release
from simulator.cluster import api
from simulator.cluster.api import Document, ResourceKind
from simulator.cluster.memory_cluster.faults import ApiFaults
from simulator.cluster.memory_cluster.server import MemoryServer

_KINDS = {port.WatchedKind.POD: api.POD, port.WatchedKind.NODE: api.NODE, port.WatchedKind.MIG_NODE: api.MIG_NODE}
_DECODERS = {kind: msgspec.json.Decoder(type_) for kind, type_ in port.TYPES.items()}

_DECODE_BUDGET = msgspec.json.Decoder(PodDisruptionBudget).decode


class MemoryCluster:
    """`scheduler.cache.port.Cluster` over a server in memory. `faults` says what goes wrong between the two."""

    def __init__(self, server: MemoryServer) -> None:
        self.server = server
        self.faults = ApiFaults()
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

    async def volume_of_claim(self, namespace: str, claim: str) -> VolumeTopology | None:
        """No claims are kept here."""
        self._need_open()
        async with self.faults.around("get", "persistentvolumeclaims"):
            raise errors.NotFoundError(f'persistentvolumeclaims "{namespace}/{claim}" not found')

    async def delete_pod(self, namespace: str, name: str, uid: str) -> None:
        """Delete a pod that never ran."""
        self._need_open()
        async with self.faults.around("delete", api.POD.plural):
            self.server.delete(api.POD, name, namespace, uid=uid)

    async def annotate_node(self, node: str, key: str, value: str) -> None:
        """Set one annotation of one node."""
        self._need_open()
        async with self.faults.around("patch", api.NODE.plural):
            self.server.patch(api.NODE, node, {"metadata": {"annotations": {key: value}}})

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
