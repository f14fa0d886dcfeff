"""Kubelets: what kubelets do to pods, for simulated nodes: run them, end Jobs' pods, let deleted ones go.

A bound pod is admitted: the devices of its node give its containers what they ask for, and where they refuse, the pod
fails with the reason that a kubelet has for it. It runs once its containers can be created. Used by the demo, the local
cluster and tests.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

from allocator import errors
from allocator.claims import contract
from kubeclient import timestamps
from kubeclient.changes import ChangeType
from kubeclient.objects import TERMINAL_PHASES, Pod
from simulator.cluster import api
from simulator.cluster.api import Api, Document
from simulator.cluster.informer import Informer
from simulator.cluster.nodes import SimulatedNode
from simulator.cluster.work_queue import WorkQueue

REFUSED = "UnexpectedAdmissionError"  # the reason in the status of a pod whose devices were refused
_WORKERS = 16
_RETRY_S = 0.2
_CREATE_AGAIN_S = 0.02  # a kubelet waits longer


class Devices(Protocol):
    """Who gives pods their devices: the agents of `node_agents`, or their stand-ins of `agents`."""

    async def admit(self, pod: Pod) -> str:
        """Give a bound pod's containers what they ask for. Returns why not, or nothing."""

    def is_ready(self, uid: str, node: str) -> bool:
        """Whether the containers of an admitted pod can be created."""

    def release(self, uid: str, node: str) -> None:
        """A pod's containers have ended."""

    def retain(self, living: Iterable[str]) -> None:
        """Only these pods are left."""


class Kubelets:
    """The kubelets of a fleet. With `job_seconds`, pods of Jobs succeed that long after they began."""

    def __init__(
        self, cluster: Api, fleet: Sequence[SimulatedNode], devices: Devices, *, job_seconds: float | None = None
    ) -> None:
        self._cluster = cluster
        self._nodes = frozenset(node.name for node in fleet)
        self._devices = devices
        self._job_seconds = job_seconds
        self._informer = Informer(cluster, api.POD)
        self._pods: dict[str, Document] = {}  # UID → pod on one of our nodes, as last seen
        self._refused: dict[str, str] = {}  # UID → why it has no devices; nothing where it has them
        self._began: dict[str, float] = {}  # UID → when a Job's pod was first seen running, by the loop's clock
        self._queue = WorkQueue()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow())
            group.create_task(self._begin())
            for _ in range(_WORKERS):
                group.create_task(self._queue.work(self._sync, retry_s=_RETRY_S))

    async def _begin(self) -> None:
        """Those that were there at the start: first who has run before, then who was promised a place."""
        await self._informer.synced.wait()
        self._devices.retain(self._pods)
        for uid in sorted(self._pods, key=lambda uid: _urgency(self._pods[uid])):
            self._queue.add(uid)

    async def _follow(self) -> None:
        async for change in self._informer.changes():
            document = change.item
            if document is None:
                continue
            uid = document["metadata"]["uid"]
            if change.type is ChangeType.DELETED:
                self._forget(uid, document.get("spec", {}).get("nodeName", ""))
            elif document["spec"].get("nodeName") in self._nodes:
                self._pods[uid] = document
                if document["status"].get("phase") in TERMINAL_PHASES:
                    self._devices.release(uid, document["spec"]["nodeName"])
                elif self._informer.synced.is_set():
                    self._queue.add(uid)

    def _forget(self, uid: str, node: str) -> None:
        """A pod is gone; its node is as it was last seen, where its end was not."""
        known = self._pods.pop(uid, None)
        self._began.pop(uid, None)
        self._refused.pop(uid, None)
        if known is not None:
            self._devices.release(uid, node or known["spec"]["nodeName"])

    async def _sync(self, uid: str) -> None:
        """Take a pod one step further."""
        document = self._pods.get(uid)
        if document is None:
            return
        phase = document["status"].get("phase")
        try:
            if document["metadata"].get("deletionTimestamp"):
                await self._let_go(document)
            elif phase == "Pending" or (phase == "Running" and uid not in self._refused):
                await self._start(uid, document)
            elif phase == "Running" and self._job_seconds is not None and _is_of_job(document):
                await self._end_in_time(document, self._job_seconds)
        except errors.NotFoundError:
            self._forget(uid, document["spec"]["nodeName"])

    async def _start(self, uid: str, document: Document) -> None:
        """Admit a pod, once; it runs when its containers can be created."""
        if uid not in self._refused:
            refusal = await self._devices.admit(msgspec.convert(document, Pod))
            if uid not in self._pods:  # it went meanwhile
                self._devices.release(uid, document["spec"]["nodeName"])
                return
            self._refused[uid] = refusal
        if self._refused[uid]:
            await self._write(document, _rejected(self._refused[uid]))
        elif not self._devices.is_ready(uid, document["spec"]["nodeName"]):
            self._queue.add_after(uid, _CREATE_AGAIN_S)
        elif document["status"].get("phase") == "Pending":
            await self._write(document, _running(document))
        else:
            self._queue.add(uid)  # it ran before this kubelet began

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


def _is_of_job(document: Document) -> bool:
    return any(owner.get("kind") == "Job" for owner in document["metadata"].get("ownerReferences") or ())


def _urgency(document: Document) -> tuple[bool, bool]:
    """Small first."""
    promised = contract.PLACEMENT_ANNOTATION in (document["metadata"].get("annotations") or {})
    return document["status"].get("phase") != "Running", not promised


def _rejected(message: str) -> Document:
    return {"phase": "Failed", "startTime": timestamps.now(), "reason": REFUSED, "message": message}


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
