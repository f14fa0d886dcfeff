"""The port to Kubernetes over the real API server, on a `kubeclient.kube.Connection`."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from allocator import errors
from allocator.claims import contract
from allocator.eligibility.constraints import VolumeTopology
from allocator.queueing.gang import Gang, GangPart
from kubeclient import events, kube
from kubeclient.changes import Change, Listing
from kubeclient.events import PodEvent
from kubeclient.object_reader import DECODER_ERRORS
from kubeclient.objects import Meta, Pod
from kubeclient.unreadable import UnreadableObjects
from scheduler.cache import disruption_budget, pod_decoding, pod_groups, port, volumes
from scheduler.cache.disruption_budget import PodDisruptionBudget
from scheduler.cache.lease import Lease
from scheduler.cache.port import COMPONENT, Binding, GatedPodMessage, Object, Release, WatchedKind

PATHS: Mapping[WatchedKind, str] = {
    WatchedKind.POD: "/api/v1/pods",
    WatchedKind.NODE: "/api/v1/nodes",
    WatchedKind.MIG_NODE: f"/apis/{contract.GROUP}/{contract.VERSION}/{contract.PLURAL}",
    WatchedKind.REPACK: f"/apis/{contract.GROUP}/{contract.VERSION}/{contract.REPACKS}",
    WatchedKind.NAMESPACE: "/api/v1/namespaces",
}

GATHER_S = 0.03  # of a watch: no decision waits for it, since bind re-checks and refused pods are woken less often
_COORDINATION = "coordination.k8s.io/v1"
_BUDGETS = "/apis/policy/v1/poddisruptionbudgets"
_DECODE_BUDGET = msgspec.json.Decoder(PodDisruptionBudget).decode
_OTHER_UID = "metadata.uid"  # in what the API server says of a patch for another pod of that name
_JSON_PATCH = "application/json-patch+json"
_METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_DECODE: Mapping[WatchedKind, Callable[[bytes | msgspec.Raw], Object]] = {
    kind: msgspec.json.Decoder(type_).decode for kind, type_ in port.TYPES.items()
} | {WatchedKind.POD: pod_decoding.decode}


class _Named(msgspec.Struct, frozen=True):
    """The metadata of any object."""

    metadata: Meta


class _PatchedPod(msgspec.Struct, frozen=True):
    """A pod's metadata, as the API server answers a patch."""

    metadata: Meta


