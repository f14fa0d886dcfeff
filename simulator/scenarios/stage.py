"""Stage: what the actions of a story do to the demo's cluster, and what has become of its workloads.

Everything is done as people and controllers do it: objects are written to the API server, faults come from the
simulated driver. What follows is the product's own work.
"""

import asyncio
import contextlib
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from allocator.claims import contract, snapshot
from allocator.claims.ledger import Claim, ClaimState
from allocator.claims.snapshot import GpuView
from allocator.mig import profile as profiles
from allocator.mig.catalogue import Catalogue
from allocator.moves.life import ENDED
from allocator.queueing.queued_pod import GANG_ANNOTATION, GANG_SIZE_ANNOTATION
from simulator.cluster import api
from simulator.cluster.api import Document
from simulator.cluster.embedded import Embedded
from simulator.cluster.node_agents import NodeAgents
from simulator.scenarios import scenario as stories
from simulator.scenarios.replica_sets import NAMESPACE, ReplicaSets
from simulator.scenarios.workload_state import WorkloadState
from simulator.workloads import translation
from simulator.workloads.templates import NameGenerator

_LOOK_S = 0.02
_RESET_AGAIN_S = 2.0


class StoryStage:
    """One demo's cluster. `catalogue` is that of its GPUs, names follow from `seed`."""

    def __init__(self, cluster: Embedded, catalogue: Catalogue, seed: int) -> None:
        self.replica_sets = ReplicaSets(cluster.api)
        self._cluster = cluster
        self._api = cluster.api
        self._catalogue = catalogue
        self._seed = seed
        self._ill: dict[str, str] = {}  # node by the UUID of a GPU that had a fault
        self._drained: set[str] = set()
        self._doers: Mapping[type[stories.Action], Callable[[Any], Awaitable[None]]] = {
            stories.Run: self._run,
            stories.Scale: self._scale,
            stories.Thin: self._thin,
            stories.ProposeMoves: self._propose,
            stories.ApproveMoves: self._approve,
            stories.BreakGpu: self._fault,
            stories.LeaveIllGpus: self._leave_ill_gpus,
            stories.ResetIllGpus: self._reset_ill_gpus,
            stories.DrainNode: self._drain,
            stories.ReopenNodes: self._reopen,
        }

    # --- before the first step

    async def clear(self, name: str) -> None:
        """A clean cluster: no pods, no Repacks, nodes open, GPUs whole. Random names then follow from the story's."""
        await self.replica_sets.clear(NameGenerator(zlib.crc32(f"{self._seed}/{name}".encode())))
        for kind in (api.REPACK, api.DISRUPTION_BUDGET):
            for document in (await self._api.list(kind)).items:
                meta = document["metadata"]
                await self._api.delete(kind, meta["name"], meta.get("namespace", ""))
        for pod in (await self._api.list(api.POD)).items:
            await self._api.delete(api.POD, pod["metadata"]["name"], pod["metadata"]["namespace"], grace_seconds=0)
        await self._reopen()
        await self._until(self._is_empty)
        self._ill.clear()
        if isinstance(self._cluster.agents, NodeAgents):  # stand-ins keep idle slices, and have no drivers
            await self._reset_gpus()

    async def _reset_gpus(self) -> None:
        """Until nothing is on any GPU: what was being cut for a pod that is gone may come after a reset."""
        while left := [gpu for gpu in self._gpus() if gpu.problem or gpu.occupants]:
            for gpu in left:
                self._agents.driver(gpu.node).reset(gpu.uuid)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_RESET_AGAIN_S):
                    await self._until(lambda: not any(gpu.problem or gpu.occupants for gpu in self._gpus()))

    def _is_empty(self) -> bool:
        left = any(True for _ in self._cluster.server.list(api.POD))
        return not left and not len(self._cluster.service.state.inventory.ledger)

    # --- actions

    async def do(self, action: stories.Action) -> None:
        """One action; it is done when the API server has it. What it leads to is for `has_become`."""
        await self._doers[type(action)](action)

    async def _run(self, action: stories.Run) -> None:
        profile = translation.like(action.profile, self._catalogue)
        assert profile is not None  # others are not on the shelf of this demo
        gpus = len(self._gpus())
        replicas = action.pods + action.per_gpu * gpus + (profile.max_instances * gpus if action.fill else 0)
        annotations = {contract.MOVABLE_ANNOTATION: "true"}
        if action.gang:
            annotations = {GANG_ANNOTATION: action.workload, GANG_SIZE_ANNOTATION: str(replicas)}
        template: Document = {
            "metadata": {"labels": {"app": action.workload}, "annotations": annotations},
            "spec": {
                "containers": [{"name": "main", "image": "none", "resources": {"limits": {profile.resource: "1"}}}],
                "priority": action.priority,
                "terminationGracePeriodSeconds": 1,
            },
        }
        await self.replica_sets.apply(action.workload, template, replicas)

    async def _scale(self, action: stories.Scale) -> None:
        before = self.replica_sets.replicas(action.workload)
        await self.replica_sets.scale(action.workload, before - action.fewer if action.fewer else action.pods)

    async def _thin(self, action: stories.Thin) -> None:
        pods = {pod["metadata"]["name"] for pod in await self.replica_sets.pods(action.workload)}
        gone = []
        for gpu in self._gpus():
            there = sorted((o for o in gpu.occupants if o.pod in pods), key=lambda occupant: occupant.placement.start)
            gone += [occupant.pod for occupant in there[action.keep_per_gpu :]]
        await self.replica_sets.scale(action.workload, len(pods) - len(gone), gone)

    async def _propose(self, action: stories.ProposeMoves) -> None:
        for pod in await self.replica_sets.pods(action.workload):
            if not pod["spec"].get("nodeName") and self._repack_for(pod) is None:
                await self._api.create(api.REPACK, _repack_document(pod, action.moves))

    async def _approve(self, action: stories.ApproveMoves) -> None:
        for pod in await self.replica_sets.pods(action.workload):
            repack = self._repack_for(pod)
            if repack is not None:
                await self._api.patch(api.REPACK, repack["metadata"]["name"], {"spec": {"approved": True}})

    async def _fault(self, action: stories.BreakGpu) -> None:
        claim = await self._first_claim(action.workload)
        gpu = claim.holds[0].gpu
        self._ill[gpu] = claim.node
        self._agents.driver(claim.node).xid(gpu, action.xid)

    async def _leave_ill_gpus(self, _: stories.LeaveIllGpus) -> None:
        for gpu in self._gpus():
            for pod in {occupant.pod for occupant in gpu.occupants if occupant.uid and gpu.uuid in self._ill}:
                await self._api.delete(api.POD, pod, NAMESPACE)

    async def _reset_ill_gpus(self, _: stories.ResetIllGpus) -> None:
        for gpu, node in self._ill.items():
            self._agents.driver(node).reset(gpu)
        self._ill.clear()

    async def _drain(self, action: stories.DrainNode) -> None:
        node = (await self._first_claim(action.workload)).node
        self._drained.add(node)
        await self._api.patch(api.NODE, node, {"spec": {"unschedulable": True}})
        spec = {"wanted": {"empty": {"nodes": [node]}}, "budgets": {"moves": 200, "parallel": 2}, "mode": "Auto"}
        await self._api.create(api.REPACK, {"metadata": {"name": f"drain-{node}"}, "spec": spec})

    async def _reopen(self, _: stories.ReopenNodes | None = None) -> None:
        self._drained.clear()
        for node in (await self._api.list(api.NODE)).items:
            if node.get("spec", {}).get("unschedulable"):
                await self._api.patch(api.NODE, node["metadata"]["name"], {"spec": {"unschedulable": None}})

    # --- what follows

    async def becomes(self, workload: str, wanted: WorkloadState) -> None:
        """Until a workload is in a state."""
        while not await self._has_become(workload, wanted):
            await asyncio.sleep(_LOOK_S)

    async def _has_become(self, workload: str, wanted: WorkloadState) -> bool:
        pods = await self.replica_sets.pods(workload)
        if wanted is WorkloadState.RUNNING:
            return self._all_run(workload, pods)
        if wanted is WorkloadState.WAITING:
            return any(self._cluster.service.has_no_place_for(pod["metadata"]["uid"]) for pod in pods)
        if wanted is WorkloadState.PROPOSED:
            return all(self._is_proposed(pod) or bool(pod["spec"].get("nodeName")) for pod in pods)
        if wanted is WorkloadState.DRAINED:
            nodes = {pod["spec"].get("nodeName") for pod in pods}
            return self._all_run(workload, pods) and not nodes & self._drained
        problems = [gpu.uuid for gpu in self._gpus() if gpu.problem]
        return self._ill.keys() <= set(problems) if wanted is WorkloadState.OUT_OF_SERVICE else not problems

    def _all_run(self, workload: str, pods: Sequence[Document]) -> bool:
        ledger = self._cluster.service.state.inventory.ledger
        claims = [ledger.get(pod["metadata"]["uid"]) for pod in pods]
        running = [pod for pod in pods if pod["status"].get("phase") == "Running"]
        ready = [claim for claim in claims if claim is not None and claim.state is ClaimState.READY]
        return len(running) == len(ready) == self.replica_sets.replicas(workload)

    def _is_proposed(self, pod: Document) -> bool:
        repack = self._repack_for(pod)
        return repack is not None and repack.get("status", {}).get("phase") == "Proposed"

    def _repack_for(self, pod: Document) -> Mapping[str, Any] | None:
        """The Repack that makes room for a pod and has not ended, whoever made it."""
        for stored in self._cluster.server.list(api.REPACK):
            wanted = stored.document["spec"].get("wanted", {}).get("pod") or {}
            ended = stored.document.get("status", {}).get("phase") in {phase.value for phase in ENDED}
            if wanted.get("uid") == pod["metadata"]["uid"] and not ended:
                return stored.document
        return None

    async def _first_claim(self, workload: str) -> Claim:
        """The claim of a workload's first pod that has one."""
        ledger = self._cluster.service.state.inventory.ledger
        pods = await self.replica_sets.pods(workload)
        return next(claim for pod in pods if (claim := ledger.get(pod["metadata"]["uid"])) is not None)

    def _gpus(self) -> Sequence[GpuView]:
        return tuple(snapshot.take(self._cluster.service.state.inventory).gpus())

    @property
    def _agents(self) -> NodeAgents:
        agents = self._cluster.agents
        assert isinstance(agents, NodeAgents)  # else no story with faults is on the shelf
        return agents

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await asyncio.sleep(_LOOK_S)


def _repack_document(pod: Document, moves: int) -> Document:
    """A Repack that makes room for a waiting pod, once it is approved."""
    meta = pod["metadata"]
    limits = pod["spec"]["containers"][0]["resources"]["limits"]
    counts = {profiles.profile_name(resource): int(amount) for resource, amount in limits.items()}
    wanted = {
        "requests": [{"name": api.key_of(pod), "profiles": counts}],
        "pod": {"namespace": meta["namespace"], "name": meta["name"], "uid": meta["uid"]},
    }
    spec = {"wanted": wanted, "budgets": {"moves": moves}, "mode": "Approve"}
    return {"metadata": {"name": f"for-{meta['uid']}"}, "spec": spec}
