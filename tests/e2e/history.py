"""What a cluster went through, in the API server's own order, and what must hold of it at every moment.

Pods and MigNodes share the order of etcd's revisions, so one history tells Bindings, claims and reports of all
services together. A suite that makes processes fail records it meanwhile and asks `violations` at the end.
"""

import asyncio
import itertools
import json
import threading
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from allocator import errors
from allocator.claims import contract, placement_annotation
from allocator.claims.placement_annotation import Promise
from allocator.claims.report import SliceState
from allocator.mig.catalogue import Catalogue
from allocator.mig.profile import Placement
from kubeclient.changes import ChangeType
from kubeclient.kube import Connection

PODS = "/api/v1/pods"
MIG_NODES = "/apis/migsched.io/v1alpha1/mignodes"
AGAIN_S = 0.2

Document = dict[str, Any]


@dataclass(frozen=True)
class Event:
    """One version of an object, or its end."""

    version: int
    path: str
    type: ChangeType
    object: Document


class Recorder:
    """Records all changes of pods and MigNodes from its start until `stop`, over restarts of the API server."""

    def __init__(self, kubeconfig: Path) -> None:
        self.events: list[Event] = []
        self._kubeconfig = kubeconfig
        self._watching = threading.Semaphore(0)
        self._loop = asyncio.new_event_loop()
        self._stopped = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),), daemon=True)
        self._thread.start()
        for _ in (PODS, MIG_NODES):
            assert self._watching.acquire(timeout=60), "the recorder does not start"

    def pods(self) -> list[Document]:
        """The pods that there are now, as they were seen last: cheaper than asking for them over and over."""
        latest = {event.object["metadata"]["uid"]: event for event in tuple(self.events) if event.path == PODS}
        return [event.object for event in latest.values() if event.type is not ChangeType.DELETED]

    def stop(self) -> list[Event]:
        """End it; the history in order, each version once."""
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(30)
        self._loop.close()
        unique = {(event.path, event.version, event.type): event for event in self.events}
        return sorted(unique.values(), key=lambda event: (event.version, event.type is ChangeType.DELETED))

    async def _run(self) -> None:
        connection = await Connection.connect(self._kubeconfig)
        try:
            async with asyncio.TaskGroup() as group:
                following = [group.create_task(self._record(connection, path)) for path in (PODS, MIG_NODES)]
                await self._stopped.wait()
                for task in following:
                    task.cancel()
        finally:
            await connection.close()

    async def _record(self, connection: Connection, path: str) -> None:
        version = await self._list(connection, path)
        self._watching.release()
        while True:
            try:
                if not version:
                    version = await self._list(connection, path)
                async for type_, raw in connection.watch_raw(path, version):
                    document = json.loads(bytes(raw))
                    version = document["metadata"]["resourceVersion"]
                    if type_ is not ChangeType.BOOKMARK:
                        self.events.append(Event(int(version), path, type_, document))
            except errors.GoneError:
                version = ""
            except errors.ClusterError:
                await asyncio.sleep(AGAIN_S)

    async def _list(self, connection: Connection, path: str) -> str:
        """Record what there is, and what there was as deleted, at the earliest; the version to watch from."""
        listing = json.loads(await connection.request("GET", path))
        version: str = listing["metadata"]["resourceVersion"]
        names = {item["metadata"]["uid"] for item in listing["items"]}
        known = {event.object["metadata"]["uid"]: event for event in self.events if event.path == path}
        for item in listing["items"]:
            self.events.append(Event(int(item["metadata"]["resourceVersion"]), path, ChangeType.MODIFIED, item))
        for uid, event in known.items():
            if uid not in names and event.type is not ChangeType.DELETED:
                self.events.append(Event(event.version, path, ChangeType.DELETED, event.object))
        return version


Place = tuple[str, str, int]  # GPU, profile, start


@dataclass
class _BoundPod:
    """A pod since its Binding."""

    name: str
    node: str
    promises: tuple[Promise, ...]
    places: set[Place]  # as promised, or, where a report shows another slice of that profile, as reported
    before: set[Place]  # the same until the last report: a Binding may be decided before that one is heard
    over: bool = False


