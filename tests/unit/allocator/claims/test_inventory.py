"""The life of a claim, one rule at a time: what takes room, what frees it, and whose word counts."""

from dataclasses import replace

import pytest

from allocator import errors
from allocator.claims.inventory import Inventory
from allocator.claims.ledger import ClaimState
from tests.builders import node
from tests.unit.allocator.claims import inventories


def test_a_life_from_reservation_to_freedom(inventory: Inventory) -> None:
    """A pod's slots are taken from its reservation until the report shows them given back."""
    inventories.reserve(inventory, "a", "3g.20gb")
    assert inventories.mask(inventory) == 0b1111_0000
    inventory.confirm("uid-a")
    assert inventories.state(inventory, "a") is ClaimState.BOUND
    inventory.observe(node().gpu().allocated("3g.20gb", 4, pod="a").report())
    assert inventories.state(inventory, "a") is ClaimState.READY
    assert inventory.end("uid-a") is False
    inventory.observe(node().gpu().allocated("3g.20gb", 4, pod="a").report())
    assert inventories.state(inventory, "a") is ClaimState.RELEASING
    assert inventories.mask(inventory) == 0b1111_0000
    inventory.observe(node().gpu().idle("3g.20gb", 4).report())
    assert inventories.state(inventory, "a") is None
    assert inventories.mask(inventory) == 0


def test_a_refused_binding_frees_its_slots(inventory: Inventory) -> None:
    """A reservation whose Binding was refused holds nothing any more; one past that cannot be refused."""
    inventories.reserve(inventory, "a", "1g.5gb")
    inventory.refuse("uid-a")
    assert inventories.mask(inventory) == 0
    inventories.reserve(inventory, "a", "1g.5gb")
    inventory.confirm("uid-a")
    with pytest.raises(errors.LedgerError, match="cannot refuse a claim that is bound"):
        inventory.refuse("uid-a")
    with pytest.raises(errors.LedgerError, match="has no claim to refuse"):
        inventory.refuse("uid-b")


def test_a_lost_reply_is_settled_by_the_agent(inventory: Inventory) -> None:
    """A reservation that nobody confirmed is ready once the report shows its slices."""
    inventories.reserve(inventory, "a", "1g.5gb")
    inventory.observe(node().gpu().allocated("1g.5gb", 6, pod="a").report())
    assert inventories.state(inventory, "a") is ClaimState.READY


def test_the_end_of_an_uncut_pod_frees_at_once(inventory: Inventory) -> None:
    """A pod that ends before its agent cut anything leaves nothing behind, and the answer says that room is free."""
    inventories.reserve(inventory, "a", "7g.40gb")
    assert inventory.end("uid-a") is True
    assert inventories.mask(inventory) == 0
    assert inventory.end("uid-a") is False


def test_the_agent_may_put_a_slice_elsewhere(inventory: Inventory) -> None:
    """Where the report shows a pod's slice elsewhere, the claim moves there: truth beats plan."""
    inventories.reserve(inventory, "a", "1g.5gb")
    inventory.observe(node().gpu().allocated("1g.5gb", 0, pod="a").report())
    assert inventories.places(inventory, "a") == [f"{inventories.GPU} 1g.5gb@0"]
    assert inventories.mask(inventory) == 0b1


def test_a_promise_in_the_way_of_the_truth_is_void(inventory: Inventory) -> None:
    """A slice found where another pod was promised one displaces that promise; the bound pod waits, and is told why."""
    inventories.reserve(inventory, "a", "3g.20gb")  # at 4
    inventory.confirm("uid-a")
    inventories.reserve(inventory, "b", "1g.5gb")
    inventory.observe(node().gpu().allocated("1g.5gb", 4, pod="b").report())
    assert inventories.state(inventory, "a") is None
    assert inventories.places(inventory, "b") == [f"{inventories.GPU} 1g.5gb@4"]
    assert [waiting.name for waiting in inventory.waiting()] == ["a"]
    assert "its promised place is taken" in inventories.adoption_refused(inventory, next(iter(inventory.waiting())))


def test_a_reservation_in_the_way_of_the_truth_is_dropped(inventory: Inventory) -> None:
    """A displaced reservation is not kept waiting: it was never bound."""
    inventories.reserve(inventory, "a", "3g.20gb")
    inventories.reserve(inventory, "b", "1g.5gb")
    inventory.observe(node().gpu().allocated("1g.5gb", 4, pod="b").report())
    assert inventories.state(inventory, "a") is None
    assert not list(inventory.waiting())


