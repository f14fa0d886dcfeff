"""Slices that a report shows allocated without an owner: the kubelet never lists ordinary init containers."""

from allocator.claims.inventory import Inventory
from allocator.claims.ledger import ClaimState
from allocator.claims.report import Slice, SliceState
from tests import builders
from tests.builders import node
from tests.unit.allocator.claims import inventories
from tests.unit.allocator.claims.inventories import GPU


def ownerless(profile: str, start: int) -> Slice:
    """A slice that some container has; the kubelet does not say which."""
    return Slice(builders.placement(profile, start), SliceState.ALLOCATED)


def test_the_slice_of_an_init_container_is_its_claims(inventory: Inventory) -> None:
    """A claim that lies exactly where an ownerless slice lies is that slice: it counts once."""
    inventories.reserve(inventory, "init", "1g.5gb")
    inventory.confirm("uid-init")
    (place,) = inventories.places(inventory, "init")
    start = int(place[-1])
    inventory.observe(node().gpu().slices(ownerless("1g.5gb", start)).report())
    assert inventory.conflicts("n1") == {}
    assert inventories.mask(inventory).bit_count() == 1
    inventories.reserve(inventory, "rest", *["1g.5gb"] * 6)


def test_an_ownerless_slice_stays_taken_until_the_report_frees_it(inventory: Inventory) -> None:
    """A pod's end frees its claim, and its slice is free when the report says so."""
    inventories.reserve(inventory, "init", "3g.20gb")
    inventory.observe(node().gpu().slices(ownerless("3g.20gb", 4)).report())
    inventory.end("uid-init")
    assert inventories.mask(inventory) == 0b1111_0000
    inventory.observe(node().gpu().idle("3g.20gb", 4).report())
    assert inventories.mask(inventory) == 0


def test_preemption_counts_an_ownerless_slice_as_its_claims(inventory: Inventory) -> None:
    """Without the pod whose claim lies there, the slice would be gone as well."""
    inventories.reserve(inventory, "init", "3g.20gb")
    inventory.observe(node().gpu().slices(ownerless("3g.20gb", 4)).report())
    ((kind, state),) = inventory.gpus_without("n1", frozenset({"uid-init"}))
    assert kind.masks[state] == 0


def test_a_restarted_scheduler_adopts_what_an_init_container_has(inventory: Inventory) -> None:
    """A promise on a place that the report shows taken by nobody in particular is that slice."""
    inventory.observe(node().gpu().slices(ownerless("1g.5gb", 3)).report())
    bound = builders.pod("init", "1g.5gb").promised(GPU, "1g.5gb", 3).bound("n1")
    assert inventory.adopt(bound) is None
    assert inventories.state(inventory, "init") is ClaimState.BOUND
    assert inventories.mask(inventory) == 0b1000


def test_an_ownerless_slice_beside_every_claim_is_one_more(inventory: Inventory) -> None:
    """Where no claim lies, it is a slice of its own."""
    inventories.reserve(inventory, "a", "3g.20gb")
    inventory.observe(node().gpu().slices(ownerless("1g.5gb", 0)).report())
    assert inventories.mask(inventory) == 0b1111_0001


def test_a_foreign_slice_is_never_a_claims(inventory: Inventory) -> None:
    """Where a foreign slice lies on a claim's place, the two contradict each other."""
    inventories.reserve(inventory, "a", "3g.20gb")
    inventory.observe(node().gpu().foreign("3g.20gb", 4).report())
    assert inventory.conflicts("n1")


def test_what_is_listed_of_a_pod_moves_although_the_rest_never_is(inventory: Inventory) -> None:
    """A pod with a slice that only its init container has: its other slice is where the report shows it."""
    inventory.observe(node().gpu().report())
    one = builders.pod("one", "1g.5gb", "2g.10gb").promised(GPU, "1g.5gb", 6).promised(GPU, "2g.10gb", 0)
    assert inventory.adopt(one.bound("n1")) is None
    two = builders.pod("two", "2g.10gb").promised(GPU, "2g.10gb", 2)
    assert inventory.adopt(two.bound("n1")) is None
    report = node().gpu().allocated("2g.10gb", 2, pod="one").slices(ownerless("1g.5gb", 6)).report()
    inventory.observe(report)
    assert inventory.conflicts("n1") == {}
    assert inventories.places(inventory, "two") == [f"{GPU} {builders.placement('2g.10gb', 0)}"]
    assert inventories.mask(inventory) == 0b0100_1111
