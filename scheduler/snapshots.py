"""Snapshots: the cluster as a snapshot file, written while the service goes on. Asked for by the API.

Each node is of one moment, and what a pod holds lies on one node; between two nodes the extender may have its turn.
PodDisruptionBudgets are read from the API server each time: only planners need them. Without the right to read them the
file says so, and has none.
"""

from collections.abc import AsyncIterator
from dataclasses import replace

import structlog

from allocator import errors
from allocator.claims import snapshot
from allocator.claims.disruption_budget import DisruptionBudget
from allocator.claims.snapshot import NodeView
from allocator.claims.snapshot_file import PodFacts, WaitingFacts, Writer
from allocator.mig.catalogue import Catalogue
from scheduler import cooperative
from scheduler.cache import budgets, movability
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.known_pod import KnownPod
from scheduler.cache.port import Cluster
from scheduler.cooperative import STEP_S, paced

_log = structlog.get_logger("snapshots")


class Snapshots:
    """Makes snapshots of one state."""

    def __init__(self, state: ClusterCache, cluster: Cluster, *, step_s: float = STEP_S) -> None:
        self._state = state
        self._cluster = cluster
        self._step_s = step_s

    async def text(self) -> list[bytes]:
        """A snapshot file of the cluster as it is about now, in blocks."""
        return await cooperative.blocks(self._parts())

    async def _parts(self) -> AsyncIterator[bytes]:
        writer, groups = Writer(), budgets.Groups()
        yield writer.head()
        async for name in paced(sorted(report.node for report in self._state.inventory.reports()), self._step_s):
            report = self._state.inventory.report(name)
            if report is not None:  # it may be gone by now
                yield writer.node(self._node(snapshot.view(self._state.inventory, report)))
        yield writer.between()
        async for pod in paced(tuple(self._state.pods.values()), self._step_s):
            if pod.node:  # of others no labels are kept, and nobody disrupts them
                groups.add(pod)
            yield writer.pod(pod.uid, self._facts(pod))
        covered, notes = await self._budgets(groups)
        yield writer.tail(covered, notes)

    def _node(self, view: NodeView) -> NodeView:
        """A node with what decides which pods it takes."""
        facts, used = self._state.nodes.get(view.name), self._state.used.of(view.name)
        return replace(view, facts=facts, closed=self._state.why_closed(view.name), used=used)

    def _facts(self, pod: KnownPod) -> PodFacts:
        """What is known of a pod; of one without a node, what it waits for."""
        waiting, facts = None, pod.scheduling
        if not pod.node and pod.request and self._state.inventory.ledger.get(pod.uid) is None:
            scheduler = "" if self._state.waiting.is_ours(facts.scheduler) else facts.scheduler
            name = f"{pod.namespace}/{pod.name}"
            waiting = WaitingFacts(name, tuple(pod.request.counts), facts.created, facts.gates, scheduler)
        constraints = movability.successor_constraints(pod, pinned=self._state.queue_feed.pins)
        kept = movability.why_not(self._state, pod)
        return PodFacts(not kept, pod.priority, pod.service, constraints, pod.terminating, waiting, kept)

    async def catalogues(self) -> dict[str, Catalogue]:
        """The GPU models that the cluster has, by name."""
        by_model: dict[str, Catalogue] = {}
        async for report in paced(tuple(self._state.inventory.reports()), self._step_s):
            for gpu in report.gpus:
                if gpu.catalogue is not None:
                    by_model.setdefault(gpu.catalogue.model, gpu.catalogue)
        return by_model

    async def _budgets(self, groups: budgets.Groups) -> tuple[tuple[DisruptionBudget, ...], tuple[str, ...]]:
        """The budgets with the pods that each covers, and what has to be said about them."""
        try:
            listed = await self._cluster.disruption_budgets()
        except errors.ClusterError as error:
            _log.warning("cannot read PodDisruptionBudgets", error=str(error))
            return (), (f"PodDisruptionBudgets are not respected, they could not be read: {error}",)
        return tuple([await groups.covered(budget, self._step_s) for budget in listed]), ()
