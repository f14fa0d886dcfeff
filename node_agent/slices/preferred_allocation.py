"""Which devices the kubelet should pick. Pure; called by allocation for GetPreferredAllocation.

The kubelet does not say for which pod it asks. Promises of one profile on one node are interchangeable, so any that
is outstanding will do; PodResources tells afterwards who got what. A promise that only waits for an ended pod's slice
to go is kept, although another place is free: the scheduler may have promised that one to a pod of which the agent has
not heard yet. Where no promise can be kept, a place is chosen as the scheduler would, beside what is taken and what is
promised to others: slices of one container on different GPUs first. Whether a pod asks for them to be packed is not
known here, since it is not known which pod it is.
"""

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet

from allocator import errors
from allocator.mig.profile import GpuPlacement, Placement
from allocator.placement import fitting, policy
from allocator.placement.fitting import GpuState
from allocator.request import Request, SliceRequest
from node_agent.slices import device_ids, observed
from node_agent.slices.observation import Observation

_TRIES = 8  # how often a place that the kubelet no longer offers is passed over


def prefer(
    observation: Observation, profile: str, available: Iterable[str], must: Sequence[str], size: int
) -> list[str]:
    """The ids the kubelet should take, at most `size`; fewer where there is no room for more."""
    free = set(available) - set(must)
    chosen = list(must)[:size]
    for kept in (observation.taken, observation.taken - observation.ended):
        chosen += _promised(observation, profile, free - set(chosen), chosen, size - len(chosen), kept)
    missing = size - len(chosen)
    if missing > 0:
        beside = frozenset(place for place in map(observation.place, chosen) if place is not None)
        chosen += _elsewhere(observation, profile, free - set(chosen), beside, missing)
    if len(chosen) < size:  # better where one was promised, and what is in the way may go, than just anywhere
        owed = [
            device_ids.device_id(promise.place)
            for promise in observation.promised
            if promise.place.placement.profile == profile
        ]
        chosen += [id_ for id_ in dict.fromkeys(owed) if id_ in free and id_ not in chosen][: size - len(chosen)]
    return chosen


def _promised(
    observation: Observation,
    profile: str,
    free: set[str],
    chosen: Sequence[str],
    need: int,
    kept: AbstractSet[GpuPlacement],
) -> list[str]:
    """Ids promised to one container: of the pod that has some already, of the right number, of the oldest pod.

    Where these are too few, because another pod got some of them, those promised to others follow: all are owed.
    `kept` is what stays where it is.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for promise in observation.promised:
        if promise.place.placement.profile == profile and _can_be_handed_out(observation, promise.place, kept):
            promised_id = device_ids.device_id(promise.place)
            if promised_id in free:
                groups.setdefault((promise.pod.uid, promise.container), []).append(promised_id)
    if need <= 0 or not groups:
        return []
    reusing = {observation.promised_to.get(id_) for id_ in chosen}  # an init container's ids, handed on
    held = {device_ids.device_id(place) for place in observation.held}
    order = {key: n for n, key in enumerate(groups)}

    def rank(key: tuple[str, str]) -> tuple[bool, bool, bool, int]:
        """A slice that some container was given comes last, although the kubelet calls it free: it may be mistaken."""
        was_given = key[0] not in reusing and not held.isdisjoint(groups[key])
        return key[0] not in reusing, was_given, len(groups[key]) != need, order[key]

    return [id_ for key in sorted(groups, key=rank) for id_ in groups[key]][:need]


def _can_be_handed_out(observation: Observation, place: GpuPlacement, kept: AbstractSet[GpuPlacement]) -> bool:
    """Whether a slice can be there, or is: an ended pod's, offered before the agent noticed the end."""
    is_ours = place in observation.held and place not in observation.stuck
    if place.gpu in observation.out_of_service and not is_ours:
        return False
    return _possible(observation, place, kept - {place} if is_ours else kept)


def _possible(observation: Observation, place: GpuPlacement, kept: Iterable[GpuPlacement]) -> bool:
    gpu = observation.view.gpus.get(place.gpu)
    geometry = None if gpu is None or not gpu.cuttable else observed.compiled(gpu)
    if geometry is None or observation.closed(place.gpu):
        return False
    return observed.legal(geometry, (p.placement for p in kept if p.gpu == place.gpu), place.placement)


def room(
    observation: Observation,
    profile: str,
    number: int = 1,
    kept: Iterable[GpuPlacement] = (),
    used: AbstractSet[str] = frozenset(),
) -> tuple[GpuPlacement, ...]:
    """Where that many slices of a profile for one container would go beside everything taken and promised; nothing if
    they do not fit.

    A promise is kept although a slice that is about to go lies in its way. `used` are the GPUs (UUIDs) where the
    container has slices already.
    """
    kept = {*(observation.taken - observation.going), *kept}  # promises that contradict each other: the first counts
    for promise in observation.promised:
        if _possible(observation, promise.place, kept):
            kept.add(promise.place)
    kept |= {place for place in observation.going if not any(map(place.overlaps, kept))}
    states = _states(observation, kept)
    request = Request((SliceRequest("", profile),) * number)
    beside = frozenset(index for index, (uuid, _) in enumerate(states) if uuid in used)
    try:
        placed = fitting.place([state for _, state in states], request, policy.DEFAULT, beside)
    except fitting.TooComplexError:
        return ()
    return tuple(GpuPlacement(states[slice_.gpu][0], slice_.placement) for slice_ in placed or ())


def _elsewhere(
    observation: Observation, profile: str, free: set[str], kept: frozenset[GpuPlacement], need: int
) -> list[str]:
    """Places promised to no pod, as many as are needed or none; those that the kubelet does not offer are avoided."""
    avoid, used = set(kept), {place.gpu for place in kept}
    for _ in range(_TRIES):
        places = room(observation, profile, need, avoid, used)
        unavailable = [place for place in places if device_ids.device_id(place) not in free]
        if not unavailable:
            return [device_ids.device_id(place) for place in places]
        avoid |= set(unavailable)
    return []


def _states(observation: Observation, kept: Iterable[GpuPlacement]) -> list[tuple[str, GpuState]]:
    """The GPUs that get new work, each in the state that what stays on it makes."""
    by_gpu: dict[str, list[Placement]] = {}
    for place in sorted(set(kept)):
        by_gpu.setdefault(place.gpu, []).append(place.placement)
    states = []
    for uuid, gpu in sorted(observation.view.gpus.items(), key=lambda item: item[1].info.index):
        open_ = gpu.cuttable and not observation.closed(uuid) and uuid not in observation.out_of_service
        geometry = observed.compiled(gpu) if open_ else None
        if geometry is None:
            continue
        try:
            states.append((uuid, (geometry, geometry.state_of(by_gpu.get(uuid, ())))))
        except errors.GeometryError:
            continue  # it holds what its catalogue does not explain: nothing new there
    return states