class KubeClient:
    """`scheduler.cache.port.Cluster` over a connection, which goes when this is closed."""

    def __init__(self, connection: kube.Connection) -> None:
        self._connection = connection
        self._unreadable_budgets = UnreadableObjects("poddisruptionbudgets")

    @classmethod
    async def connect(cls, kubeconfig: Path | None = None) -> "KubeClient":
        """Over a connection of its own. Raises SettingsError if the configuration cannot be read."""
        return cls(await kube.Connection.connect(kubeconfig))

    async def list(self, kind: WatchedKind) -> Listing[Object]:
        """All objects of a kind, page by page."""
        return await self._connection.list(PATHS[kind], _DECODE[kind])

    def watch(self, kind: WatchedKind, resource_version: str) -> AsyncGenerator[Change[Object], None]:
        """Changes after a resource version, until the server ends the watch. GoneError if that version is too old."""
        return self._connection.watch(PATHS[kind], _DECODE[kind], resource_version, gather_s=GATHER_S)

    async def get_pod(self, namespace: str, name: str) -> Pod:
        """One pod, from the API server itself."""
        return await self._connection.get(_pod_path(namespace, name), Pod)

    async def disruption_budgets(self) -> Sequence[PodDisruptionBudget]:
        """All PodDisruptionBudgets, page by page. One that cannot be read is taken for the strictest possible."""
        listing = await self._connection.list(_BUDGETS, _DECODE_BUDGET)
        self._unreadable_budgets.replace(listing.unreadable)
        return (*listing.items, *(disruption_budget.strictest(left_out) for left_out in listing.unreadable))

    async def bind(self, binding: Binding) -> None:
        """POST the Binding: nodeName and annotations in one write, if the pod still has that UID."""
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {
                "name": binding.name,
                "namespace": binding.namespace,
                "uid": binding.uid,
                "annotations": binding.annotations,
            },
            "target": {"apiVersion": "v1", "kind": "Node", "name": binding.node},
        }
        path = _pod_path(binding.namespace, binding.name) + "/binding"
        await self._connection.create(path, msgspec.json.encode(body))

    async def release(self, release: Release) -> None:
        """PATCH the pod: gates, affinity and annotations in one write, if the pod is still what it was."""
        await self._guarded_patch(_pod_path(release.namespace, release.name), _release_patch(release))

    async def nominate(self, release: Release, node: str) -> str:
        """PATCH the pod's status, if the pod is still what it was; its resourceVersion after that."""
        meta = {"uid": release.uid, "resourceVersion": release.version}
        path = _pod_path(release.namespace, release.name) + "/status"
        answer = await self._guarded_patch(path, {"metadata": meta, "status": {"nominatedNodeName": node}})
        return answer.metadata.resource_version

    async def _guarded_patch(self, path: str, patch: dict[str, Any]) -> "_PatchedPod":
        """A strategic merge patch with UID and resourceVersion, which are preconditions to the API server."""
        body = msgspec.json.encode(patch)
        try:
            answer = await self._connection.request(
                "PATCH", path, body=body, content_type=kube.STRATEGIC_MERGE_PATCH, accept=_METADATA_ONLY
            )
        except errors.RefusedError as error:
            if _OTHER_UID in str(error):
                raise errors.ConflictError(str(error)) from error
            raise
        return _decoded(path, answer)

    async def volume_of_claim(self, namespace: str, claim: str) -> VolumeTopology:
        """Two calls: the claim names its volume, the volume says where it can be used; or the class does."""
        path = f"/api/v1/namespaces/{quote(namespace, safe='')}/persistentvolumeclaims/{quote(claim, safe='')}"
        try:
            known = await self._connection.get(path, volumes.VolumeClaim)
        except errors.NotFoundError:
            return volumes.missing(claim, f"PersistentVolumeClaim {claim}")
        if not known.is_bound:
            return await self._unbound(known)
        path = f"/api/v1/persistentvolumes/{quote(known.spec.volume_name, safe='')}"
        try:
            volume = await self._connection.get(path, volumes.PersistentVolume)
            return known.as_topology(volume.topology)
        except errors.NotFoundError:
            return volumes.missing(claim, f"PersistentVolume {known.spec.volume_name}")
        except (msgspec.ValidationError, RecursionError) as error:
            raise errors.RefusedError(f"{path}: spec.nodeAffinity cannot be read: {error}") from error

    async def gang_parts(self, gang: Gang) -> Sequence[GangPart]:
        """GET the PodGroup or PodGang, in the newest version that is served."""
        *others, last = pod_groups.PATHS[gang.source]
        type_, plural = pod_groups.type_of(gang.source), pod_groups.PLURALS[gang.source]
        tail = f"/namespaces/{quote(gang.namespace, safe='')}/{plural}/{quote(gang.name, safe='')}"
        for prefix in others:
            try:
                return (await self._connection.get(prefix + tail, type_)).parts
            except errors.NotFoundError:
                continue
        return (await self._connection.get(last + tail, type_)).parts

    async def _unbound(self, claim: volumes.VolumeClaim) -> VolumeTopology:
        if not claim.storage_class:
            return claim.unbound(None)
        path = f"/apis/storage.k8s.io/v1/storageclasses/{quote(claim.storage_class, safe='')}"
        try:
            return claim.unbound(await self._connection.get(path, volumes.StorageClass))
        except errors.NotFoundError:
            return volumes.missing(claim.metadata.name, f"StorageClass {claim.storage_class}")
        except errors.RefusedError:  # a role of an older release
            return claim.unbound(None)

    async def delete_pod(self, namespace: str, name: str, uid: str) -> None:
        """DELETE the pod, if it still has that UID."""
        body = msgspec.json.encode({"preconditions": {"uid": uid}})
        await self._connection.request("DELETE", _pod_path(namespace, name), body=body)

    async def evict(self, namespace: str, name: str, uid: str) -> None:
        """POST the Eviction, if the pod still has that UID."""
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": name, "namespace": namespace},
            "deleteOptions": {"preconditions": {"uid": uid}},
        }
        await self._connection.create(_pod_path(namespace, name) + "/eviction", msgspec.json.encode(body))

    async def record_event(self, event: PodEvent) -> None:
        """POST the Event."""
        await self._connection.request("POST", events.path_of(event), body=events.body_of(event, COMPONENT))

    async def set_pod_condition(self, said: GatedPodMessage) -> None:
        """PATCH the status: a strategic merge, which finds the condition by its type."""
        scheduled = {"type": "PodScheduled", "message": said.message}
        meta = {"uid": said.uid, "resourceVersion": said.version}
        await self._guarded_patch(
            _pod_path(said.namespace, said.name) + "/status", {"metadata": meta, "status": {"conditions": [scheduled]}}
        )

    async def annotate_node(self, node: str, key: str, value: str) -> None:
        """Set one annotation of one node."""
        body = msgspec.json.encode({"metadata": {"annotations": {key: value}}})
        path = f"{PATHS[WatchedKind.NODE]}/{quote(node, safe='')}"
        await self._connection.request("PATCH", path, body=body, content_type=kube.MERGE_PATCH, accept=_METADATA_ONLY)

    async def create_repack(self, name: str, spec: bytes) -> None:
        """POST the Repack."""
        kind = {"apiVersion": f"{contract.GROUP}/{contract.VERSION}", "kind": "Repack"}
        body = msgspec.json.encode({**kind, "metadata": {"name": name}, "spec": msgspec.Raw(spec)})
        await self._connection.request("POST", PATHS[WatchedKind.REPACK], body=body, accept=_METADATA_ONLY)

    async def approve_repack(self, name: str, uid: str) -> None:
        """PATCH its spec; the UID is a precondition."""
        path = f"{PATHS[WatchedKind.REPACK]}/{quote(name, safe='')}"
        body = msgspec.json.encode({"metadata": {"uid": uid}, "spec": {"approved": True}})
        try:
            await self._connection.request("PATCH", path, body=body, content_type=kube.MERGE_PATCH)
        except errors.RefusedError as error:
            if _OTHER_UID in str(error):
                raise errors.ConflictError(str(error)) from error
            raise

    async def delete_repack(self, name: str, uid: str) -> None:
        """DELETE the Repack, if it still has that UID."""
        body = msgspec.json.encode({"preconditions": {"uid": uid}})
        await self._connection.request("DELETE", f"{PATHS[WatchedKind.REPACK]}/{quote(name, safe='')}", body=body)

    async def write_repack_status(self, name: str, uid: str, status: bytes) -> None:
        """PATCH the status, by a JSON patch that tests the UID: to a status of a custom resource it is no precondition
        otherwise. Of a test that fails the API server says only that the request is in error.
        """
        path = f"{PATHS[WatchedKind.REPACK]}/{quote(name, safe='')}"
        patch = [
            {"op": "test", "path": "/metadata/uid", "value": uid},
            {"op": "add", "path": "/status", "value": msgspec.Raw(status)},
        ]
        try:
            await self._connection.request(
                "PATCH",
                f"{path}/status",
                body=msgspec.json.encode(patch),
                content_type=_JSON_PATCH,
                accept=_METADATA_ONLY,
            )
        except errors.RefusedError as error:
            if (await self._connection.get(path, _Named)).metadata.uid != uid:
                raise errors.ConflictError(str(error)) from error
            raise

    async def get_lease(self, namespace: str, name: str) -> Lease:
        """One lease, from the API server itself."""
        return await self._connection.get(_lease_path(namespace, name), Lease)

    async def create_lease(self, lease: Lease) -> Lease:
        """POST the lease."""
        meta = {"name": lease.metadata.name, "namespace": lease.metadata.namespace}
        body = {"apiVersion": _COORDINATION, "kind": "Lease", "metadata": meta, "spec": lease.spec}
        path = _lease_path(lease.metadata.namespace)
        return _lease(path, await self._connection.request("POST", path, body=msgspec.json.encode(body)))

    async def write_lease(self, lease: Lease) -> Lease:
        """PATCH the spec: what others wrote beside it stays. UID and resourceVersion are preconditions."""
        meta = {"uid": lease.metadata.uid, "resourceVersion": lease.metadata.resource_version}
        body = msgspec.json.encode({"metadata": meta, "spec": lease.spec})
        path = _lease_path(lease.metadata.namespace, lease.metadata.name)
        try:
            written = await self._connection.request("PATCH", path, body=body, content_type=kube.MERGE_PATCH)
        except errors.RefusedError as error:
            if _OTHER_UID in str(error):
                raise errors.ConflictError(str(error)) from error
            raise
        return _lease(path, written)

    async def close(self) -> None:
        """Give back connections."""
        await self._connection.close()


