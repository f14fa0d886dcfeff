"""Kubelets: what kubelets do to pods, for simulated nodes: run them, end Jobs' pods, let deleted ones go.

A pod runs once its slices are cut; one without slices runs at once. Used by the demo, the local cluster and tests.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Protocol

import msgspec

from allocator import errors
from kubeclient import timestamps
from kubeclient.changes import ChangeType
from kubeclient.objects import Pod
from scheduler.cache import pods
from simulator.cluster import api
from simulator.cluster.api import Api, Document
from simulator.cluster.informer import Informer
from simulator.cluster.nodes import SimulatedNode
from simulator.cluster.work_queue import WorkQueue

_WORKERS = 16
_RETRY_S = 0.2


class Slices(Protocol):
    """Who says whether a pod has its slices: `simulator.cluster.agents.Agents`."""

    def is_ready(self, uid: str, node: str) -> bool:
        """Whether a pod has slices on a node."""


class Kubelets:
    """The kubelets of a fleet. With `job_seconds`, pods of Jobs succeed that long after they began."""

    def __init__(
        self, cluster: Api, fleet: Sequence[SimulatedNode], slices: Slices, *, job_seconds: float | None = None
    ) -> None:
        self._cluster = cluster
        self._nodes = frozenset(node.name for node in fleet)
        self._slices = slices
        self._job_seconds = job_seconds
        self._informer = Informer(cluster, api.POD)
        self._pods: dict[str, Document] = {}  # UID → pod on one of our nodes, as last seen
        self._began: dict[str, float] = {}  # UID → when a Job's pod was first seen running, by the loop's clock
        self._queue = WorkQueue()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow())
            for _ in range(_WORKERS):
                group.create_task(self._queue.work(self._sync, retry_s=_RETRY_S))

    def look_at(self, uid: str) -> None:
        """Something changed for a pod: its slices are ready."""
        if uid in self._pods:
            self._queue.add(uid)

    async def _follow(self) -> None:
        async for change in self._informer.changes():
            document = change.item
            if document is None:
                continue
            uid = document["metadata"]["uid"]
            if change.type is ChangeType.DELETED:
                self._pods.pop(uid, None)
                self._began.pop(uid, None)
            elif document["spec"].get("nodeName") in self._nodes:
                self._pods[uid] = document
                self._queue.add(uid)

    async def _sync(self, uid: str) -> None:
        """Take a pod one step further."""
        document = self._pods.get(uid)
        if document is None:
            return
        phase = document["status"].get("phase")
        try:
            if document["metadata"].get("deletionTimestamp"):
                await self._let_go(document)
            elif phase == "Pending" and self._has_slices(document):
                await self._write(document, _running(document))
            elif phase == "Running" and self._job_seconds is not None and _is_of_job(document):
                await self._end_in_time(document, self._job_seconds)
        except errors.NotFoundError:
            self._pods.pop(uid, None)

    def _has_slices(self, document: Document) -> bool:
        """Whether nothing is missing: a pod may name a resource and ask for none of it (quantity 0)."""
        pod = msgspec.convert(document, Pod)
        return self._slices.is_ready(pod.metadata.uid, pod.spec.node_name) or not _asks(pod)

    async def _end_in_time(self, document: Document, seconds: float) -> None:
        uid, now = document["metadata"]["uid"], asyncio.get_running_loop().time()
        remaining = self._began.setdefault(uid, now) + seconds - now
        if remaining > 0:
            self._queue.add_after(uid, remaining)
        else:
            await self._write(document, _succeeded(document))

    async def _let_go(self, document: Document) -> None:
        meta = document["metadata"]
        with contextlib.suppress(errors.ConflictError):  # a namesake has taken its place
            await self._cluster.delete(api.POD, meta["name"], meta["namespace"], uid=meta["uid"], grace_seconds=0)

    async def _write(self, document: Document, status: Document) -> None:
        meta = document["metadata"]
        await self._cluster.patch_status(api.POD, meta["name"], {"status": status}, meta["namespace"])


def _asks(pod: Pod) -> bool:
    """Whether a pod asks for slices, or for something that cannot be read."""
    try:
        return bool(pods.request_of(pod))
    except errors.RequestError:
        return True


def _is_of_job(document: Document) -> bool:
    return any(owner.get("kind") == "Job" for owner in document["metadata"].get("ownerReferences") or ())


def _running(document: Document) -> Document:
    now = timestamps.now()
    state = {"running": {"startedAt": now}}
    return {"phase": "Running", "startTime": now} | _of_containers(document, state, ready=True)


def _succeeded(document: Document) -> Document:
    state = {"terminated": {"exitCode": 0, "reason": "Completed", "finishedAt": timestamps.now()}}
    return {"phase": "Succeeded"} | _of_containers(document, state, ready=False)


def _of_containers(document: Document, state: Document, *, ready: bool) -> Document:
    """Conditions and container statuses, as a kubelet writes them; conditions of others stay."""
    word = "True" if ready else "False"
    ours = {"Initialized": "True", "ContainersReady": word, "Ready": word}
    others = [c for c in document["status"].get("conditions") or () if c["type"] not in ours]
    return {
        "conditions": [
            *others,
            *({"type": t, "status": s, "lastTransitionTime": timestamps.now()} for t, s in ours.items()),
        ],
        "containerStatuses": [
            {
                "name": container["name"],
                "image": container.get("image", ""),
                "imageID": "simulated",
                "ready": ready,
                "restartCount": 0,
                "state": state,
            }
            for container in document["spec"]["containers"]
        ],
    }
