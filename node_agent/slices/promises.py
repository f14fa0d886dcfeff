"""Promises: which promised placements the kubelet has still to hand out. Pure; asked through Observation.

Promises of one profile are interchangeable: when the kubelet gave a pod what was promised to another, the other one
inherits the place that the first was promised. Otherwise that room would count as free.

Nothing is outstanding for a pod that the kubelet has admitted: it has all devices that it will ever get. What it was
promised and does not have, other pods inherit.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from allocator import errors
from allocator.claims.placement_annotation import Promise
from allocator.mig.catalogue import Catalogue
from allocator.mig.profile import GpuPlacement
from node_agent.cluster import pods
from node_agent.cluster.pods import PodView
from node_agent.slices import device_ids
from node_agent.slices.ownership import Assigned, Assignment, Holder
from node_agent.slices.states import Record


@dataclass(frozen=True, slots=True)
class OutstandingPromise:
    """A placement promised to a container of a pod that does not have it yet."""

    pod: PodView
    container: str
    place: GpuPlacement


def outstanding(
    node_pods: Mapping[str, PodView],
    held: Mapping[GpuPlacement, Record],
    holders: Mapping[tuple[str, str], Holder],
    catalogues: Mapping[str, Catalogue],
    assigned: Assigned | None = None,
) -> list[OutstandingPromise]:
    """Promises that still have to be kept, first come first. Those that name no placement of this node are left out.

    `held` are the records of slices that containers have, `assigned` whom the kubelet's checkpoint names with which
    device. Where it is not known, a slice without an owner is that of the pod that was promised its place.
    """
    listed: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for device, holder in holders.items():
        listed.setdefault((holder.namespace, holder.pod), set()).add(device)
    owned: dict[str, set[tuple[str, str]]] = {}
    for at_place, record in held.items():
        if record.owner is not None:
            device = (device_ids.resource(at_place), device_ids.device_id(at_place))
            owned.setdefault(record.owner.uid, set()).add(device)
    unmet_promises: list[OutstandingPromise] = []
    unnamed: list[OutstandingPromise] = []  # met by a slice of which it is not known whose it is
    vacated: list[GpuPlacement] = []
    strays: list[GpuPlacement] = []  # vacated for a slice that is never listed
    for pod in pods.in_order(p for p in node_pods.values() if p.waits and p.promises):
        possible = [
            OutstandingPromise(pod, promise.container, at)
            for promise in pod.promises
            if (at := place(promise, catalogues)) is not None
        ]
        given = listed.get((pod.namespace, pod.name), set()) | owned.get(pod.uid, set())
        unmet, elsewhere = _unmet(pod, possible, held, given, assigned)
        vacated += elsewhere
        if pod.started:
            strays += [promise.place for promise in unmet if promise.place not in held]
        else:
            unmet_promises += unmet
            unnamed += [promise for promise in possible if _is_unnamed(held.get(promise.place))]
    return [*_swapped(unmet_promises, vacated, held), *_inherited(unnamed, strays, unmet_promises)]


def _is_unnamed(record: Record | None) -> bool:
    return record is not None and record.owner is None


def _inherited(
    unnamed: Sequence[OutstandingPromise], strays: Sequence[GpuPlacement], unmet: Sequence[OutstandingPromise]
) -> list[OutstandingPromise]:
    """A started pod's slice that is never listed, and does not lie where it was promised, lies where another pod was
    promised one of that profile: that pod gets the place that was left.
    """
    inherited: list[OutstandingPromise] = []
    waiting = list(unnamed)
    for stray in strays:
        heir = next(
            (promise for promise in waiting if promise.place.placement.profile == stray.placement.profile), None
        )
        if heir is not None and not any(stray.overlaps(promise.place) for promise in unmet):
            waiting.remove(heir)
            inherited.append(OutstandingPromise(heir.pod, heir.container, stray))
    return inherited


def _swapped(
    unmet: Sequence[OutstandingPromise], vacated: Sequence[GpuPlacement], held: Mapping[GpuPlacement, Record]
) -> list[OutstandingPromise]:
    """Promises on places that another pod has by now lie where a pod with such a slice elsewhere was promised one."""
    free = [place for place in vacated if place not in held]
    swapped = []
    for promise in unmet:
        if promise.place in held:
            profile = promise.place.placement.profile
            inherited = next((place for place in free if place.placement.profile == profile), None)
            if inherited is not None:
                free.remove(inherited)
                swapped.append(OutstandingPromise(promise.pod, promise.container, inherited))
                continue
        swapped.append(promise)
    return swapped


def problem(pod: PodView, gpus: Mapping[str, Catalogue | None]) -> str | None:
    """Why a pod's promises cannot be kept on a node with these GPUs (by UUID), in words; None if they can."""
    for promise in pod.promises:
        if promise.gpu not in gpus:
            return f"its placement names GPU {promise.gpu[:80]!r}, which this node does not have"
        catalogue = gpus[promise.gpu]
        if catalogue is None:
            continue
        try:
            catalogue.placement(promise.profile, promise.start)
        except errors.CatalogueError as error:
            return f"its placement cannot exist: {error}"
    return pod.problem


def place(promise: Promise, catalogues: Mapping[str, Catalogue]) -> GpuPlacement | None:
    """The place that a promise names; None where GPUs with these catalogues do not have it."""
    try:
        return GpuPlacement(promise.gpu, catalogues[promise.gpu].placement(promise.profile, promise.start))
    except (KeyError, errors.CatalogueError):
        return None


def _unmet(
    pod: PodView,
    possible: Sequence[OutstandingPromise],
    held: Mapping[GpuPlacement, Record],
    given: Collection[tuple[str, str]],
    assigned: Assigned | None,
) -> tuple[list[OutstandingPromise], list[GpuPlacement]]:
    """The promises of a pod that nothing it has stands for, and the places of those for which it got another one.

    `given` are the devices, by resource and id, that it is known to have.
    """
    unmet: list[OutstandingPromise] = []
    vacated: list[GpuPlacement] = []
    promised_ids = {device_ids.device_id(promise.place) for promise in possible}
    elsewhere = Counter(resource for resource, device_id in given if device_id not in promised_ids)
    for promise in possible:
        record = held.get(promise.place)
        resource = device_ids.resource(promise.place)
        device = (resource, device_ids.device_id(promise.place))
        if record is not None and _is_its(record, pod, None if assigned is None else assigned.get(device, ())):
            continue
        if elsewhere[resource]:
            elsewhere[resource] -= 1
            vacated.append(promise.place)
            continue
        unmet.append(promise)
    return unmet, vacated


def _is_its(record: Record, pod: PodView, assignments: Collection[Assignment] | None) -> bool:
    if record.owner is not None:
        return record.owner.uid == pod.uid
    return assignments is None or any(assignment.uid == pod.uid for assignment in assignments)
