"""What the inventory says: why not, what if, and whether it is in order."""

import itertools

import pytest

from allocator import errors
from allocator.claims.inventory import Inventory
from allocator.claims.ledger import ClaimEvent
from allocator.claims.report import MigMode, NodeReport
from allocator.mig.geometry import Geometry
from allocator.placement import kept
from allocator.placement.misfit import Misfit, Reason
from tests import builders
from tests.builders import node, request
from tests.unit.allocator.claims import inventories


@pytest.mark.parametrize(
    ("seen", "asked", "reason"),
    [
        (None, "1g.5gb", Reason.NO_REPORT),
        (NodeReport("n2", (), problem="unreadable"), "1g.5gb", Reason.BAD_REPORT),
        (node("n2").report(), "1g.5gb", Reason.NO_MIG),
        (node("n2").gpu(healthy=False).report(), "1g.5gb", Reason.NO_MIG),
        (node("n2").gpu(mig_mode=MigMode.DISABLED).report(), "1g.5gb", Reason.NO_MIG),
        (node("n2").gpu(None).report(), "1g.5gb", Reason.NO_MIG),
        (node("n2").gpu().report(), "9g.99gb", Reason.NOT_OFFERED),
        (node("n2").gpu().report(), "7g.40gb 1g.5gb", Reason.TOO_LARGE),
        (node("n2").gpu().foreign("1g.5gb", 0).report(), "7g.40gb", Reason.NO_ROOM),
    ],
)  # fmt: skip
def test_why_a_request_does_not_fit(inventory: Inventory, seen: NodeReport | None, asked: str, reason: Reason) -> None:
    """Each reason for which a request does not fit a node is told apart, and nothing is reserved."""
    if seen is not None:
        inventory.observe(seen)
    wanted = request(*asked.split())
    assert inventory.reserve("uid-a", "default", "a", wanted, "n2") == Misfit(reason, str(wanted))
    assert inventory.reason(wanted, "n2") is reason
    assert len(inventory.ledger) == 0


def test_many_nodes_are_told_apart_by_reason(inventory: Inventory) -> None:
    """Together, nodes have the reasons that each has alone, also after what they are made of has changed."""
    inventory.nodes.add("silent")
    inventory.observe(node("full").gpu().foreign("7g.40gb", 0).report())
    inventory.observe(node("half").gpu().foreign("1g.5gb", 0).report())
    inventory.observe(node("other").gpu("a30-24gb").report())
    inventory.observe(node("ill").gpu(healthy=False).report())
    wanted = request("7g.40gb")
    names = ["half", "silent", "other", "nobody", "ill", "full"]
    assert inventory.by_reason(wanted, names) == {
        Reason.NO_ROOM: ["half", "full"],
        Reason.NO_REPORT: ["silent"],
        Reason.NOT_OFFERED: ["other"],
        Reason.UNKNOWN_NODE: ["nobody"],
        Reason.NO_MIG: ["ill"],
    }
    inventory.observe(node("half").gpu(mig_mode=MigMode.DISABLED).report())
    inventory.observe(node("other").gpu().foreign("7g.40gb", 0).report())
    inventory.forget_report("full")
    inventory.nodes.add("full")
    again = inventory.by_reason(wanted, names)
    assert again == {
        Reason.NO_MIG: ["half", "ill"],
        Reason.NO_REPORT: ["silent", "full"],
        Reason.NO_ROOM: ["other"],
        Reason.UNKNOWN_NODE: ["nobody"],
    }
    assert all(inventory.reason(wanted, name) is reason for reason, group in again.items() for name in group)


def test_a_node_of_another_cluster_is_unknown(inventory: Inventory) -> None:
    """A node that the cluster does not have is unknown, rather than without a report."""
    assert inventory.explain(request("1g.5gb"), "n9") == Misfit(Reason.UNKNOWN_NODE, "1g.5gb")


def test_a_request_too_complex_is_refused_not_guessed(inventory: Inventory) -> None:
    """Where the exact answer would cost too much, nothing is reserved and the reason says so."""
    inventory.observe(node("n2").gpus_of("a100-40gb", 16).report())
    hard = request(*["1g.5gb"] * 5, *["1g.5gb+me", "1g.10gb", "2g.10gb", "3g.20gb", "4g.20gb", "7g.40gb"] * 4)
    assert inventory.reserve("uid-a", "default", "a", hard, "n2") == Misfit(Reason.TOO_COMPLEX, str(hard))
    assert inventory.reason(hard, "n2") is Reason.TOO_COMPLEX
    assert len(inventory.ledger) == 0


