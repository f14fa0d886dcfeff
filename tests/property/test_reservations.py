"""Reservations against brute force: they cost least, and nothing that comes behind puts the start off.

How long pods run is not known, so running pods end in any order.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from allocator.claims.inventory import Inventory
from allocator.claims.ledger import Claim
from allocator.eligibility.constraints import PodConstraints
from allocator.placement import fitting
from allocator.placement.room import ALL_ROOM, LeftRoom
from allocator.queueing import reservation
from allocator.queueing.queued_pod import QueuedPod
from allocator.queueing.reservation import Reservation
from allocator.queueing.reservations import Reservations
from tests.builders import node as node_builder
from tests.builders import request

PROFILES = ("1g.5gb", "1g.10gb", "2g.10gb", "3g.20gb", "4g.20gb", "7g.40gb")
NODES = ("n1", "n2")
AGE = {"head": 1, "old": 0}  # of those of one priority the older come first


@dataclass
class AnyNode:
    """Rules under which every node will do but the closed ones."""

    closed: set[str] = field(default_factory=set)

    def eligible(self, pod: QueuedPod) -> Sequence[str]:  # noqa: ARG002 the port's signature
        """The open nodes."""
        return [name for name in NODES if name not in self.closed]

    def takes(self, pod: QueuedPod, node: str) -> bool:  # noqa: ARG002 the port's signature
        """All of them have CPU and memory."""
        return True

    def held(self, pod: QueuedPod, node: str) -> None:
        """See NodeRules."""

    def is_certain(self, pod: QueuedPod, node: str) -> bool:  # noqa: ARG002
        """Everything is judged."""
        return True

    def given_up(self, pod: QueuedPod) -> None:
        """See NodeRules."""

    def left(self, pod: QueuedPod, node: str) -> LeftRoom:  # noqa: ARG002 the port's signature
        """Nobody else comes first."""
        return ALL_ROOM


def queued(name: str, *profiles: str, priority: int = 0) -> QueuedPod:
    """A pod in the queue."""
    created = f"2026-01-0{1 + AGE.get(name.split('-')[0], 2)}T00:00:00Z"
    return QueuedPod(f"uid-{name}", "default", name, "1", priority, created, request(*profiles), PodConstraints())


class Fleet:
    """Two nodes with two GPUs each, and pods that run there."""

    def __init__(self) -> None:
        self.inventory = Inventory()
        self.rules = AnyNode()
        self.reservations = Reservations()
        for name in NODES:
            self.inventory.observe(node_builder(name).gpu("a100-40gb").gpu("a100-40gb").report())

    def run(self, pod: QueuedPod, node: str) -> bool:
        """Start a pod on a node if there is room that nobody before it has reserved."""
        left = self.reservations.left(self.inventory, node, pod.uid, pod.order)
        claim = self.inventory.reserve(pod.uid, pod.namespace, pod.name, pod.request, node, left)
        return isinstance(claim, Claim)

    def fill(self, profiles: Sequence[tuple[str, str]]) -> list[str]:
        """Start pods of these profiles and nodes where they fit."""
        pods = [(queued(f"old-{number:02}", profile), node) for number, (profile, node) in enumerate(profiles)]
        return [pod.uid for pod, node in pods if self.run(pod, node)]

    def reserve(self, *unit: QueuedPod) -> Reservation | None:
        """A reservation for a unit, which stands from now on."""
        made = reservation.reserve(self.inventory, unit, self.rules)
        if made is not None:
            self.reservations.put(unit[0].uid, made)
        return made

    def cheapest(self, profile: str) -> int:
        """By brute force, the fewest memory slices that are in use in any place of a profile."""
        costs = []
        for name in self.rules.eligible(queued("any")):
            for uuid, (kind, _) in self.inventory.gpus_without(name, frozenset()).items():
                used = 0
                for claim in self.inventory.ledger.on_node(name):
                    for hold in claim.holds:
                        used |= hold.placement.mask if hold.gpu == uuid else 0
                costs += [
                    (place.mask & used).bit_count() for place in kind.catalogue.placements() if place.profile == profile
                ]
        return min(costs)


running = st.lists(st.tuples(st.sampled_from(PROFILES[:4]), st.sampled_from(NODES)), min_size=8, max_size=28)


@given(running, st.sampled_from(PROFILES), st.sets(st.sampled_from(NODES), max_size=1))
def test_a_reservation_costs_least_where_the_pod_may_run(
    pods: list[tuple[str, str]], profile: str, closed: set[str]
) -> None:
    """The place has the fewest memory slices of others in it, of all places on eligible nodes."""
    fleet = Fleet()
    fleet.fill(pods)
    fleet.rules.closed = closed
    made = fleet.reserve(queued("head", profile))
    cheapest = fleet.cheapest(profile)
    if not cheapest:
        assert made is None  # it has a place now
    else:
        assert made is not None
        assert made.cost == cheapest
        assert not closed & {place.node for place in made.places}


@given(running, st.lists(st.sampled_from(PROFILES), min_size=1, max_size=3), st.integers(1, 2), st.data())
def test_whatever_ends_and_comes_the_start_is_not_put_off(
    pods: list[tuple[str, str]], profiles: list[str], size: int, data: st.DataObject
) -> None:
    """Once those have ended that were in its room, the unit has its place, whoever else came and went meanwhile; and
    on GPUs without reserved places the others find all the room there is.
    """
    fleet = Fleet()
    present = fleet.fill(pods)
    unit = [queued(f"head-{number}", *profiles) for number in range(size)]
    made = fleet.reserve(*unit)
    if made is None:
        return
    kept = {place.gpu for place in made.places}
    waited_for = set(made.holders)
    for number in range(20):
        if not waited_for:
            break
        somebody_ends = data.draw(st.booleans())
        if somebody_ends and present:
            gone = data.draw(st.sampled_from(sorted(present)))
            fleet.inventory.end(gone)
            present.remove(gone)
            waited_for.discard(gone)
        else:
            late = queued(f"late-{number:02}", data.draw(st.sampled_from(PROFILES)))
            node = data.draw(st.sampled_from(NODES))
            free = [gpu for uuid, gpu in fleet.inventory.gpus_without(node, frozenset()).items() if uuid not in kept]
            started = fleet.run(late, node)
            assert started or not fitting.fits(free, dict(late.request.counts))
            present += [late.uid] if started else []
        fleet.inventory.check()
        now = reservation.followed(fleet.inventory, made, unit, fleet.rules)
        assert now is not None
        assert now.holders == waited_for
        assert (now.cost == 0) or waited_for
    for uid in waited_for:
        fleet.inventory.end(uid)
    for place in made.places:
        kind, state = fleet.inventory.gpus_without(place.node, frozenset())[place.gpu]
        assert kind.step[state, kind.placement_index[place.placement]] >= 0
    if size == 1:
        assert fleet.run(unit[0], made.places[0].node)


@given(running, st.sampled_from(PROFILES[3:]))
def test_only_those_behind_are_kept_out(pods: list[tuple[str, str]], profile: str) -> None:
    """A pod of higher priority may use reserved room, and then the reservation cannot stay."""
    fleet = Fleet()
    fleet.fill(pods)
    head = queued("head", profile)
    made = fleet.reserve(head)
    if made is None:
        return
    node = made.places[0].node
    behind, before = queued("behind", "1g.5gb"), queued("urgent", "1g.5gb", priority=1)
    assert fleet.reservations.left(fleet.inventory, node, behind.uid, behind.order)
    assert fleet.reservations.left(fleet.inventory, node, before.uid, before.order) == ALL_ROOM
    assert fleet.reservations.left(fleet.inventory, node, head.uid, head.order) == ALL_ROOM
    fleet.inventory.forget_report(node)
    assert reservation.followed(fleet.inventory, made, [head], fleet.rules) is None
    fleet.reservations.leave(head.uid)
    assert fleet.reservations.left(fleet.inventory, node, behind.uid, behind.order) == ALL_ROOM
