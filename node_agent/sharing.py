"""Sharing out: which slices a container sees, when it asks for slices of several profiles. Pure; used by injection and
allocation.

The kubelet asks for each resource by itself and does not say for which container, and of several CDI devices the last
NVIDIA_VISIBLE_DEVICES wins. So every CDI name that a container gets must mean all of its slices. Whose a name is,
PodResources tells only after the kubelet was answered. Until then a name that may belong to such a container is left
without a specification: the runtime refuses a container whose device it does not know, and the kubelet tries again.
A guess could show one container the slice of another.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from node_agent import slices
from node_agent.pods import PodView
from node_agent.slices import Place, Record


def seen_with(
    places: Sequence[Place], records: Mapping[Place, Record], pods: Mapping[str, PodView]
) -> tuple[Place, ...] | None:
    """All slices that the container with these ones (given to it in one go) sees; None while nobody can tell.

    Containers that PodResources never lists, ordinary init containers, see what they were given in one go.
    """
    owners = {records[one].owner for one in places}
    owner = next(iter(owners)) if len(owners) == 1 else None
    if owner is None:
        asked = {one.placement.profile for one in places}
        return None if any(_lacks(pod, records, asked) for pod in pods.values()) else tuple(sorted(places))
    mine = sorted(place for place, one in records.items() if one.state in slices.HELD and one.owner == owner)
    pod = pods.get(owner.uid)
    wanted = pod.mixed.get(owner.container) if pod is not None else None
    if wanted and wanted - Counter(place.placement.profile for place in mine):
        return None
    return tuple(mine)


def _lacks(pod: PodView, records: Mapping[Place, Record], asked: set[str]) -> bool:
    """Whether a container of the pod asks for several profiles and is not known to have all of one of these."""
    if not pod.waits:
        return False
    for container, wanted in pod.mixed.items():
        has = Counter(
            place.placement.profile
            for place, one in records.items()
            if one.owner is not None and (one.owner.uid, one.owner.container) == (pod.uid, container)
        )
        if any(wanted[profile] > has[profile] for profile in asked):
            return True
    return False
