"""Slices that a report shows allocated without an owner: the kubelet never lists ordinary init containers."""

from allocator.claims.ended_claims import EndedClaims
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
    ((kind, state),) = inventory.gpus_without("n1", frozenset({"uid-init"})).values()
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


# --- reports that are older than a pod's end ------------------------------------------------------------------------


def promised_again(inventory: Inventory) -> None:
    """A pod ended before any report showed its slice, and its room was promised to a larger one."""
    inventories.reserve(inventory, "a", "1g.5gb", "3g.20gb")
    inventory.confirm("uid-a")
    assert inventory.end("uid-a")
    inventories.reserve(inventory, "b", "7g.40gb")


def test_a_late_report_of_an_ended_pod_contradicts_nobody(inventory: Inventory) -> None:
    """Its slices, named or not, are going: the later promise counts, and the GPU stays in service."""
    promised_again(inventory)
    inventory.observe(node().gpu().allocated("1g.5gb", 0, pod="a").allocated("3g.20gb", 4, pod="a").report())
    assert inventory.conflicts("n1") == {}
    assert inventories.places(inventory, "b") == [f"{GPU} {builders.placement('7g.40gb', 0)}"]


def test_an_ended_pods_slice_takes_its_room_while_it_is_shown(inventory: Inventory) -> None:
    """Where nothing was promised there since, it counts until the report shows it given back."""
    inventories.reserve(inventory, "a", "3g.20gb")
    inventory.end("uid-a")
    inventory.observe(node().gpu().allocated("3g.20gb", 4, pod="a").report())
    assert inventories.mask(inventory) == 0b1111_0000


def test_another_pods_slice_still_contradicts_a_promise(inventory: Inventory) -> None:
    """What lies in a promise's way and is no ended pod's puts the GPU out of service."""
    promised_again(inventory)
    inventory.observe(node().gpu().allocated("1g.5gb", 0, pod="stranger").report())
    assert inventory.conflicts("n1")


def test_only_the_latest_ended_claims_are_remembered() -> None:
    """However many pods end unseen, their number is bounded, and of each node only its own are asked for."""
    ended = EndedClaims(limit=2)
    for name, on in (("a", "n1"), ("b", "n2"), ("c", "n2")):
        ended.add(builders.claim(name, on, builders.hold("gpu", "1g.5gb", 0)))
    assert [claim.name for claim in ended.on_node("n1")] == []
    assert [claim.name for claim in ended.on_node("n2")] == ["b", "c"]
