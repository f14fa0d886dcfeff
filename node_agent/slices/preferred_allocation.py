"""Steering: which devices the kubelet should pick. Pure; called by agent for GetPreferredAllocation.

The kubelet does not say for which pod it asks. Promises of one profile on one node are interchangeable, so any that
is outstanding will do; PodResources tells afterwards who got what. Where no promise can be kept, a place is chosen
as the scheduler would, beside what is taken and what is promised to others.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from allocator import errors
from allocator.mig.profile import GpuPlacement, Placement
from allocator.placement import fitting, policy
from allocator.placement.fitting import GpuState
from node_agent.slices import device_ids, observed
from node_agent.slices.observed import ObservedNode
from node_agent.slices.promises import OutstandingPromise

_TRIES = 8  # how often a place that the kubelet no longer offers is passed over


@dataclass(frozen=True)
class AllocationContext:
    """What steering goes by: the GPUs, the placements that stay on them whatever comes, and promises to be kept.

    `promisees` are pods (by UID) by the device ids promised to them, kept or not.
    """

    view: ObservedNode
    taken: frozenset[GpuPlacement]
    promised: Sequence[OutstandingPromise]
    promisees: Mapping[str, str] = field(default_factory=dict)


def prefer(now: AllocationContext, profile: str, available: Iterable[str], must: Sequence[str], size: int) -> list[str]:
    """The ids the kubelet should take, at most `size`; fewer where there is no room for more."""
    free = set(available) - set(must)
    chosen = list(must)[:size]
    offered = device_ids.offered(now.view.catalogues())
    chosen += _promised(now, profile, free, chosen, size - len(chosen))
    missing = size - len(chosen)
    if missing > 0:
        kept = frozenset(offered[one] for one in chosen if one in offered)
        chosen += _elsewhere(now, profile, free - set(chosen), kept, missing)
    if len(chosen) < size:  # better where one was promised, and what is in the way may be going, than just anywhere
        owed = [device_ids.device_id(one.place) for one in now.promised if one.place.placement.profile == profile]
        chosen += [one for one in dict.fromkeys(owed) if one in free and one not in chosen][: size - len(chosen)]
    return chosen


def _promised(now: AllocationContext, profile: str, free: set[str], chosen: Sequence[str], need: int) -> list[str]:
    """Ids promised to one container: of the pod that has some already, of the right number, of the oldest pod.

    Where these are too few, because another pod got some of them, those promised to others follow: all are owed.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for one in now.promised:
        if one.place.placement.profile == profile and _possible(now, one.place, now.taken):
            found = device_ids.device_id(one.place)
            if found in free:
                groups.setdefault((one.pod.uid, one.container), []).append(found)
    if need <= 0 or not groups:
        return []
    reusing = {now.promisees.get(one) for one in chosen}  # an init container's ids, handed on
    order = {key: n for n, key in enumerate(groups)}
    key = min(groups, key=lambda k: (k[0] not in reusing, len(groups[k]) != need, order[k]))
    others = [one for other, ids in groups.items() if other != key for one in ids]
    return [*groups[key], *others][:need]


def _possible(now: AllocationContext, place: GpuPlacement, kept: Iterable[GpuPlacement]) -> bool:
    gpu = now.view.gpus.get(place.gpu)
    kind = None if gpu is None or not gpu.cuttable else observed.compiled(gpu)
    if kind is None:
        return False
    return observed.legal(kind, (p.placement for p in kept if p.gpu == place.gpu), place.placement)


def room(
    now: AllocationContext, profile: str, number: int = 1, kept: Iterable[GpuPlacement] = ()
) -> tuple[GpuPlacement, ...]:
    """Where that many slices of a profile would go beside everything taken and promised; nothing if they do not fit."""
    kept = {*now.taken, *kept}  # promises that contradict each other: the first counts
    for one in now.promised:
        if _possible(now, one.place, kept):
            kept.add(one.place)
    states = _states(now, kept)
    try:
        placed = fitting.place([state for _, state in states], [profile] * number, policy.DEFAULT)
    except fitting.TooComplexError:
        return ()
    return tuple(GpuPlacement(states[one.gpu][0], one.placement) for one in placed or ())


def _elsewhere(
    now: AllocationContext, profile: str, free: set[str], kept: frozenset[GpuPlacement], need: int
) -> list[str]:
    """Places nobody was promised, as many as are needed or none; those that the kubelet does not offer are avoided."""
    avoid = set(kept)
    for _ in range(_TRIES):
        places = room(now, profile, need, avoid)
        gone = [one for one in places if device_ids.device_id(one) not in free]
        if not gone:
            return [device_ids.device_id(one) for one in places]
        avoid |= set(gone)
    return []


def _states(now: AllocationContext, kept: Iterable[GpuPlacement]) -> list[tuple[str, GpuState]]:
    """The GPUs that can be cut, each in the state that what stays on it makes."""
    by_gpu: dict[str, list[Placement]] = {}
    for place in sorted(set(kept)):
        by_gpu.setdefault(place.gpu, []).append(place.placement)
    states = []
    for uuid, gpu in sorted(now.view.gpus.items(), key=lambda item: item[1].info.index):
        kind = observed.compiled(gpu) if gpu.cuttable else None
        if kind is None:
            continue
        try:
            states.append((uuid, (kind, kind.state_of(by_gpu.get(uuid, ())))))
        except errors.GeometryError:
            continue  # it holds what its catalogue does not explain: nothing new there
    return states