@dataclass
class _Judge:
    """Follows a history and keeps what is wrong in it."""

    catalogue: Catalogue
    edited: Collection[str]
    bound: dict[str, _BoundPod] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    def see(self, event: Event) -> None:
        """One event."""
        if event.path == PODS:
            self._see_pod(event)
        elif "status" in event.object:
            self._see_report(event.object)

    def _see_pod(self, event: Event) -> None:
        uid, node = event.object["metadata"]["uid"], event.object["spec"].get("nodeName", "")
        known = self.bound.get(uid)
        text = event.object["metadata"].get("annotations", {}).get(contract.PLACEMENT_ANNOTATION)
        promises = self._promises(text, node)
        if known is None and node:
            places = {(promise.gpu, promise.profile, promise.start) for promise in promises}
            known = self.bound[uid] = _BoundPod(event.object["metadata"]["name"], node, promises, places, places)
            self._look_for_overlaps(uid, known)
        if known is None:
            return
        if known.name not in self.edited and (known.node, known.promises) != (node, promises):
            self.violations.append(f"{known.name} was bound to {known.node}, {known.promises}; then {node}, {promises}")
        if event.type is ChangeType.DELETED or event.object["status"].get("phase") in ("Succeeded", "Failed"):
            known.over = True

    def _promises(self, text: str | None, node: str) -> tuple[Promise, ...]:
        try:
            return placement_annotation.decode(text, node) if text else ()
        except errors.ContractError:  # of a pod that was edited
            return ()

    def _look_for_overlaps(self, uid: str, pod: _BoundPod) -> None:
        for other_uid, other in self.bound.items():
            if other_uid == uid or other.over:
                continue
            for place, taken in itertools.product(pod.places, other.places):
                if (
                    place[0] == taken[0]
                    and taken in other.before
                    and self._placement(place).overlaps(self._placement(taken))
                ):
                    self.violations.append(f"{pod.name} was bound to {place}, into the room of {other.name}: {taken}")

    def _placement(self, place: Place) -> Placement:
        _, profile, start = place
        return self.catalogue.placement(profile, start)

    def _see_report(self, object_: Document) -> None:
        report = contract.decode_status(json.dumps(object_["status"]).encode(), object_["metadata"]["name"])
        if report.problem:
            self.violations.append(f"a report that cannot be read: {report.problem}")
        shown: dict[str, set[Place]] = defaultdict(set)
        for gpu in report.gpus:
            if (contradiction := gpu.contradiction()) is not None:
                self.violations.append(f"the report of {gpu.uuid} contradicts itself: {contradiction.message}")
            for slice_ in gpu.slices:
                uid = slice_.owner.uid if slice_.owner is not None else ""
                owner = self.bound.get(uid)
                if slice_.state is not SliceState.ALLOCATED or owner is None:
                    continue
                there = (gpu.uuid, slice_.placement.profile, slice_.placement.start)
                shown[uid].add(there)
                if owner.name in self.edited:
                    continue
                if slice_.placement.profile not in {promise.profile for promise in owner.promises}:
                    self.violations.append(f"{owner.name} has {there}, and was promised {owner.promises}")
        for pod in self.bound.values():
            pod.before = pod.places
        for uid, places in shown.items():
            self.bound[uid].places = _corrected(self.bound[uid].places, places)


def _corrected(places: set[Place], shown: set[Place]) -> set[Place]:
    """Places with those that a report shows, each instead of one of its profile that it does not show."""
    corrected = set(places)
    for place in shown - places:
        replaced = sorted(other for other in corrected - shown if other[1] == place[1])[:1]
        corrected = (corrected - set(replaced)) | {place}
    return corrected


def condensed(events: Sequence[Event]) -> str:
    """A history for people, a line per event: version, what happened, to whom, and what counts of it."""
    told = (_of_pod(event.object) if event.path == PODS else _of_report(event.object) for event in events)
    heads = ((str(event.version), event.type.value, event.object["metadata"]["name"]) for event in events)
    return "".join("\t".join((*head, *what)) + "\n" for head, what in zip(heads, told, strict=True))


def _of_pod(pod: Document) -> tuple[str, ...]:
    promise = pod["metadata"].get("annotations", {}).get(contract.PLACEMENT_ANNOTATION, "")[:300]
    leaving = "leaving" if "deletionTimestamp" in pod["metadata"] else ""
    return pod["spec"].get("nodeName", ""), pod["status"].get("phase", ""), leaving, promise


def _of_report(mig_node: Document) -> tuple[str, ...]:
    gpus = mig_node.get("status", {}).get("gpus", ())
    return tuple(f"{gpu['uuid'][:12]} {json.dumps(gpu.get('slices', ()))}" for gpu in gpus if gpu.get("slices"))


def violations(events: Iterable[Event], catalogue: Catalogue, edited: Collection[str] = ()) -> list[str]:
    """What is wrong in a history of nodes of one GPU model: empty where every rule held at every moment.

    A pod is bound once, and its promise never changes; no two pods that are not over share a slot; a report holds what
    a GPU can hold; a slice that is allocated to a pod has a profile that it was promised. It may lie elsewhere than was
    promised: the kubelet names no pod in an Allocate, and where a promised place is not free yet another one is taken.
    So a Binding that crosses the first report of such a slice may name its place; the claim follows the next report.
    The annotation of pods that are `edited` was changed by somebody else: what the Binding promised counts.
    """
    judge = _Judge(catalogue, edited)
    for event in events:
        judge.see(event)
    return judge.violations


def most_away(events: Iterable[Event]) -> int:
    """How many Ready pods of one owner were missing at most at once, by label `app`, of the most it ever had."""
    first: dict[str, int] = {}
    most = 0
    ready: dict[str, set[str]] = defaultdict(set)
    for event in events:
        if event.path != PODS:
            continue
        meta = event.object["metadata"]
        conditions = {one["type"]: one["status"] for one in event.object["status"].get("conditions", ())}
        is_ready = conditions.get("Ready") == "True" and "deletionTimestamp" not in meta
        owner = meta.get("labels", {}).get("app", "")
        there = ready[owner]
        (there.add if is_ready and event.type is not ChangeType.DELETED else there.discard)(meta["uid"])
        first[owner] = max(first.get(owner, 0), len(there))
        most = max(most, first[owner] - len(there))
    return most
