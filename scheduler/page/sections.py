"""The sections of the overview about all nodes together, each made of the state as it is now. Called by `watcher`.

Every figure is the one engine's: what could start and what is stranded is the fleet's, why a pod waits is `explain`'s.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from allocator.mig import profile as profiles_of
from allocator.mig.profile import Profile
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.scheduling_facts import shown
from scheduler.explain import pending
from scheduler.page.document import (
    MOST_HEALTH,
    MOST_WAITING,
    OverviewGpuState,
    OverviewHealth,
    OverviewProfile,
    OverviewSliceState,
    OverviewTotals,
    OverviewWaiting,
)
from scheduler.page.node_reader import ShownNode
from scheduler.page.outlook import Outlook

MAX_MESSAGE = 600  # characters


def profiles(state: ClusterCache, outlook: Outlook, closed: Collection[str]) -> list[OverviewProfile]:
    """What could start now on nodes that are not closed, small profiles first; models that share one, together."""
    listed: dict[str, Profile] = {}
    for geometry in state.inventory.fleet.geometries:
        for one in geometry.catalogue.profiles:
            listed.setdefault(one.name, one)
    now: dict[str, int] = {}
    for (_, name), number in state.inventory.fleet.placeable(closed).items():
        now[name] = now.get(name, 0) + number
    rows = []
    for one in sorted(listed.values(), key=lambda one: (one.memory_slices, one.compute_slices, one.name)):
        with_moves, limit = outlook.with_moves(one.name)
        could = now.get(one.name, 0)
        rows.append(
            OverviewProfile(
                name=one.name,
                resource=profiles_of.resource_name(one.name),
                memory_slices=one.memory_slices,
                memory_mib=one.memory_mib,
                could_start=could,
                with_moves=None if with_moves is None else max(could, with_moves),
                limit=limit,
            )
        )
    return rows


def totals(state: ClusterCache, demanded: frozenset[str]) -> OverviewTotals:
    """Of all GPUs that take slices."""
    fleet = state.inventory.fleet
    free_and_stranded = fleet.free_and_stranded(demanded)
    everything = sum(fleet.memory_slices().values())
    free = sum(free for free, _ in free_and_stranded.values())
    stranded = sum(stranded for _, stranded in free_and_stranded.values()) if demanded else None
    return OverviewTotals(
        gpus=sum(len(fleet.gpus(node)) for node in fleet.rows),
        memory_slices=everything,
        used=everything - free,
        free=free,
        stranded=stranded,
        stranded_share=None if stranded is None else round(stranded / free, 4) if free else 0.0,
        utilisation=round((everything - free) / everything, 4) if everything else None,
    )


async def waiting(state: ClusterCache, outlook: Outlook) -> tuple[list[OverviewWaiting], int]:
    """The pods that wait, the oldest first, and how many they are."""
    answer = await pending.pending(state, limit=MOST_WAITING, within_s=1.0)
    return [_waiting(state, pod, outlook) for pod in answer["pods"]], answer["pending"]


def _waiting(state: ClusterCache, pod: Mapping[str, Any], outlook: Outlook) -> OverviewWaiting:
    uid = str(pod["uid"])
    queued, known = state.queue.get(uid), state.pods.get(uid)
    remedy, is_known = outlook.remedy(uid)
    return OverviewWaiting(
        pod=f"{pod['namespace']}/{pod['pod']}",
        uid=uid,
        requests=dict(known.request.counts) if known is not None and known.request else {},
        priority=pod["priority"],
        since=pod["since"] or None,
        position=pod["queue_position"],
        code=str(pod["code"]),
        message=shown(pod["reason"], MAX_MESSAGE),
        gang=queued.gang.name if queued is not None and queued.gang is not None else None,
        remedy=remedy,
        remedy_known=is_known,
    )


def health(nodes: Iterable[ShownNode], silent: Iterable[str]) -> list[OverviewHealth]:
    """What is wrong with nodes and GPUs; `silent` are nodes with pods of which there is no report."""
    said = "pods have slices there, and there is no report of its agent"
    found = [OverviewHealth(name, None, "no_report", said, None) for name in silent]
    for shown_node in nodes:
        node = shown_node.node
        if shown_node.sources.report.problem:
            found.append(OverviewHealth(node.name, None, "bad_report", node.message, None))
        elif node.ready is False:
            found.append(OverviewHealth(node.name, None, "closed", node.message, None))
        for gpu in node.gpus:
            since = shown_node.illness.get(gpu.uuid)
            if gpu.state is not OverviewGpuState.OK:
                found.append(OverviewHealth(node.name, gpu.uuid, gpu.state.value, gpu.message, since))
            elif not gpu.mig:
                found.append(OverviewHealth(node.name, gpu.uuid, "no_mig", gpu.message, since))
            ill = [slice_ for slice_ in gpu.slices if slice_.state is OverviewSliceState.ILL]
            if ill:
                places = ", ".join(f"{slice_.profile}@{slice_.start}" for slice_ in ill)
                found.append(OverviewHealth(node.name, gpu.uuid, "ill_slice", f"slices are ill: {places}", since))
        if len(found) >= MOST_HEALTH:
            break
    return found[:MOST_HEALTH]
