"""MemoryServer: the objects of an API server in memory, and its verbs. Clients of it are in `client`.

Every verb is one step: it happens whole, at one resource version, or raises the ClusterError that the real server's
answer becomes. Objects are kept as JSON beside the parsed document, so that readers get their own copies and a watch
costs no more than a look-up.
"""

import random
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec

from allocator import errors
from kubeclient import timestamps
from kubeclient.changes import ChangeType
from scheduler.cache.port import Binding, Release
from simulator.cluster import api
from simulator.cluster.api import Document, ResourceKind
from simulator.cluster.memory_cluster import objects
from simulator.cluster.memory_cluster.history import Entry, History

HISTORY = 10_000  # changes kept per kind
BOOKMARK_EVERY = 500  # changes of any kind after which every watch is told how far it is
_SAFE_LETTERS = "bcdfghjklmnpqrstvwxz2456789"  # what Kubernetes makes random names of


@dataclass(frozen=True, slots=True)
class Stored:
    """An object: the parsed document, never handed out nor changed, and its JSON."""

    document: Document
    raw: bytes


class MemoryServer:
    """All objects of a cluster. UIDs and generated names follow from `seed`."""

    def __init__(
        self, *, seed: int = 0, history: int = HISTORY, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self.version = 0
        self._seed = seed
        self._random: dict[ResourceKind, random.Random] = {}  # names of one kind do not depend on what else is made
        self._now = now
        self._history_limit = history
        self._objects: dict[ResourceKind, dict[str, Stored]] = {}
        self._histories: dict[ResourceKind, History] = {}

    # --- reading

    def get(self, kind: ResourceKind, name: str, namespace: str = "") -> Stored:
        """One object. Raises NotFoundError."""
        key = f"{namespace}/{name}" if kind.namespaced else name
        try:
            return self._objects[kind][key]
        except KeyError:
            raise errors.NotFoundError(f'{kind.plural} "{key}" not found') from None

    def list(self, kind: ResourceKind) -> Iterator[Stored]:
        """All objects of a kind, by name."""
        present = self._objects.get(kind, {})
        return (present[key] for key in sorted(present))

    def watch(self, kind: ResourceKind, resource_version: str) -> AsyncIterator[Entry]:
        """Changes of a kind after a version. Raises GoneError, RefusedError for an invalid version."""
        if not resource_version.isdecimal():
            raise errors.RefusedError(f"resourceVersion: {resource_version!r}: use the version of a list or a change")
        if int(resource_version) > self.version:
            raise errors.GoneError(f"Too large resource version: {resource_version}, current: {self.version}")
        return self._history(kind).after(int(resource_version))

    # --- writing

    def create(self, kind: ResourceKind, document: Document) -> Stored:
        """Store a new object. Raises ConflictError if its name is taken, RefusedError if it is invalid."""
        draw = self._random.setdefault(kind, random.Random(f"{self._seed}/{kind.plural}"))
        suffix = "".join(draw.choices(_SAFE_LETTERS, k=5))
        made = objects.new(kind, document, suffix)
        key = api.key_of(made)
        if key in self._objects.get(kind, {}):
            raise errors.ConflictError(f'{kind.plural} "{key}" already exists')
        made["metadata"]["uid"] = str(uuid.UUID(int=draw.getrandbits(128), version=4))
        made["metadata"]["creationTimestamp"] = self._timestamp()
        return self._store(kind, made, ChangeType.ADDED)

    def patch(self, kind: ResourceKind, name: str, patch: Document, namespace: str = "") -> Stored:
        """Apply a merge patch to all but the status. Raises ConflictError, NotFoundError, RefusedError."""
        before = self.get(kind, name, namespace)
        return self._replace(kind, before, objects.patched(kind, before.document, patch))

    def patch_status(self, kind: ResourceKind, name: str, patch: Document, namespace: str = "") -> Stored:
        """Apply a merge patch to the status alone."""
        before = self.get(kind, name, namespace)
        status = objects.merged(before.document.get("status"), patch.get("status", {}))
        return self._replace(kind, before, {**before.document, "status": status})

    def replace_status(self, kind: ResourceKind, name: str, status: Document, namespace: str = "") -> Stored:
        """Write all of the status: what it had before and has no more is gone."""
        before = self.get(kind, name, namespace)
        return self._replace(kind, before, {**before.document, "status": status})

    def bind(self, binding: Binding) -> None:
        """The Binding subresource. Raises ConflictError if the pod is bound, gated, deleting or another's namesake."""
        before = self.get(api.POD, binding.name, binding.namespace)
        pod = before.document
        title = f'pods "{api.key_of(pod)}"'
        if binding.uid and pod["metadata"]["uid"] != binding.uid:
            raise errors.ConflictError(f"{title}: precondition failed: UID is {pod['metadata']['uid']}")
        if "deletionTimestamp" in pod["metadata"]:
            raise errors.ConflictError(f"{title} is being deleted, cannot be assigned to a host")
        if pod["spec"].get("nodeName"):
            raise errors.ConflictError(f'{title} is already assigned to node "{pod["spec"]["nodeName"]}"')
        if pod["spec"].get("schedulingGates"):
            raise errors.ConflictError(f"{title} has non-empty scheduling gates, cannot be assigned to a host")
        annotations = (pod["metadata"].get("annotations") or {}) | dict(binding.annotations)
        scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": self._timestamp()}
        after = {
            **pod,
            "metadata": {**pod["metadata"], "annotations": annotations},
            "spec": {**pod["spec"], "nodeName": binding.node},
            "status": objects.with_condition(pod["status"], scheduled),
        }
        self._replace(api.POD, before, after)

    def release(self, release: Release) -> None:
        """A scheduling gate removed, affinity and annotations written, at once. Raises ConflictError if the pod is a
        namesake or at another version.
        """
        before = self.get(api.POD, release.name, release.namespace)
        pod = before.document
        title = f'pods "{api.key_of(pod)}"'
        if pod["metadata"]["uid"] != release.uid:
            raise errors.ConflictError(f"{title}: precondition failed: UID is {pod['metadata']['uid']}")
        if pod["metadata"]["resourceVersion"] != release.version:
            raise errors.ConflictError(f"{title}: the object has been modified")
        annotations = (pod["metadata"].get("annotations") or {}) | dict(release.annotations)
        gates = [gate for gate in pod["spec"].get("schedulingGates") or () if gate["name"] != release.gate]
        spec = {key: value for key, value in pod["spec"].items() if key != "schedulingGates"}
        spec |= {"schedulingGates": gates} if gates else {}
        if release.affinity is not None:
            spec["affinity"] = msgspec.json.decode(release.affinity)
        meta = {**pod["metadata"], **({"annotations": annotations} if annotations else {})}
        self._replace(api.POD, before, {**pod, "metadata": meta, "spec": spec})

    def delete(
        self, kind: ResourceKind, name: str, namespace: str = "", *, uid: str = "", grace_seconds: int | None = None
    ) -> None:
        """Delete an object, or mark a pod whose grace has to be waited for. Raises ConflictError, NotFoundError."""
        before = self.get(kind, name, namespace)
        meta = before.document["metadata"]
        if uid and meta["uid"] != uid:
            raise errors.ConflictError(f'{kind.plural} "{api.key_of(before.document)}": UID is {meta["uid"]}')
        if kind is api.POD:
            grace = objects.grace_seconds(before.document, grace_seconds)
            before = self._mark(before, grace)
            if grace > 0:
                return
        del self._objects[kind][api.key_of(before.document)]
        self._log(kind, before.document, ChangeType.DELETED)

    # --- what operators and tests do

    def compact(self) -> None:
        """Forget all changes up to now: who watches from before has to list again."""
        for kind in {*self._histories, *self._objects}:
            self._history(kind).compact(self.version)

    def bookmark(self) -> None:
        """Tell every watch how far it is."""
        for history in self._histories.values():
            history.append(Entry(self.version, ChangeType.BOOKMARK))

    def end_watches(self, error: errors.ClusterError | None = None) -> None:
        """End all watches there are: as the server does now and then, or with an error."""
        for history in self._histories.values():
            history.end_watches(error)

    # --- inside

    def _history(self, kind: ResourceKind) -> History:
        return self._histories.setdefault(kind, History(self._history_limit))

    def _replace(self, kind: ResourceKind, before: Stored, after: Document) -> Stored:
        """Store a changed object; one that is the same stays as it is, at its version."""
        if after == before.document:
            return before
        return self._store(kind, after, ChangeType.MODIFIED)

    def _store(self, kind: ResourceKind, document: Document, type_: ChangeType) -> Stored:
        stored = self._log(kind, document, type_)
        self._objects.setdefault(kind, {})[api.key_of(document)] = stored
        return stored

    def _mark(self, pod: Stored, grace: int) -> Stored:
        """A pod being deleted, in a change of its own; a grace period once set can only become shorter."""
        meta = pod.document["metadata"]
        if grace >= meta.get("deletionGracePeriodSeconds", grace + 1):
            return pod
        marks = {"deletionTimestamp": self._timestamp(grace), "deletionGracePeriodSeconds": grace}
        return self._replace(api.POD, pod, {**pod.document, "metadata": {**meta, **marks}})

    def _log(self, kind: ResourceKind, document: Document, type_: ChangeType) -> Stored:
        self.version += 1
        document = {**document, "metadata": {**document["metadata"], "resourceVersion": str(self.version)}}
        stored = Stored(document, msgspec.json.encode(document))
        self._history(kind).append(Entry(self.version, type_, stored.raw))
        if self.version % BOOKMARK_EVERY == 0:
            self.bookmark()
        return stored

    def _timestamp(self, seconds_from_now: int = 0) -> str:
        at = self._now() + timedelta(seconds=seconds_from_now)
        return timestamps.stamp(at)
