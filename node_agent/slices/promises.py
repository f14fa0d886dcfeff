"""Demand: which promised placements the kubelet has still to hand out. Pure; used by agent and steering.

Promises of one profile are interchangeable: when the kubelet gave a pod what was promised to another, the other one
inherits the place that the first was promised. Otherwise that room would count as nobody's.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from allocator import errors
from allocator.claims.contract import Promise
from allocator.mig.catalogue import Catalogue
from allocator.mig.profile import GpuPlacement
from node_agent.cluster import pods
from node_agent.cluster.pods import PodView
from node_agent.slices import device_ids, states
from node_agent.slices.ownership import PodResourcesView
from node_agent.slices.states import Record


@dataclass(frozen=True, slots=True)
class OutstandingPromise:
    """A placement promised to a container of a pod that does not have it yet."""

    pod: PodView
    container: str
    place: GpuPlacement


def outstanding(
    found: Mapping[str, PodView],
    records: Mapping[GpuPlacement, Record],
    listing: PodResourcesView | None,
    catalogues: Mapping[str, Catalogue],
) -> list[OutstandingPromise]:
    """Promises that still have to be kept, first come first. Those that name no placement of this node are left out."""
    listed = Counter(
        (h.namespace, h.pod, resource, one)
        for (resource, one), h in (listing.holders if listing is not None else {}).items()
    )
    left: list[OutstandingPromise] = []
    vacated: list[GpuPlacement] = []
    for pod in pods.in_order(p for p in found.values() if p.waits and p.promises):
        mine = [p for p in (_place(one, pod, catalogues) for one in pod.promises) if p is not None]
        unmet, elsewhere = _unmet(pod, mine, records, listed)
        left += unmet
        vacated += elsewhere
    return _swapped(left, vacated, records)


def _swapped(
    left: Sequence[OutstandingPromise], vacated: Sequence[GpuPlacement], records: Mapping[GpuPlacement, Record]
) -> list[OutstandingPromise]:
    """Promises on places that another pod has by now lie where a pod with such a slice elsewhere was promised one."""
    free = [one for one in vacated if not _is_held(records.get(one))]
    swapped = []
    for one in left:
        if _is_held(records.get(one.place)):
            profile = one.place.placement.profile
            place = next((other for other in free if other.placement.profile == profile), None)
            if place is not None:
                free.remove(place)
                swapped.append(OutstandingPromise(one.pod, one.container, place))
                continue
        swapped.append(one)
    return swapped


def _is_held(record: Record | None) -> bool:
    return record is not None and record.state in states.HELD


def problem(pod: PodView, gpus: Mapping[str, Catalogue | None]) -> str:
    """Why a pod's promises cannot be kept on a node with these GPUs (by UUID), whatever else is on them."""
    for one in pod.promises:
        if one.gpu not in gpus:
            return f"its placement names GPU {one.gpu[:80]!r}, which this node does not have"
        catalogue = gpus[one.gpu]
        if catalogue is None:
            continue
        try:
            catalogue.placement(one.profile, one.start)
        except errors.CatalogueError as error:
            return f"its placement cannot exist: {error}"
    return pod.problem


def _place(one: Promise, pod: PodView, catalogues: Mapping[str, Catalogue]) -> OutstandingPromise | None:
    try:
        return OutstandingPromise(
            pod, one.container, GpuPlacement(one.gpu, catalogues[one.gpu].placement(one.profile, one.start))
        )
    except (KeyError, errors.CatalogueError):
        return None


def _unmet(
    pod: PodView,
    mine: Sequence[OutstandingPromise],
    records: Mapping[GpuPlacement, Record],
    listed: Counter[tuple[str, str, str, str]],
) -> tuple[list[OutstandingPromise], list[GpuPlacement]]:
    """The promises of a pod that nothing it has stands for, and the places of those for which it got another one."""
    unmet: list[OutstandingPromise] = []
    vacated: list[GpuPlacement] = []
    promised_ids = {device_ids.device_id(one.place) for one in mine}
    elsewhere = Counter(
        resource
        for (namespace, name, resource, one), _ in listed.items()
        if (namespace, name) == (pod.namespace, pod.name) and one not in promised_ids
    )
    for one in mine:
        record = records.get(one.place)
        resource = device_ids.resource(one.place)
        if record is not None and record.state in states.HELD and _is_its(record, pod):
            continue
        if elsewhere[resource]:
            elsewhere[resource] -= 1
            vacated.append(one.place)
            continue
        unmet.append(one)
    return unmet, vacated


def _is_its(record: Record, pod: PodView) -> bool:
    return record.owner is None or record.owner.uid == pod.uid
