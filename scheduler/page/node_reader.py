"""NodeReader: one node as the page shows it, and whether it has to be made anew. Asked by `watcher`.

A node is made anew when one of the objects that it is made of is another one: they are immutable, so to look at 5,000
nodes is to compare references.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from allocator.claims import snapshot
from allocator.claims.ledger import ClaimState
from allocator.claims.report import GpuReport, MigMode, NodeReport, SliceState
from allocator.claims.snapshot import GpuView, Occupant
from allocator.eligibility.node import NodeFacts
from allocator.placement import room
from allocator.placement.fitting import GpuState
from scheduler.cache import movability
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.scheduling_facts import shown
from scheduler.moves import holds
from scheduler.page.document import OverviewGpu, OverviewGpuState, OverviewNode, OverviewSlice, OverviewSliceState

MAX_MESSAGE = 300  # characters
_OUT_OF_SERVICE = "out of service"  # how an agent's message begins of a GPU that takes no new work by wish
_STATES = {
    ClaimState.RESERVED.value: OverviewSliceState.PROMISED,
    ClaimState.BOUND.value: OverviewSliceState.PROMISED,
    ClaimState.READY.value: OverviewSliceState.ALLOCATED,
    ClaimState.RELEASING.value: OverviewSliceState.ALLOCATED,
    "unclaimed": OverviewSliceState.ALLOCATED,
    SliceState.IDLE.value: OverviewSliceState.IDLE,
    SliceState.FOREIGN.value: OverviewSliceState.FOREIGN,
    snapshot.ILL: OverviewSliceState.ILL,
}

Place = tuple[str, str, int, str]  # GPU, profile, start, pod's UID
Since = Mapping[Place, str | None]


@dataclass(frozen=True, slots=True)
class NodeSources:
    """What a node is made of. `masks` are the stranded slots of its usable GPUs for what is in demand, None where
    nothing is.
    """

    report: NodeReport
    facts: NodeFacts | None
    parts: tuple[object, ...]
    usable: Sequence[tuple[str, GpuState]]
    demanded: frozenset[str]
    masks: tuple[int, ...] | None

    def is_same(self, other: "NodeSources | None") -> bool:
        """Whether a node made of these would be the same."""
        return (
            other is not None
            and self.report is other.report
            and self.facts is other.facts
            and self.masks == other.masks
            and len(self.parts) == len(other.parts)
            and all(one is another for one, another in zip(self.parts, other.parts, strict=True))
        )


@dataclass(slots=True)
class ShownNode:
    """A node as it is shown, what it is made of, since when its slices are there, and whose they are by namespace.

    `held` is by namespace: slices, and their memory in MiB; None where that is not known.
    """

    sources: NodeSources
    node: OverviewNode
    since: Since
    held: Mapping[str, tuple[int, int | None]]
    illness: Mapping[str, str]  # since when, by GPU


class NodeReader:
    """Reads nodes out of one state."""

    def __init__(self, state: ClusterCache) -> None:
        self._state = state

    def sources(
        self, report: NodeReport, demanded: frozenset[str], before: NodeSources | None, *, is_closed: bool
    ) -> NodeSources:
        """What a node is made of now, and was `before`."""
        inventory, pods = self._state.inventory, self._state.pods
        claims = tuple(inventory.ledger.on_node(report.node))
        usable = inventory.usable(report.node)
        if before is not None and usable is before.usable and demanded == before.demanded:
            masks = before.masks
        else:
            masks = tuple(room.stranded_mask(*state, demanded) for _, state in usable) if demanded else None
        of_pods = [pods.get(claim.uid) for claim in claims]
        parts = (*claims, *of_pods, inventory.conflicts(report.node), is_closed)
        return NodeSources(report, self._state.nodes.get(report.node), parts, usable, demanded, masks)

    def read(self, sources: NodeSources, before: Since | None, now: str) -> ShownNode:
        """A node as it is shown. `before` is since when its slices were there, None for one that was not looked at."""
        report, inventory = sources.report, self._state.inventory
        view = snapshot.view(inventory, report)
        usable = [uuid for uuid, _ in inventory.usable(report.node)]
        masks = dict(zip(usable, sources.masks, strict=True)) if sources.masks is not None else None
        since: dict[Place, str | None] = {}
        held: dict[str, tuple[int, int | None]] = {}
        gpus = []
        for gpu, seen in zip(view.gpus, report.gpus, strict=True):
            slices = []
            for occupant in _seen(gpu):
                place = _place(gpu, occupant)
                since[place] = before.get(place, now) if before is not None else None
                slices.append(self._slice(seen, occupant, since[place]))
                if occupant.namespace and not holds.is_hold(occupant.uid):
                    _count(held, gpu, occupant)
            gpus.append(_gpu(gpu, seen, slices, masks))
        closed = self._state.why_closed(report.node)
        known = sources.facts is not None
        node = OverviewNode(
            name=report.node,
            ready=None if not known else not closed,
            message=shown(report.problem or closed, MAX_MESSAGE),
            gpus=gpus,
        )
        illness = {gpu.uuid: gpu.illness.since for gpu in report.gpus if gpu.illness is not None}
        return ShownNode(sources, node, since, held, illness)

    def _slice(self, seen: GpuReport, occupant: Occupant, since: str | None) -> OverviewSlice:
        state = _STATES.get(occupant.state, OverviewSliceState.ALLOCATED)
        kept = holds.is_hold(occupant.uid)
        there = next((slice_ for slice_ in seen.slices if slice_.placement == occupant.placement), None)
        if kept:
            state = OverviewSliceState.KEPT
        elif there is not None and there.illness is not None:
            state = OverviewSliceState.ILL
        pod = self._state.pods.get(occupant.uid)
        return OverviewSlice(
            profile=occupant.placement.profile,
            start=occupant.placement.start,
            size=occupant.placement.size,
            state=state,
            namespace=None if kept else occupant.namespace or None,
            pod=None if kept else occupant.pod or None,
            container=None if kept else occupant.container or None,
            since=since,
            unused_since=None if kept or there is None else shown(there.unused_since or "", MAX_MESSAGE) or None,
            movable=None if pod is None or kept else not movability.why_not(self._state, pod),
            owner=None if pod is None or kept else pod.service,
        )


def _seen(gpu: GpuView) -> list[Occupant]:
    """What is on a GPU, without idle slices where something is promised: they go, or are what is promised."""
    claimed = [one.placement for one in gpu.occupants if one.uid]
    idle = SliceState.IDLE.value
    return [
        one for one in gpu.occupants if one.state != idle or not any(one.placement.overlaps(other) for other in claimed)
    ]


def _place(gpu: GpuView, occupant: Occupant) -> Place:
    return gpu.uuid, occupant.placement.profile, occupant.placement.start, occupant.uid


def _count(held: dict[str, tuple[int, int | None]], gpu: GpuView, occupant: Occupant) -> None:
    slices, mib = held.get(occupant.namespace, (0, 0))
    profile = gpu.catalogue.by_name.get(occupant.placement.profile) if gpu.catalogue is not None else None
    more = profile.memory_mib if profile is not None else None
    held[occupant.namespace] = slices + 1, None if mib is None or more is None else mib + more


def _gpu(gpu: GpuView, seen: GpuReport, slices: list[OverviewSlice], masks: Mapping[str, int] | None) -> OverviewGpu:
    mask = masks.get(gpu.uuid, 0) if masks is not None else None
    return OverviewGpu(
        uuid=gpu.uuid,
        index=gpu.index,
        model=gpu.model or shown(gpu.product, MAX_MESSAGE),
        memory_slices=gpu.memory_slices or None,
        mig=seen.mig_mode is MigMode.ENABLED,
        state=_state(gpu, seen),
        message=shown(gpu.problem, MAX_MESSAGE),
        stranded=None if mask is None else [slot for slot in range(gpu.memory_slices) if mask >> slot & 1],
        slices=slices,
    )


def _state(gpu: GpuView, seen: GpuReport) -> OverviewGpuState:
    if seen.message.startswith(_OUT_OF_SERVICE):
        return OverviewGpuState.OUT_OF_SERVICE
    if not seen.healthy:
        return OverviewGpuState.ILL
    if seen.catalogue is None or (seen.usable and gpu.problem):
        return OverviewGpuState.UNKNOWN
    return OverviewGpuState.OK
