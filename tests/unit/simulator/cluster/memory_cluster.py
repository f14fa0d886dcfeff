"""A cluster in memory for tests of what acts on it: pods with slices, and short ways to write and read."""

from typing import Any

from allocator.claims import contract, placement_annotation
from allocator.claims.placement_annotation import Promise
from scheduler.cache.port import Binding
from simulator.cluster import api
from simulator.cluster.api import Document
from simulator.cluster.memory_cluster.client import MemoryApi
from simulator.cluster.memory_cluster.server import MemoryServer

NAMESPACE = "default"


class MemoryCluster:
    """A server, with a client for whoever is tested."""

    def __init__(self) -> None:
        self.server = MemoryServer()
        self.api = MemoryApi(self.server)

    def pod(self, name: str, *profiles: str, **spec: Any) -> Document:
        """Create a pod whose one container asks for these slices."""
        return self.server.create(api.POD, pod(name, *profiles, **spec)).document

    def bound(self, name: str, node: str, *promises: tuple[str, str, int], asks: tuple[str, ...] = ()) -> str:
        """Create and bind a pod that is promised (GPU, profile, start) and asks for that, or for `asks`; its UID."""
        made = self.pod(name, *(asks or tuple(profile for _, profile, _ in promises)))
        text = placement_annotation.encode([Promise("main", *promise) for promise in promises])
        self.bind(made, node, text if promises else None)
        return str(made["metadata"]["uid"])

    def bind(self, document: Document, node: str, placement: str | None = None) -> None:
        """Bind a pod, with a placement annotation of any text."""
        meta = document["metadata"]
        annotations = {} if placement is None else {contract.PLACEMENT_ANNOTATION: placement}
        self.server.bind(Binding(meta["namespace"], meta["name"], meta["uid"], node, annotations))

    def phase(self, name: str) -> str:
        """A pod's phase; `gone` if there is none."""
        pods = [stored for stored in self.server.list(api.POD) if stored.document["metadata"]["name"] == name]
        return str(pods[0].document["status"]["phase"]) if pods else "gone"

    def set_phase(self, name: str, phase: str) -> None:
        """Write a pod's phase."""
        self.server.patch_status(api.POD, name, {"status": {"phase": phase}}, NAMESPACE)

    def delete(self, name: str, grace_seconds: int | None = None) -> None:
        """Delete a pod."""
        self.server.delete(api.POD, name, NAMESPACE, grace_seconds=grace_seconds)

    def events(self) -> list[Document]:
        """All events."""
        return [stored.document for stored in self.server.list(api.EVENT)]

    def slices(self, node: str) -> list[tuple[str, str, int, str]]:
        """(GPU, profile, start, owner's name) as a node's MigNode says, in order; empty where there is none yet."""
        mig_nodes = [
            stored.document for stored in self.server.list(api.MIG_NODE) if stored.document["metadata"]["name"] == node
        ]
        return [
            (gpu["uuid"], slice_["profile"], slice_["start"], slice_.get("owner", {}).get("pod", ""))
            for document in mig_nodes
            for gpu in document.get("status", {}).get("gpus", ())
            for slice_ in gpu.get("slices", ())
        ]


def pod(name: str, *profiles: str, **spec: Any) -> Document:
    """A pod, to be created, whose one container asks for these slices."""
    limits: dict[str, str] = {}
    for profile in profiles:
        resource = f"nvidia.com/mig-{profile.replace('+', '.')}"
        limits[resource] = str(int(limits.get(resource, "0")) + 1)
    container = {"name": "main", "image": "none", "resources": {"limits": limits}}
    return {
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"schedulerName": "migsched", "containers": [container], **spec},
    }