def test_gpus_without_some_pods(inventory: Inventory) -> None:
    """A node without certain pods is the node with their claims and their shown slices gone."""
    inventories.reserve(inventory, "a", "3g.20gb")
    inventory.observe(node().gpu().allocated("1g.5gb", 0, pod="b").report())
    masks = {
        gone: [int(known.masks[state]) for known, state in inventory.gpus_without("n1", frozenset(gone)).values()]
        for gone in [(), ("uid-a",), ("uid-b",), ("uid-a", "uid-b")]
    }
    assert list(masks.values()) == [[0b1111_0001], [0b1], [0b1111_0000], [0]]
    assert inventory.gpus_without("n2", frozenset()) == {}


def test_gains_count_new_room_only(inventory: Inventory) -> None:
    """The count of gains grows when a node can take what it could not, and only then."""
    generation = inventory.room_generation
    inventories.reserve(inventory, "a", "1g.5gb+me")
    assert inventory.room_generation == generation
    inventory.observe(node().gpu().allocated("1g.5gb+me", 6, pod="a").report())
    assert inventory.room_generation == generation
    inventory.end("uid-a")
    assert inventory.room_generation == generation
    inventory.observe(node().gpu().allocated("1g.5gb", 6, pod="b").report())  # same slot, but the +me is free again
    assert inventory.room_generation == generation + 1
    inventory.observe(node().gpu().report())
    assert inventory.room_generation == generation + 2
    inventory.observe(node().gpu().gpu().report())
    assert inventory.room_generation == generation + 3


def test_check_sees_two_claims_on_one_slot(inventory: Inventory) -> None:
    """`check` raises, naming both pods, when two claims share a memory slice."""
    inventories.reserve(inventory, "a", "1g.5gb")
    inventory.ledger.open(builders.claim("b", "n1", builders.hold(inventories.GPU, "3g.20gb", 4)))
    with pytest.raises(errors.LedgerError, match=r"default/b shares n1-gpu-0 3g\.20gb@4 with default/a"):
        inventory.check()


def test_check_sees_a_stale_row(inventory: Inventory) -> None:
    """`check` raises when the fleet's row is not what claims and report make."""
    inventories.reserve(inventory, "a", "1g.5gb")
    inventory.ledger.apply("uid-a", ClaimEvent.FREE)
    with pytest.raises(errors.LedgerError, match="the fleet's row of n1 was stale"):
        inventory.check()


def test_an_empty_node_is_empty(inventory: Inventory) -> None:
    """A node with nothing on it is in the empty state, and reports are kept."""
    assert [state for _, state in inventory.fleet.gpus("n1")] == [Geometry.EMPTY]
    assert [seen.node for seen in inventory.reports()] == ["n1"]


def test_a_slice_that_moved_is_a_gain(inventory: Inventory) -> None:
    """Room in another place is new room, even if there is no more of it."""
    inventory.observe(node().gpu().foreign("1g.5gb", 0).report())
    generation = inventory.room_generation
    inventory.observe(node().gpu().foreign("1g.5gb", 1).report())
    assert inventory.room_generation == generation + 1


def test_nothing_asked_of_a_node_without_report_is_refused(inventory: Inventory) -> None:
    """Even an empty request needs a node that can take slices."""
    assert inventory.reserve("uid-a", "default", "a", request(), "n2") == Misfit(Reason.NO_REPORT, "nothing")


def test_what_is_remembered_of_refusals_is_bounded(inventory: Inventory) -> None:
    """Pods may ask for ever other counts of profiles without the service growing by each."""
    inventory.observe(node("n2").gpu().report())
    sizes = ("1g.5gb", "2g.10gb", "3g.20gb", "4g.20gb")
    kept.forget_all()
    asked = 0
    for counts in itertools.product(range(1, 10), repeat=len(sizes)):
        slots = [size for size, count in zip(sizes, counts, strict=True) for _ in range(count)]
        assert inventory.reason(request(*slots), "n2") is Reason.TOO_LARGE
        asked += 1
    assert kept.answers() < 2 * asked