def _release_patch(release: Release) -> dict[str, Any]:
    """What a release writes, as a strategic merge patch.

    A JSON patch would not do: of one whose test fails the API server says only that the request is in error.
    """
    meta: dict[str, Any] = {"uid": release.uid, "resourceVersion": release.version}
    if release.annotations:
        meta["annotations"] = release.annotations
    spec: dict[str, Any] = {"schedulingGates": [{"$patch": "delete", "name": release.gate}]}
    if release.affinity is not None:
        spec["affinity"] = msgspec.Raw(release.affinity)
    return {"metadata": meta, "spec": spec}


def _lease(path: str, text: bytes) -> Lease:
    try:
        return msgspec.json.decode(text, type=Lease)
    except DECODER_ERRORS as error:
        raise errors.UnreachableError(f"{path}: unreadable answer: {error}") from error


def _lease_path(namespace: str, name: str = "") -> str:
    path = f"/apis/{_COORDINATION}/namespaces/{quote(namespace, safe='')}/leases"
    return f"{path}/{quote(name, safe='')}" if name else path


def _decoded(path: str, answer: bytes) -> _PatchedPod:
    try:
        return msgspec.json.decode(answer, type=_PatchedPod)
    except msgspec.MsgspecError as error:  # it may have been done
        raise errors.UnreachableError(f"PATCH {path}: the answer cannot be read: {error}") from error


def _pod_path(namespace: str, name: str) -> str:
    return f"/api/v1/namespaces/{quote(namespace, safe='')}/pods/{quote(name, safe='')}"
