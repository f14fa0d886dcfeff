"""Api: the port through which everything simulated talks to Kubernetes: agents, kubelet, scheduler stand-in, demo.

Unlike the scheduler service's narrow port (`scheduler.cache.port`) it knows whole objects, as JSON documents, and
every verb that a controller uses. Implemented by `simulator.cluster.memory_cluster` and, over the real API server, by
`simulator.cluster.kube_api`; one contract suite (tests/contract/cluster) runs on both. Documents that come in and go
out are the caller's own: changing one changes nothing in the cluster.
"""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote

from allocator.claims import contract
from kubeclient.changes import Change, Listing
from scheduler.cache.port import Binding

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ResourceKind:
    """A kind of object: its names, and where the API serves it."""

    name: str
    plural: str
    api_version: str = "v1"
    namespaced: bool = True

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The URL path of the collection, of one object, or of its subresource."""
        prefix = "/apis/" if "/" in self.api_version else "/api/"
        parts = [prefix + self.api_version]
        if self.namespaced and namespace:
            parts += ["namespaces", quote(namespace, safe="")]
        parts += [self.plural, quote(name, safe=""), subresource]
        return "/".join(part for part in parts if part)


POD = ResourceKind("Pod", "pods")
NODE = ResourceKind("Node", "nodes", namespaced=False)
NAMESPACE = ResourceKind("Namespace", "namespaces", namespaced=False)
MIG_NODE = ResourceKind("MigNode", contract.PLURAL, f"{contract.GROUP}/{contract.VERSION}", namespaced=False)
REPACK = ResourceKind("Repack", contract.REPACKS, f"{contract.GROUP}/{contract.VERSION}", namespaced=False)
DISRUPTION_BUDGET = ResourceKind("PodDisruptionBudget", "poddisruptionbudgets", "policy/v1")
LEASE = ResourceKind("Lease", "leases", "coordination.k8s.io/v1")
POD_GROUP = ResourceKind("PodGroup", "podgroups", "scheduling.k8s.io/v1beta1")
COSCHEDULING_POD_GROUP = ResourceKind("PodGroup", "podgroups", "scheduling.x-k8s.io/v1alpha1")
POD_GANG = ResourceKind("PodGang", "podgangs", "scheduler.grove.io/v1alpha1")
EVENT = ResourceKind("Event", "events")


class Api(Protocol):
    """The verbs. Every method raises the ClusterError that fits, as `scheduler.cache.port.Cluster` does."""

    async def create(self, kind: ResourceKind, document: Document) -> Document:
        """Create an object; `metadata.generateName` asks for a name. ConflictError if the name is taken."""

    async def get(self, kind: ResourceKind, name: str, namespace: str = "") -> Document:
        """One object."""

    async def list(self, kind: ResourceKind) -> Listing[Document]:
        """All objects of a kind."""

    def watch(self, kind: ResourceKind, resource_version: str) -> AsyncGenerator[Change[Document], None]:
        """Changes after a resource version, until the server ends the watch. GoneError if that version is too old."""

    async def patch(self, kind: ResourceKind, name: str, patch: Document, namespace: str = "") -> Document:
        """Apply a JSON merge patch (RFC 7386) to all but the status; the object after it.

        ConflictError if the patch names a `metadata.resourceVersion` that is not the present one.
        """

    async def patch_status(self, kind: ResourceKind, name: str, patch: Document, namespace: str = "") -> Document:
        """Apply a JSON merge patch to the status alone; the object after it."""

    async def bind(self, binding: Binding) -> None:
        """Write a pod's nodeName and annotations in one step. ConflictError if it is bound, deleting or a namesake."""

    async def delete(
        self, kind: ResourceKind, name: str, namespace: str = "", *, uid: str = "", grace_seconds: int | None = None
    ) -> None:
        """Delete an object, with `uid` only if it is still that one (else ConflictError).

        A pod on a node is marked first and goes when its kubelet deletes it with `grace_seconds` 0; without
        `grace_seconds` the pod's own grace period counts.
        """


def key_of(document: Document) -> str:
    """`namespace/name`, or the name of an object without a namespace."""
    meta = document["metadata"]
    return f"{meta['namespace']}/{meta['name']}" if meta.get("namespace") else str(meta["name"])