def test_a_displaced_pod_gets_its_place_back_when_it_is_free(inventory: Inventory) -> None:
    """A pod that waits is taken over with the first report under which its promise can be kept."""
    inventories.reserve(inventory, "a", "3g.20gb")
    inventory.confirm("uid-a")
    inventories.reserve(inventory, "b", "1g.5gb")
    inventory.observe(node().gpu().allocated("1g.5gb", 4, pod="b").report())
    inventory.end("uid-b")
    inventory.observe(node().gpu().report())
    assert inventories.places(inventory, "a") == [f"{inventories.GPU} 3g.20gb@4"]
    assert inventories.state(inventory, "a") is ClaimState.BOUND
    assert not list(inventory.waiting())


def test_a_half_shown_pod_is_displaced_too(inventory: Inventory) -> None:
    """The promise of a pod of which only some slices are shown gives way like any other."""
    inventories.reserve(inventory, "a", "3g.20gb", "1g.5gb")
    inventory.confirm("uid-a")
    promised = inventories.places(inventory, "a")
    inventories.reserve(inventory, "b", "1g.5gb")
    assert promised == [f"{inventories.GPU} 3g.20gb@4", f"{inventories.GPU} 1g.5gb@0"]
    inventory.observe(node().gpu().allocated("1g.5gb", 0, pod="a").allocated("1g.5gb", 5, pod="b").report())
    inventory.check()
    assert inventories.state(inventory, "a") is None
    assert inventories.mask(inventory) == 0b0010_0001
    assert [waiting.name for waiting in inventory.waiting()] == ["a"]


def test_a_node_that_rebooted_cuts_again(inventory: Inventory) -> None:
    """When a pod's slices vanish its claim keeps their place until they are cut again."""
    inventories.reserve(inventory, "a", "1g.5gb")
    inventory.confirm("uid-a")
    shown = node().gpu().allocated("1g.5gb", 6, pod="a").report()
    inventory.observe(shown)
    inventory.observe(node().gpu().report())
    assert inventories.state(inventory, "a") is ClaimState.BOUND
    assert inventories.mask(inventory) == 0b0100_0000
    inventory.observe(shown)
    assert inventories.state(inventory, "a") is ClaimState.READY


def test_idle_slices_are_room_and_foreign_ones_are_not(inventory: Inventory) -> None:
    """An idle slice gives way to a reservation, a foreign one never does."""
    inventory.observe(node().gpu().idle("4g.20gb", 0).foreign("3g.20gb", 4).report())
    assert inventories.mask(inventory) == 0b1111_0000
    assert str(inventories.reserve(inventory, "a", "4g.20gb").holds[0].placement) == "4g.20gb@0"


def test_slices_of_pods_without_a_claim_are_taken(inventory: Inventory) -> None:
    """What the report shows as a pod's is nobody else's, known pod or not, named owner or not."""
    seen = node().gpu().allocated("1g.5gb", 0, pod="unknown").report()
    ownerless = seen.gpus[0].slices[0]
    inventory.observe(seen)
    assert inventories.mask(inventory) == 0b1
    inventory.observe(node().gpu().slices(replace(ownerless, owner=None)).report())
    assert inventories.mask(inventory) == 0b1


def test_a_forgotten_report_takes_the_node_out(inventory: Inventory) -> None:
    """Without a report a node takes nothing new, keeps the claims of living pods and frees those of dead ones."""
    inventories.reserve(inventory, "a", "1g.5gb")
    inventories.reserve(inventory, "b", "1g.5gb")
    shown = node().gpu().allocated("1g.5gb", 5, pod="b").report()
    inventory.observe(shown)
    inventory.end("uid-b")
    inventory.forget_report("n1")
    inventory.forget_report("n1")
    assert "n1" not in inventory.fleet
    assert (inventories.state(inventory, "a"), inventories.state(inventory, "b")) == (ClaimState.RESERVED, None)
    assert inventory.report("n1") is None
    inventory.observe(shown)
    assert inventories.mask(inventory) == 0b0110_0000


