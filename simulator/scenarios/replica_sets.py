"""ReplicaSets: the controllers of a story's workloads: as many pods as are wanted, made anew when one goes.

A stand-in for kube-controller-manager's: a pod that is being deleted or has failed is not counted, so its replacement
comes at once, as a ReplicaSet's does.
"""

import asyncio
import copy
from collections.abc import Sequence
from dataclasses import dataclass

from allocator import errors
from kubeclient.objects import TERMINAL_PHASES
from simulator.cluster import api
from simulator.cluster.api import Api, Document
from simulator.cluster.informer import Informer
from simulator.cluster.work_queue import WorkQueue
from simulator.workloads.templates import Controller, NameGenerator

NAMESPACE = "default"
_RETRY_S = 0.2


@dataclass(slots=True)
class SimulatedReplicaSet:
    """One workload: the template of its pods, and how many there shall be."""

    owner: Controller
    template: Document
    replicas: int


class ReplicaSets:
    """All of them, by name. The names of their pods follow from `names`."""

    def __init__(self, cluster: Api) -> None:
        self._cluster = cluster
        self._sets: dict[str, SimulatedReplicaSet] = {}
        self._names = NameGenerator()
        self._queue = WorkQueue()
        self._informer = Informer(cluster, api.POD)
        self._writing = asyncio.Lock()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow())
            group.create_task(self._queue.work(self._sync, retry_s=_RETRY_S))

    def replicas(self, name: str) -> int:
        """How many pods a workload shall have; 0 where there is none of that name."""
        return self._sets[name].replicas if name in self._sets else 0

    async def clear(self, names: NameGenerator) -> None:
        """Forget all workloads; their pods stay. Names of pods follow from `names` from now on."""
        async with self._writing:
            self._sets.clear()
            self._names = names

    async def apply(self, name: str, template: Document, replicas: int) -> None:
        """A new workload, with its pods."""
        owner = Controller("apps/v1", "ReplicaSet", name, NAMESPACE, self._names.uid())
        self._sets[name] = SimulatedReplicaSet(owner, template, replicas)
        await self._sync(name)

    async def scale(self, name: str, replicas: int, victims: Sequence[str] = ()) -> None:
        """A workload has so many pods from now on. `victims` (names of pods) go first, then the youngest."""
        self._sets[name].replicas = replicas
        async with self._writing:
            for victim in victims:
                await self._delete(victim)
        await self._sync(name)

    async def pods(self, name: str) -> Sequence[Document]:
        """A workload's pods that count, by name."""
        owned = self._sets.get(name)
        listing = await self._cluster.list(api.POD)
        return [pod for pod in listing.items if owned is not None and _counts(pod, owned.owner.uid)]

    async def _follow(self) -> None:
        async for change in self._informer.changes():
            meta = change.item["metadata"] if change.item is not None else {}
            for reference in meta.get("ownerReferences") or ():
                if reference["name"] in self._sets:
                    self._queue.add(reference["name"])

    async def _sync(self, name: str) -> None:
        async with self._writing:
            owned = self._sets.get(name)
            if owned is None:
                return
            there = await self.pods(name)
            missing = owned.replicas - len(there)
            # Sorted: the queue goes by name among pods that were made in the same second.
            for pod_name in sorted(self._names.suffixed(name) for _ in range(missing)):
                await self._cluster.create(api.POD, _made(owned, pod_name))
            for pod in there[owned.replicas :]:
                await self._delete(pod["metadata"]["name"])

    async def _delete(self, pod: str) -> None:
        try:
            await self._cluster.delete(api.POD, pod, NAMESPACE)
        except errors.NotFoundError:
            return


def _made(owned: SimulatedReplicaSet, name: str) -> Document:
    pod = copy.deepcopy(owned.template)
    pod["metadata"] |= {"name": name, "namespace": NAMESPACE, "ownerReferences": [owned.owner.reference()]}
    return pod


def _counts(pod: Document, owner: str) -> bool:
    meta = pod["metadata"]
    is_owned = any(reference["uid"] == owner for reference in meta.get("ownerReferences") or ())
    return is_owned and not meta.get("deletionTimestamp") and pod["status"].get("phase") not in TERMINAL_PHASES
