"""The port to Kubernetes over the real API server, on a `kubeclient.kube.Connection`."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from allocator import errors
from allocator.claims import contract
from allocator.eligibility.constraints import VolumeTopology
from kubeclient import kube
from kubeclient.changes import Change, Listing
from kubeclient.objects import Pod
from kubeclient.unreadable import UnreadableObjects
from scheduler.cache import disruption_budget, pod_decoding, port, volumes
from scheduler.cache.disruption_budget import PodDisruptionBudget
from scheduler.cache.port import Binding, Object, Release, WatchedKind

PATHS: Mapping[WatchedKind, str] = {
    WatchedKind.POD: "/api/v1/pods",
    WatchedKind.NODE: "/api/v1/nodes",
    WatchedKind.MIG_NODE: f"/apis/{contract.GROUP}/{contract.VERSION}/{contract.PLURAL}",
}

GATHER_S = 0.03  # of a watch: no decision waits for it, since bind re-checks and refused pods are woken less often
_BUDGETS = "/apis/policy/v1/poddisruptionbudgets"
_DECODE_BUDGET = msgspec.json.Decoder(PodDisruptionBudget).decode
_OTHER_UID = "metadata.uid"  # in what the API server says of a patch for another pod of that name
_METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_DECODE: Mapping[WatchedKind, Callable[[bytes | msgspec.Raw], Object]] = {
    kind: msgspec.json.Decoder(type_).decode for kind, type_ in port.TYPES.items()
} | {WatchedKind.POD: pod_decoding.decode}


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
        body = msgspec.json.encode(_release_patch(release))
        path = _pod_path(release.namespace, release.name)
        try:
            await self._connection.request(
                "PATCH", path, body=body, content_type=kube.STRATEGIC_MERGE_PATCH, accept=_METADATA_ONLY
            )
        except errors.RefusedError as error:
            if _OTHER_UID in str(error):
                raise errors.ConflictError(str(error)) from error
            raise

    async def volume_of_claim(self, namespace: str, claim: str) -> VolumeTopology | None:
        """Two calls: the claim names its volume, the volume says where it can be used."""
        path = f"/api/v1/namespaces/{quote(namespace, safe='')}/persistentvolumeclaims/{quote(claim, safe='')}"
        bound = await self._connection.get(path, volumes.VolumeClaim)
        if not bound.spec.volume_name:
            return None
        path = f"/api/v1/persistentvolumes/{quote(bound.spec.volume_name, safe='')}"
        volume = await self._connection.get(path, volumes.PersistentVolume)
        try:
            return volume.topology
        except (msgspec.ValidationError, RecursionError) as error:
            raise errors.RefusedError(f"{path}: spec.nodeAffinity cannot be read: {error}") from error

    async def delete_pod(self, namespace: str, name: str, uid: str) -> None:
        """DELETE the pod, if it still has that UID."""
        body = msgspec.json.encode({"preconditions": {"uid": uid}})
        await self._connection.request("DELETE", _pod_path(namespace, name), body=body)

    async def annotate_node(self, node: str, key: str, value: str) -> None:
        """Set one annotation of one node."""
        body = msgspec.json.encode({"metadata": {"annotations": {key: value}}})
        path = f"{PATHS[WatchedKind.NODE]}/{quote(node, safe='')}"
        await self._connection.request("PATCH", path, body=body, content_type=kube.MERGE_PATCH, accept=_METADATA_ONLY)

    async def close(self) -> None:
        """Give back connections."""
        await self._connection.close()


def _release_patch(release: Release) -> dict[str, Any]:
    """A strategic merge patch. UID and resourceVersion, when written, are preconditions to the API server.

    A JSON patch would not do: of one whose test fails the API server says only that the request is in error.
    """
    meta: dict[str, Any] = {"uid": release.uid, "resourceVersion": release.version}
    if release.annotations:
        meta["annotations"] = release.annotations
    spec: dict[str, Any] = {"schedulingGates": [{"$patch": "delete", "name": release.gate}]}
    if release.affinity is not None:
        spec["affinity"] = msgspec.Raw(release.affinity)
    return {"metadata": meta, "spec": spec}


def _pod_path(namespace: str, name: str) -> str:
    return f"/api/v1/namespaces/{quote(namespace, safe='')}/pods/{quote(name, safe='')}"
