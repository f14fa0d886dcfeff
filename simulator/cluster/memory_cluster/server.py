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
from scheduler.cache.port import Binding, GatedPodMessage, Release
from simulator.cluster import api
from simulator.cluster.api import Document, ResourceKind
from simulator.cluster.memory_cluster import evictions, objects
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
    """All objects of a cluster. UIDs and generated names follow from `seed`; `admit` may change pods to be created."""

    def __init__(
        self,
        *,
        seed: int = 0,
        history: int = HISTORY,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        admit: Callable[[Document], Document] | None = None,
    ) -> None:
        self.version = 0
        self._admit = admit
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
        made = objects.new(kind, self._admit(document) if self._admit and kind is api.POD else document, suffix)
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
        before = self._as_read(release)
        pod = before.document
        annotations = (pod["metadata"].get("annotations") or {}) | dict(release.annotations)
        gates = [gate for gate in pod["spec"].get("schedulingGates") or () if gate["name"] != release.gate]
        spec = {key: value for key, value in pod["spec"].items() if key != "schedulingGates"}
        spec |= {"schedulingGates": gates} if gates else {}
        if release.affinity is not None:
            spec["affinity"] = msgspec.json.decode(release.affinity)
        meta = {**pod["metadata"], **({"annotations": annotations} if annotations else {})}
        self._replace(api.POD, before, {**pod, "metadata": meta, "spec": spec})

    def set_pod_condition(self, said: GatedPodMessage) -> None:
        """The message of a pod's condition PodScheduled. Raises ConflictError if it is a namesake or changed."""
        before = self._as_read(said)
        status = before.document.get("status") or {}
        others = [c for c in status.get("conditions") or () if c["type"] != "PodScheduled"]
        was = next((c for c in status.get("conditions") or () if c["type"] == "PodScheduled"), {"type": "PodScheduled"})
        status = {**status, "conditions": [*others, {**was, "message": said.message}]}
        self._replace(api.POD, before, {**before.document, "status": status})

    def nominate(self, release: Release, node: str) -> str:
        """A node named in a pod's status; the version after it. Raises ConflictError as `release`."""
        before = self._as_read(release)
        status = {**before.document["status"], "nominatedNodeName": node}
        after = self._replace(api.POD, before, {**before.document, "status": status})
        return str(after.document["metadata"]["resourceVersion"])

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

    def evict(self, namespace: str, name: str, uid: str = "") -> None:
        """The Eviction subresource: a pod is deleted if its budget allows it, which is counted down.

        Raises ConflictError for a namesake, TooManyRequestsError where the budget allows none, NotFoundError, and as
        the real server does UnreachableError (HTTP 500) where several budgets cover it. Budgets are not asked of pods
        that have not started, are over or are being deleted.
        """
        pod = self.get(api.POD, name, namespace).document
        title = f'pods "{api.key_of(pod)}"'
        if uid and pod["metadata"]["uid"] != uid:
            raise errors.ConflictError(f"{title}: precondition failed: UID is {pod['metadata']['uid']}")
        if evictions.needs_budget(pod):
            budgets = [stored for stored in self.list(api.DISRUPTION_BUDGET) if evictions.covers(stored.raw, pod)]
            if len(budgets) > 1:
                raise errors.UnreachableError(f"{title}: HTTP 500: This pod has more than one PodDisruptionBudget")
            for budget in budgets:
                after = evictions.counted_down(budget.document, name, self._timestamp())
                self._replace(api.DISRUPTION_BUDGET, budget, after)
        self.delete(api.POD, name, namespace, uid=uid)

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

    def _as_read(self, write: Release | GatedPodMessage) -> Stored:
        """The pod of a write that is for one version of it. Raises ConflictError if it is another by now."""
        stored = self.get(api.POD, write.name, write.namespace)
        meta = stored.document["metadata"]
        title = f'pods "{api.key_of(stored.document)}"'
        if meta["uid"] != write.uid:
            raise errors.ConflictError(f"{title}: precondition failed: UID is {meta['uid']}")
        if meta["resourceVersion"] != write.version:
            raise errors.ConflictError(f"{title}: the object has been modified")
        return stored

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
