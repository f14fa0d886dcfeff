"""Reservation: the places that are kept for a unit (a pod or a gang) that has waited long, and what they leave.

How long pods run is not known. So the places are taken whose draining costs least: the fewest memory slices in use by
others inside them. Never on a GPU or node that the pod may not use, and never where something lies that is no pod's.
Pure; `reservations` keeps those that stand.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from allocator.claims.inventory import Inventory
from allocator.mig.geometry import Geometry
from allocator.mig.profile import Placement
from allocator.placement import fitting
from allocator.placement.room import LeftRoom
from allocator.queueing import draining
from allocator.queueing.holding import NodeRules
from allocator.queueing.queued_pod import Order, QueuedPod
from allocator.request import Request

ASKED = 256  # nodes that are asked whether they take a pod, the most promising first
LOOKED_AT = 16  # of them that are looked at closely
MAX_UNIT = 16  # pods of a unit that can have a reservation: larger gangs have none


@dataclass(frozen=True, slots=True)
class ReservedPlace:
    """A place that is kept for one slice of a pod (UID)."""

    uid: str
    container: str
    node: str
    gpu: str
    placement: Placement


_PlacesByNode = Mapping[str, Sequence[ReservedPlace]]


@dataclass(frozen=True, slots=True)
class Reservation:
    """Places for all slices of a unit. `order` is where its first pod stands in the queue, `pods` are all of them.

    `holders` are the pods (UIDs) that have to leave before all of it is free, `cost` the memory slices that these use
    in it.
    """

    order: Order
    pods: frozenset[str]
    places: tuple[ReservedPlace, ...]
    holders: frozenset[str]
    cost: int


def reserve(
    inventory: Inventory,
    unit: Sequence[QueuedPod],
    rules: NodeRules,
    kept: Iterable[ReservedPlace] = (),
    lasting: frozenset[str] = frozenset(),
) -> Reservation | None:
    """A reservation for a unit that found no place; None if there is none for all of its pods.

    `kept` are places that are reserved for others, `lasting` pods (UIDs) that are not waited for. The pods of a gang
    get theirs one after the other, the largest first. The cost is the least there is for a pod of one slice; for
    others as far as the most promising nodes say.
    """
    if len(unit) > MAX_UNIT:
        return None
    places, cost = list[ReservedPlace](), 0
    known: _Known = {}
    for pod in sorted(unit, key=lambda pod: -len(pod.request.slots)):
        chosen = _cheapest(inventory, pod, rules, _by_node([*kept, *places]), lasting, known)
        if chosen is None:
            return None
        places += chosen.places
        cost += chosen.cost
    if not cost and len(unit) == 1:  # it is free, and yet the pod found no place there: its node has no CPU, say
        return None
    pods = frozenset(pod.uid for pod in unit)
    return Reservation(unit[0].order, pods, tuple(places), _holders(inventory, places, kept), cost)


def followed(
    inventory: Inventory, reservation: Reservation, unit: Sequence[QueuedPod], rules: NodeRules
) -> Reservation | None:
    """A reservation as it is now; None if it cannot stay: a GPU or node of it is lost, or somebody else got in."""
    pods = {pod.uid: pod for pod in unit}
    if pods.keys() != reservation.pods:
        return None
    eligible = {uid: frozenset(rules.eligible(pod)) for uid, pod in pods.items()}
    present, cost = set[str](), 0
    for node, places in _by_node(reservation.places).items():
        gpus = _gpus(inventory, node)
        for place in places:
            if node not in eligible[place.uid] or place.gpu not in gpus:
                return None
            taken = gpus[place.gpu].reserve(place.placement)
            if taken is None:
                return None
            cost += taken
        for gpu in gpus.values():
            if gpu.later(reservation.holders) is None:
                return None
            present |= {uid for uid, _ in gpu.used}
    holders = reservation.holders & present
    return Reservation(reservation.order, reservation.pods, reservation.places, holders, cost)


def left(inventory: Inventory, node: str, reservations: Iterable[Reservation]) -> LeftRoom:
    """What reservations leave of a node's GPUs to others: what is legal now, and still so beside each of them and
    beside all of them, once those have left that they wait for.
    """
    kept = [(made, [place for place in made.places if place.node == node]) for made in reservations]
    together = [place for _, places in kept for place in places]
    parties = [(made.holders, places) for made, places in kept if places]
    if len(parties) > 1:
        parties.append((frozenset().union(*(holders for holders, _ in parties)), together))
    rooms = inventory.gpus_without(node, frozenset())
    states = {place.gpu: rooms[place.gpu] for place in together if place.gpu in rooms}
    for holders, places in parties:
        gpus = _gpus(inventory, node)
        legal = {
            place.gpu for place in places if place.gpu in gpus and gpus[place.gpu].reserve(place.placement) is not None
        }
        for uuid in legal:
            kind, state = states[uuid]
            later = gpus[uuid].later(holders)
            states[uuid] = (kind, state if later is None else draining.common(kind, state, later))
    return states


def common_room(first: LeftRoom, second: LeftRoom) -> LeftRoom:
    """What two parties leave together."""
    rooms = {**first, **second}
    for uuid in first.keys() & second.keys():
        one, other = first[uuid], second[uuid]
        both = one is not None and other is not None and one[0] is other[0]
        rooms[uuid] = (one[0], draining.common(one[0], one[1], other[1])) if both else None  # type: ignore[index]
    return rooms


@dataclass(slots=True)
class _Gpu:
    """A GPU with what stays in it, in a state, and the slices of pods (UIDs) that may leave."""

    geometry: Geometry
    fixed: int
    used: list[tuple[str, Placement]] = field(default_factory=list)
    mask: int = 0  # memory slices of the places that are reserved in it

    def drain(self, profile: str) -> draining.Drain | None:
        """The place of a profile that costs least."""
        return draining.drain(self.geometry, self.fixed, [place for _, place in self.used], profile)

    def reserve(self, placement: Placement) -> int | None:
        """Keep a place from now on: the memory slices that others use in it; None if that is not legal beside what
        stays.
        """
        index = self.geometry.placement_index.get(placement)
        after = -1 if index is None else int(self.geometry.step[self.fixed, index])
        if after < 0:
            return None
        self.fixed = after
        self.mask |= placement.mask
        return sum((place.mask & placement.mask).bit_count() for _, place in self.used)

    def holders(self) -> set[str]:
        """The pods that have to leave before all that is kept is free. Of those that only a limit of the whole GPU puts
        in the way, the first may stay.
        """
        gone = {uid for uid, place in self.used if place.mask & self.mask}
        state = self.fixed
        for uid, place in self.used:
            after = -1 if uid in gone else int(self.geometry.step[state, self.geometry.placement_index[place]])
            if after < 0:
                gone.add(uid)
            else:
                state = after
        return gone

    def later(self, gone: frozenset[str]) -> int | None:
        """The state once these have left; None if the others do not fit beside what is kept."""
        state = self.fixed
        for uid, place in self.used:
            if uid not in gone:
                state = int(self.geometry.step[state, self.geometry.placement_index[place]])
                if state < 0:
                    return None
        return state


@dataclass(slots=True)
class _Choice:
    places: list[ReservedPlace]
    cost: int


_Known = dict[tuple[str, Request, tuple[ReservedPlace, ...]], _Choice | None]


def _by_node(places: Iterable[ReservedPlace]) -> _PlacesByNode:
    nodes: dict[str, list[ReservedPlace]] = {}
    for place in places:
        nodes.setdefault(place.node, []).append(place)
    return nodes


def _holders(inventory: Inventory, places: Iterable[ReservedPlace], kept: Iterable[ReservedPlace]) -> frozenset[str]:
    holders = set[str]()
    for node, on_node in _by_node(places).items():
        gpus = _gpus(inventory, node, [place for place in kept if place.node == node])
        for place in on_node:
            gpus[place.gpu].reserve(place.placement)
        holders |= set().union(*(gpus[uuid].holders() for uuid in {place.gpu for place in on_node}))
    return frozenset(holders)


def _gpus(
    inventory: Inventory, node: str, kept: Iterable[ReservedPlace] = (), lasting: frozenset[str] = frozenset()
) -> dict[str, _Gpu]:
    """The usable GPUs of a node; places of it that are `kept`, and `lasting` pods, stay in them."""
    claims = [claim for claim in inventory.ledger.on_node(node) if claim.uid not in lasting]
    gpus = {
        uuid: _Gpu(kind, state)
        for uuid, (kind, state) in inventory.gpus_without(node, frozenset(claim.uid for claim in claims)).items()
    }
    for claim in claims:
        for hold in claim.holds:
            if hold.gpu in gpus:
                gpus[hold.gpu].used.append((claim.uid, hold.placement))
    for place in kept:
        if place.gpu in gpus and gpus[place.gpu].reserve(place.placement) is None:
            del gpus[place.gpu]
    for gpu in gpus.values():
        gpu.mask = 0
    return gpus


def _cheapest(
    inventory: Inventory,
    pod: QueuedPod,
    rules: NodeRules,
    kept: _PlacesByNode,
    lasting: frozenset[str],
    known: _Known,
) -> _Choice | None:
    """The best node for one pod: of those that take it as they are, else of the others."""
    names = rules.eligible(pod)
    bounds = _bounds(inventory, pod, names)
    order = np.argsort(bounds, kind="stable")
    best: _Choice | None = None
    for must_take in (True, False):
        looked_at = 0
        for position in order[:ASKED].tolist():
            bound = bounds.item(position)
            if bound == np.inf or looked_at == LOOKED_AT or (best is not None and bound >= best.cost):
                break
            node = names[position]
            if must_take and not rules.takes(pod, node):
                continue
            looked_at += 1
            key = (node, pod.request, tuple(kept.get(node, ())))
            if key not in known:  # the pods of a gang mostly ask the same
                known[key] = _on_node(inventory, pod, node, kept.get(node, ()), lasting)
            choice = known[key]
            if choice is not None and (best is None or choice.cost < best.cost) and (must_take or choice.cost):
                best = choice
        if best is not None:
            return _Choice([replace(place, uid=pod.uid) for place in best.places], best.cost)
    return None


def _bounds(inventory: Inventory, pod: QueuedPod, names: Sequence[str]) -> draining.Costs:
    """Per node, no more than what a place for the pod costs there; inf where it has none even when empty."""
    rows = inventory.fleet.rows_of(names)
    total = np.zeros(len(names))
    for profile, number in pod.request.counts:
        total += number * inventory.fleet.least(partial(draining.costs, profile=profile), rows)
    return total


def _on_node(
    inventory: Inventory, pod: QueuedPod, node: str, kept: Iterable[ReservedPlace], lasting: frozenset[str]
) -> _Choice | None:
    """Places for all slices of a pod on a node: the large ones first, each where it costs least; where that does not
    come out, as the policy would place them on the empty node.
    """
    gpus = _gpus(inventory, node, kept, lasting)
    choice = _Choice([], 0)
    slots = sorted(pod.request.slots, key=lambda slot: (-_size(gpus.values(), slot.profile), slot))
    for slot in slots:
        drains = ((uuid, gpu.drain(slot.profile)) for uuid, gpu in gpus.items())
        possible = [(drain.cost, len(drain.blockers), uuid, drain) for uuid, drain in drains if drain is not None]
        if not possible:
            return _as_if_empty(inventory, pod, node, _gpus(inventory, node, kept, lasting))
        _, _, uuid, drain = min(possible, key=lambda option: option[:2])
        _take(choice, pod.uid, slot.container, node, uuid, gpus[uuid], drain.placement)
    return choice


def _as_if_empty(inventory: Inventory, pod: QueuedPod, node: str, gpus: Mapping[str, _Gpu]) -> _Choice | None:
    uuids = tuple(gpus)
    try:
        placed = fitting.place(
            [(gpu.geometry, gpu.fixed) for gpu in gpus.values()], pod.request, inventory.fleet.policy
        )
    except fitting.TooComplexError:
        return None
    if placed is None or not gpus:
        return None
    choice = _Choice([], 0)
    for slot, slice_ in zip(pod.request.slots, placed, strict=True):
        uuid = uuids[slice_.gpu]
        _take(choice, pod.uid, slot.container, node, uuid, gpus[uuid], slice_.placement)
    return choice


def _take(choice: _Choice, uid: str, container: str, node: str, uuid: str, gpu: _Gpu, placement: Placement) -> None:
    choice.cost += gpu.reserve(placement) or 0
    choice.places.append(ReservedPlace(uid, container, node, uuid, placement))


def _size(gpus: Iterable[_Gpu], profile: str) -> int:
    return max(
        (gpu.geometry.catalogue.by_name[profile].memory_slices for gpu in gpus if _offers(gpu, profile)), default=0
    )


def _offers(gpu: _Gpu, profile: str) -> bool:
    return profile in gpu.geometry.profile_index
