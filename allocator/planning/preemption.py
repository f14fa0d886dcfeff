"""Which pods must go from a node so that a request fits, by kube-scheduler's own rule; and what pods nominated to a
node leave of it for others. Called by the extender and the queue.

Pure questions to the inventory: nothing is changed. Counting slices is not enough, since room must arise where a
placement is legal; so every set of pods is judged by the exact fit.

The rule (DefaultPreemption.SelectVictimsOnNode): take all candidates away in thought, then let them stay again one by
one, the most important first, each that leaves the request its room. It does not look for the fewest victims, and a
rule of our own would contradict the scheduler that carries the evictions out.
"""

from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from allocator.claims.inventory import Inventory
from allocator.placement import fitting
from allocator.placement.fitting import GpuState
from allocator.placement.room import ALL_ROOM, LeftRoom
from allocator.request import Request

_LEAST_PRIORITY = -(2**31)
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


@dataclass(frozen=True, slots=True)
class NodeChoice:
    """A node to preempt on, its victims, the most important first, and how many of them violate a budget."""

    node: str
    victims: Sequence[Candidate]
    violations: int

    @property
    def cost(self) -> tuple[int, int, int, int]:
        """What kube-scheduler compares nodes by, in its order (pickOneNodeForPreemption), but for the last: the node
        whose most important victims started latest.
        """
        total = sum(victim.priority - _LEAST_PRIORITY for victim in self.victims)
        return self.violations, self.victims[0].priority, total, len(self.victims)

    @property
    def started(self) -> str:
        """When the oldest of the most important victims started."""
        return min(victim.age_key for victim in self.victims if victim.priority == self.victims[0].priority)


def best_first(choices: Iterable[NodeChoice]) -> list[NodeChoice]:
    """Nodes as kube-scheduler compares them; it chooses among equals."""
    latest_first = sorted(choices, key=lambda choice: choice.started, reverse=True)
    return sorted(latest_first, key=lambda choice: choice.cost)


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
    takes: Callable[[AbstractSet[str]], bool] | None = None,
) -> AbstractSet[str] | None:
    """The pods (UIDs) of `reprieve` that have to go beside those `gone`, so that a request fits a node; None if it
    does not even without all of them.

    `reprieve` are the candidates in the order in which they are let stay again. `nominated` pods that fit count as if
    they lay there. `takes` says whether the node has what else the pod asks for once these pods are gone.
    """
    return joint_victims(inventory, (request,), node, gone, reprieve, nominated, takes)


def joint_victims(
    inventory: Inventory,
    requests: Sequence[Request],
    node: str,
    gone: AbstractSet[str],
    reprieve: Sequence[str],
    nominated: Sequence[Request] = (),
    takes: Callable[[AbstractSet[str]], bool] | None = None,
) -> AbstractSet[str] | None:
    """The same for several pods that are to have room on one node together. They are laid there one after the other in
    this order, so that they have room where this finds it, and may have some where it finds none.
    """
    has_room = _Fit(inventory, requests, node, nominated)

    def fits(without: AbstractSet[str]) -> bool:
        return (takes is None or takes(without)) and has_room(without)

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
    """Whether requests fit a node together once some pods are gone. Hundreds of sets are asked about: of each GPU only
    those pods count that lie on it.
    """

    def __init__(
        self, inventory: Inventory, requests: Sequence[Request], node: str, nominated: Sequence[Request]
    ) -> None:
        self._inventory = inventory
        *self._first, last = requests
        self._counts = dict(last.counts)
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
            for request in self._first:
                gpus = fitting.placed_on(gpus, request, self._inventory.fleet.policy) or ()
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