def test_a_contradiction_takes_its_gpu_out_and_no_other(inventory: Inventory) -> None:
    """A inventories.GPU on which claims and report cannot stand together takes no new work, and the reason is kept."""
    inventories.reserve(inventory, "a", "7g.40gb")
    inventory.observe(node().gpu().foreign("1g.5gb", 0).gpu().report())
    assert list(inventory.conflicts("n1")) == [inventories.GPU]
    assert "7g.40gb@0 does not fit beside the others" in inventory.conflicts("n1")[inventories.GPU]
    assert inventories.reserve(inventory, "b", "1g.5gb").holds[0].gpu == "n1-gpu-1"
    inventory.end("uid-a")
    assert not inventory.conflicts("n1")


def test_a_contradictory_gpu_shows_nothing(inventory: Inventory) -> None:
    """On a GPU whose slices cannot stand together nothing is believed, and its ready claims only keep their place."""
    inventories.reserve(inventory, "a", "1g.5gb")
    inventory.observe(node().gpu().allocated("1g.5gb", 6, pod="a").report())
    inventory.observe(node().gpu().allocated("1g.5gb", 6, pod="a").allocated("3g.20gb", 4, pod="b").report())
    assert inventories.state(inventory, "a") is ClaimState.BOUND
    assert inventories.places(inventory, "a") == [f"{inventories.GPU} 1g.5gb@6"]


def test_a_conflict_is_forgotten_with_its_report(inventory: Inventory) -> None:
    """Without a report nothing contradicts it."""
    inventories.reserve(inventory, "a", "7g.40gb")
    inventory.observe(node().gpu().foreign("1g.5gb", 0).report())
    assert inventory.conflicts("n1")
    inventory.forget_report("n1")
    assert not inventory.conflicts("n1")


def test_pods_that_got_each_others_slices_keep_room_for_both(inventory: Inventory) -> None:
    """While only one of two pods with swapped slices is shown, the other's claim lies where the first one's lay."""
    for name in ("a", "b"):
        inventories.reserve(inventory, name, "3g.20gb")
        inventory.confirm(f"uid-{name}")
    assert inventories.places(inventory, "a") == [f"{inventories.GPU} 3g.20gb@4"]
    inventory.observe(node().gpu().allocated("3g.20gb", 0, pod="a").idle("3g.20gb", 4).report())
    inventory.check()
    assert inventories.places(inventory, "a") == [f"{inventories.GPU} 3g.20gb@0"]
    assert inventories.places(inventory, "b") == [f"{inventories.GPU} 3g.20gb@4"]
    assert inventories.mask(inventory) == 0b1111_1111
    assert not list(inventory.waiting())


def test_pods_that_got_each_others_slices_in_a_ring_keep_room_for_all(inventory: Inventory) -> None:
    """Of three pods that each got the next one's slice, the one not shown yet has the place that the first left."""
    for name in ("a", "b", "c"):
        inventories.reserve(inventory, name, "2g.10gb")
        inventory.confirm(f"uid-{name}")
    promised = {name: inventory.ledger.get(f"uid-{name}") for name in ("a", "b", "c")}
    start = {name: claim.holds[0].placement.start for name, claim in promised.items() if claim is not None}
    shown = node().gpu().allocated("2g.10gb", start["b"], pod="a").allocated("2g.10gb", start["c"], pod="b")
    inventory.observe(shown.idle("2g.10gb", start["a"]).report())
    inventory.check()
    assert inventories.places(inventory, "c") == [f"{inventories.GPU} 2g.10gb@{start['a']}"]
    assert not list(inventory.waiting())


def test_pods_whose_places_one_pod_got_have_those_that_it_left(inventory: Inventory) -> None:
    """Two void promises are in nobody's way: both pods get the places that were promised to the pod shown on theirs."""
    for name, profiles in (("a", ["1g.5gb"]), ("b", ["2g.10gb"]), ("c", ["1g.5gb", "2g.10gb"])):
        inventories.reserve(inventory, name, *profiles)
        inventory.confirm(f"uid-{name}")
    promised = {name: inventory.ledger.get(f"uid-{name}") for name in "abc"}
    small, large, both = (claim.holds for claim in promised.values() if claim is not None)
    shown = node().gpu().allocated("1g.5gb", small[0].placement.start, pod="c")
    inventory.observe(shown.allocated("2g.10gb", large[0].placement.start, pod="c").report())
    inventory.check()
    left = {hold.placement.profile: f"{inventories.GPU} {hold.placement}" for hold in both}
    assert inventories.places(inventory, "a") == [left["1g.5gb"]]
    assert inventories.places(inventory, "b") == [left["2g.10gb"]]
    assert not list(inventory.waiting())
