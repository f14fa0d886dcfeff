"""Places kept for gangs: who may take them, who must leave them free, and for how long."""

from dataclasses import replace

from allocator.claims.inventory import Inventory
from allocator.claims.ledger import Claim
from allocator.eligibility.constraints import PodConstraints
from allocator.placement.room import ALL_ROOM
from allocator.queueing.gang import Gang
from allocator.queueing.kept_places import KeptPlaces
from allocator.queueing.queued_pod import PodController, QueuedPod
from tests.builders import node, request

GANG = Gang("default", "g", 2)
OWNER = PodController("default", "StatefulSet", "workers")


def member(uid: str, profile: str = "3g.20gb", owner: PodController | None = OWNER) -> QueuedPod:
    return QueuedPod(uid, "default", uid, "1", 0, "", request(profile), PodConstraints(), owner=owner, gang=GANG)


def with_claim(pod: QueuedPod) -> tuple[Inventory, Claim]:
    inventory = Inventory()
    inventory.nodes.add("n1")
    inventory.observe(node("n1").gpu("a100-40gb").report())
    claim = inventory.reserve(pod.uid, pod.namespace, pod.name, pod.request, "n1")
    assert isinstance(claim, Claim)
    inventory.refuse(pod.uid)
    return inventory, claim


def test_the_place_is_for_the_successor_alone() -> None:
    """Another pod of the same controller and gang that asks the same may take it; all others must leave it free."""
    died, kept = member("died"), KeptPlaces()
    inventory, claim = with_claim(died)
    kept.keep(died, claim)
    successor, stranger = member("new"), replace(member("other"), gang=None, request=request("7g.40gb"))
    assert kept.node_for(successor) == "n1"
    assert kept.left(inventory, successor, "n1", ALL_ROOM) == ALL_ROOM
    assert kept.node_for(stranger) == ""
    left = kept.left(inventory, stranger, "n1", ALL_ROOM)
    assert stranger.request.slots
    refused = inventory.reserve("other", "default", "other", stranger.request, "n1", left)
    assert not isinstance(refused, Claim)
    kept.take(successor)
    assert kept.left(inventory, stranger, "n1", ALL_ROOM) == ALL_ROOM
    assert kept.generation == 1


def test_nothing_is_kept_where_nobody_can_come() -> None:
    """A pod without a controller has no successor, unless it is itself to be tried again."""
    alone, kept = member("alone", owner=None), KeptPlaces()
    _, claim = with_claim(alone)
    kept.keep(alone, claim)
    kept.keep(replace(member("single"), gang=None), claim)
    kept.keep(member("unplaced"), None)
    assert len(kept) == 0
    kept.keep(alone, claim, refused=True)
    assert kept.node_for(alone) == "n1"
    assert kept.node_for(member("another", owner=None)) == ""


def test_a_place_is_kept_for_a_time() -> None:
    """The time begins when it is first looked at, and a refused release has a time of its own."""
    kept = KeptPlaces()
    _, claim = with_claim(member("died"))
    kept.keep(member("died"), claim)
    kept.keep(member("refused", owner=None), claim, refused=True)
    assert kept.expire(100, keep_s=10, refused_s=30) == []
    assert [place.uid for place in kept.expire(110, keep_s=10, refused_s=30)] == ["died"]
    assert [place.uid for place in kept.expire(130, keep_s=10, refused_s=30)] == ["refused"]
    assert len(kept) == 0


def test_a_place_that_is_not_free_needs_no_keeping() -> None:
    """While the slices of who had it are still there, others lose nothing by it."""
    died, kept = member("died"), KeptPlaces()
    inventory, claim = with_claim(died)
    kept.keep(died, claim)
    inventory.reserve("died", "default", "died", died.request, "n1")
    assert kept.left(inventory, replace(member("other"), gang=None), "n1", ALL_ROOM) == ALL_ROOM


def test_with_the_gang_its_places_go() -> None:
    """Nothing is kept for a gang that has no pods any more."""
    kept = KeptPlaces()
    _, claim = with_claim(member("died"))
    kept.keep(member("died"), claim)
    kept.forget(replace(GANG, name="another"))
    assert len(kept) == 1
    kept.forget(GANG)
    assert len(kept) == 0
