"""Which pods must go from a node so that a request fits, by kube-scheduler's own rule; and what pods nominated to a
node leave of it for others. Called by the extender.

Pure questions to the inventory: nothing is changed. Counting slices is not enough, since room must arise where a
placement is legal; so every set of pods is judged by the exact fit.

The rule (DefaultPreemption.SelectVictimsOnNode): take all candidates away in thought, then let them stay again one by
one, the most important first, each that leaves the request its room. It does not look for the fewest victims, and a
rule of our own would contradict the scheduler that carries the evictions out.
"""

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from allocator.claims.inventory import Inventory
from allocator.placement import fitting
from allocator.placement.fitting import GpuState
from allocator.placement.room import ALL_ROOM, LeftRoom
from allocator.request import Request

_NOT_STARTED = "9"  # after every time of this millennium: a pod that has not started is the youngest


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pod that may be evicted. `started` is RFC 3339 in UTC, empty if it has not started.

    The pod of a DaemonSet cannot come back on another node.
    """

    uid: str
    priority: int
    started: str = ""
    of_daemon_set: bool = False

    @property
    def age_key(self) -> str:
        """Sorts the older pod first."""
        return self.started or _NOT_STARTED


def most_important_first(candidates: Iterable[Candidate]) -> list[Candidate]:
    """By priority, then by age (MoreImportantPod), then by UID, as kube-scheduler does from 1.38 on.

    Of equal priority, pods of DaemonSets come before all others; kube-scheduler does not tell them apart.
    """
    return sorted(candidates, key=lambda pod: (-pod.priority, not pod.of_daemon_set, pod.age_key, pod.uid))


def victims(
    inventory: Inventory,
    request: Request,
    node: str,
    gone: AbstractSet[str],
    reprieve: Sequence[str],
    nominated: Sequence[Request] = (),
) -> AbstractSet[str] | None:
    """The pods (UIDs) of `reprieve` that have to go beside those `gone`, so that a request fits a node; None if it
    does not even without all of them.

    `reprieve` are the candidates in the order in which they are let stay again. `nominated` pods that fit count as if
    they lay there.
    """
    fits = _Fit(inventory, request, node, nominated)
    going = set(reprieve) - gone
    if not fits(gone | going):
        return None
    for uid in reprieve:
        if uid in going and fits(gone | (going - {uid})):
            going.remove(uid)
    return going


@dataclass(frozen=True, slots=True)
class NominatedPod:
    """A pod that kube-scheduler nominated to a node and that has no claim yet; and whom it may evict there."""

    request: Request
    candidates: tuple[Candidate, ...] = ()


def settle(
    inventory: Inventory, node: str, leaving: AbstractSet[str], nominated: Iterable[NominatedPod]
) -> tuple[AbstractSet[str], Sequence[Request]]:
    """Who is gone from a node once its nominated pods, the most important first, have come; and what these take there.

    Those `leaving` are gone, and, as long as a nominated pod's victims are not known to be leaving, those that would be
    chosen for it. A pod that does not fit even so takes nothing.
    """
    gone, taken = set(leaving), list[Request]()
    for pod in nominated:
        reprieve = [candidate.uid for candidate in most_important_first(pod.candidates)]
        going = victims(inventory, pod.request, node, gone, reprieve, taken)
        if going is not None:
            gone |= going
            taken.append(pod.request)
    return gone, taken


def left_room(
    inventory: Inventory, node: str, leaving: AbstractSet[str], nominated: Iterable[NominatedPod]
) -> LeftRoom:
    """What nominated pods, the most important first, leave of a node's GPUs to others.

    A GPU where one of them gets a place beside pods that are still to go is closed until these are gone.
    """
    gone, taken = settle(inventory, node, leaving, nominated)
    if not taken:
        return ALL_ROOM
    now, without = inventory.gpus_without(node, frozenset()), inventory.gpus_without(node, frozenset(gone))
    after = _with_placed(tuple(without.values()), taken, inventory)
    pairs = zip(without.items(), after, strict=True)
    changed = {uuid: (before, beside) for (uuid, before), beside in pairs if before != beside}
    return {uuid: beside if before == now[uuid] else None for uuid, (before, beside) in changed.items()}


class _Fit:
    """Whether a request fits a node once some pods are gone. Hundreds of sets are asked about: of each GPU only those
    pods count that lie on it.
    """

    def __init__(self, inventory: Inventory, request: Request, node: str, nominated: Sequence[Request]) -> None:
        self._inventory = inventory
        self._counts = dict(request.counts)
        self._node = node
        self._nominated = nominated
        self._usable = tuple(inventory.gpus_without(node, frozenset()))
        self._on_gpu: dict[str, set[str]] = {uuid: set() for uuid in self._usable}
        for claim in inventory.ledger.on_node(node):
            for hold in claim.holds:
                self._on_gpu.setdefault(hold.gpu, set()).add(claim.uid)
        self._states: dict[tuple[str, frozenset[str]], GpuState] = {}

    def __call__(self, gone: AbstractSet[str]) -> bool:
        gpus = tuple(self._state(uuid, frozenset(self._on_gpu[uuid] & gone)) for uuid in self._usable)
        try:
            gpus = _with_placed(gpus, self._nominated, self._inventory)
            return bool(gpus) and fitting.fits(gpus, self._counts)
        except fitting.TooComplexError:
            return False

    def _state(self, uuid: str, gone: frozenset[str]) -> GpuState:
        state = self._states.get((uuid, gone))
        if state is None:
            state = self._inventory.gpus_without(self._node, gone, (uuid,))[uuid]
            self._states[uuid, gone] = state
        return state


def _with_placed(gpus: tuple[GpuState, ...], pods: Iterable[Request], inventory: Inventory) -> tuple[GpuState, ...]:
    """GPUs with these pods placed there, one after the other; those that do not fit are left out."""
    for request in pods:
        gpus = fitting.placed_on(gpus, request, inventory.fleet.policy) or gpus
    return gpus
