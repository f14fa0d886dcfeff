"""A cluster of one node in memory, as the agent's port: pods, the MigNode, events, labels."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

from allocator import errors
from allocator.claims import contract, placement_annotation
from allocator.claims.placement_annotation import Promise
from allocator.mig.profile import resource_name
from kubeclient.changes import Change, ChangeType, Listing
from kubeclient.events import PodEvent
from kubeclient.objects import Container, Meta, Node, NodeStatus, NodeSystemInfo, NodeWithStatus, PodStatus, Resources
from node_agent.cluster.node_pod import NodePod, NodePodSpec

DEADLINE_S = 20.0


class OneNodeCluster:
    """`node_agent.cluster.port.Cluster`. `down` makes every call fail as if the API server were away. While `answering`
    is not set, lists that were made are on their way; `listed` tells that one was.
    """

    def __init__(self, node: str = "n1") -> None:
        self.name = node
        self.down = False
        self.labels: dict[str, str] = {}
        self.annotations: dict[str, str] = {}
        self.runtime = ""  # of the containers, as the Node says it
        self.status: Mapping[str, Any] = {}
        self.events: list[PodEvent] = []
        self.writes = 0
        self._pods: dict[str, NodePod] = {}
        self._changes: list[Change[NodePod]] = []
        self.label_writes = 0
        self._relabelled = 0
        self._news = asyncio.Condition()
        self.listed = asyncio.Event()
        self.answering = asyncio.Event()
        self.answering.set()

    async def put(self, pod: NodePod, *, seen: bool = True) -> None:
        """A pod appears or changes. Unless `seen`, watches have not told of it yet."""
        known = pod.metadata.uid in self._pods
        self._pods[pod.metadata.uid] = pod
        if seen:
            await self._tell(ChangeType.MODIFIED if known else ChangeType.ADDED, pod)

    async def delete(self, pod: NodePod) -> None:
        """A pod is gone."""
        del self._pods[pod.metadata.uid]
        await self._tell(ChangeType.DELETED, pod)

    async def until(self, what: Callable[[], bool]) -> None:
        """Until something holds that the agent writes."""
        async with asyncio.timeout(DEADLINE_S), self._news:
            await self._news.wait_for(what)

    def slices(self) -> list[tuple[str, str, str]]:
        """(profile@start, state, owner) of the reported slices."""
        return [
            (f"{s['profile']}@{s['start']}", s["state"], s.get("owner", {}).get("pod", ""))
            for gpu in self.status.get("gpus", ())
            for s in gpu.get("slices", ())
        ]

    def ready(self) -> tuple[str, str]:
        """Status and reason of the Ready condition; empty before the first report."""
        return self.condition("Ready")

    def condition(self, kind: str) -> tuple[str, str]:
        """Status and reason of a condition; empty before the first report."""
        named = (one for one in self.status.get("conditions", ()) if one["type"] == kind)
        return next(((one["status"], one["reason"]) for one in named), ("", ""))

    async def pods(self, node: str) -> Listing[NodePod]:
        """See Cluster."""
        self._need_up(node)
        listing = Listing(tuple(self._pods.values()), str(len(self._changes)))
        self.listed.set()
        await self.answering.wait()
        return listing

    async def watch_pods(self, node: str, resource_version: str) -> AsyncGenerator[Change[NodePod], None]:
        """See Cluster."""
        self._need_up(node)
        seen = int(resource_version)
        while True:
            async with self._news:
                while not self.down and len(self._changes) == seen:
                    await self._news.wait()
            self._need_up(node)
            for change in self._changes[seen:]:
                yield change
            seen = len(self._changes)

    async def node(self, name: str) -> NodeWithStatus:
        """See Cluster."""
        self._need_up(name)
        meta = Meta(name, uid=f"uid-{name}", labels=dict(self.labels), annotations=dict(self.annotations))
        return NodeWithStatus(meta, NodeStatus(NodeSystemInfo(self.runtime)))

    async def list_node(self, name: str) -> Listing[Node]:
        """See Cluster."""
        return Listing((await self.node(name),), str(self._relabelled))

    async def watch_node(self, name: str, resource_version: str) -> AsyncGenerator[Change[Node], None]:
        """See Cluster."""
        seen = int(resource_version)
        while True:
            async with self._news:
                while not self.down and self._relabelled == seen:
                    await self._news.wait()
                seen = self._relabelled
            yield Change(ChangeType.MODIFIED, await self.node(name), str(seen))

    async def label_node(self, name: str, labels: Mapping[str, str]) -> None:
        """See Cluster."""
        self._need_up(name)
        self.label_writes += 1
        await self.relabel(labels)

    async def relabel(self, labels: Mapping[str, str]) -> None:
        """Somebody sets labels of the node."""
        self.labels |= labels
        self._relabelled += 1
        await self._notify()

    async def annotate(self, annotations: Mapping[str, str]) -> None:
        """Somebody replaces the annotations of the node."""
        self.annotations = dict(annotations)
        self._relabelled += 1
        await self._notify()

    async def write_status(self, node: Node, status: Mapping[str, Any]) -> None:
        """See Cluster."""
        self._need_up(node.metadata.name)
        self.status = status
        self.writes += 1
        await self._notify()

    async def event(self, event: PodEvent, component: str, node: str) -> None:
        """See Cluster."""
        self._need_up(self.name)
        assert (component, node) == ("migsched-agent", self.name)
        self.events.append(event)
        await self._notify()

    async def close(self) -> None:
        """See Cluster."""

    async def _tell(self, type_: ChangeType, pod: NodePod) -> None:
        self._changes.append(Change(type_, pod, str(len(self._changes) + 1)))
        await self._notify()

    async def _notify(self) -> None:
        async with self._news:
            self._news.notify_all()

    def _need_up(self, node: str) -> None:
        if self.down or node != self.name:
            raise errors.UnreachableError("the API server is away")


def pod(
    name: str, *asked: str, promises: tuple[Promise, ...] = (), annotation: str = "", phase: str = "Pending"
) -> NodePod:
    """A bound pod whose one container asks for profiles, with a placement annotation."""
    limits: dict[str, str | int] = {resource_name(profile): str(asked.count(profile)) for profile in asked}
    text = annotation or (placement_annotation.encode(promises) if promises else "")
    notes = {contract.PLACEMENT_ANNOTATION: text} if text else None
    return NodePod(
        Meta(name, "default", f"uid-{name}", annotations=notes, creation_timestamp="2026-01-01T00:00:00Z"),
        NodePodSpec((Container("main", Resources(limits)),)),
        PodStatus(phase),
    )
