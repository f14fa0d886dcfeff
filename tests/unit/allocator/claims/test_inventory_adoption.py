"""Taking over bound pods, one rule at a time: a promise is anybody's text."""

import pytest

from allocator.claims.inventory import Inventory
from allocator.claims.ledger import ClaimState
from allocator.claims.refusal import Refusal
from allocator.placement.misfit import Reason
from tests import builders
from tests.builders import PodBuilder, node, pod, request
from tests.unit.allocator.claims import inventories


def test_a_bound_pod_is_taken_over_as_promised(inventory: Inventory) -> None:
    """After a restart a bound pod's honest annotation is believed."""
    assert inventory.adopt(pod("a", "3g.20gb").promised(inventories.GPU, "3g.20gb", 0).bound("n1")) is None
    assert inventories.state(inventory, "a") is ClaimState.BOUND
    assert inventories.mask(inventory) == 0b1111


def test_a_half_cut_pod_is_taken_over_as_promised(inventory: Inventory) -> None:
    """Where the report shows some of a pod's slices, they are not in the way of its own promise."""
    inventory.observe(node().gpu().allocated("1g.5gb", 0, pod="a").report())
    bound = (
        pod("a", "1g.5gb", "3g.20gb")
        .promised(inventories.GPU, "1g.5gb", 0)
        .promised(inventories.GPU, "3g.20gb", 4)
        .bound("n1")
    )
    assert inventory.adopt(bound) is None
    assert inventories.state(inventory, "a") is ClaimState.BOUND
    assert inventories.mask(inventory) == 0b1111_0001


def test_the_report_is_believed_before_the_annotation(inventory: Inventory) -> None:
    """Where the report shows all that a pod asks for, its annotation does not matter."""
    inventory.observe(node().gpu().allocated("3g.20gb", 4, pod="a").report())
    assert inventory.adopt(pod("a", "3g.20gb").promised("GPU-none", "7g.40gb", 0).bound("n1")) is None
    assert inventories.places(inventory, "a") == [f"{inventories.GPU} 3g.20gb@4"]
    assert inventories.state(inventory, "a") is ClaimState.READY


ASKED = pod("a", "3g.20gb")
TWO_SMALL = pod("a", "1g.5gb").promised(inventories.GPU, "1g.5gb", 0).promised(inventories.GPU, "1g.5gb", 1)
BESIDE_ITSELF = pod("a", "3g.20gb", "1g.5gb").promised(inventories.GPU, "3g.20gb", 4)


@pytest.mark.parametrize(
    ("bound", "problem"),
    [
        (ASKED, "its annotation does not promise what it asks for (3g.20gb)"),
        (ASKED.promised(inventories.GPU, "1g.5gb", 0), "its annotation does not promise what it asks for"),
        (TWO_SMALL, "its annotation does not promise what it asks for"),
        (ASKED.promised("GPU-x", "3g.20gb", 0), "names GPU 'GPU-x', which the node does not report"),
        (ASKED.promised("G" * 999, "3g.20gb", 0), f"names GPU '{'G' * 80}', which the node does not report"),
        (ASKED.promised("n1-gpu-1", "3g.20gb", 0), "names GPU 'n1-gpu-1', which the node does not report"),
        (ASKED.promised(inventories.GPU, "3g.20gb", 2), "start of 3g.20gb on a100-40gb: 2: use one of 0, 4"),
        (pod("a", "9g.99gb").promised(inventories.GPU, "9g.99gb", 0), "profile on a100-40gb: '9g.99gb'"),
        (pod("a", "4g.20gb").promised(inventories.GPU, "4g.20gb", 0), "its promised place is taken"),
        (BESIDE_ITSELF.promised(inventories.GPU, "1g.5gb", 5), "its promised place is taken"),
    ],
)
def test_a_promise_is_believed_only_if_it_can_be_kept(inventory: Inventory, bound: PodBuilder, problem: str) -> None:
    """A promise of something else, elsewhere, illegal or taken is not believed; the pod waits and nothing is held."""
    inventory.observe(node().gpu().foreign("1g.5gb", 2).gpu(None).report())
    assert problem in inventories.adoption_refused(inventory, bound.bound("n1"))
    assert inventory.ledger.get("uid-a") is None
    assert [waiting.uid for waiting in inventory.waiting()] == ["uid-a"]
    assert inventories.mask(inventory) == 0b100
    inventory.end("uid-a", "n1")
    assert not list(inventory.waiting())


def test_two_promises_of_one_place_are_kept_once(inventory: Inventory) -> None:
    """Of two pods with the same promise the first gets it, and the second only once the first is over."""
    first, second = (pod(name, "3g.20gb").promised(inventories.GPU, "3g.20gb", 0).bound("n1") for name in "ab")
    assert inventory.adopt(first) is None
    assert "taken" in inventories.adoption_refused(inventory, second)
    inventory.end("uid-a", "n1")
    inventory.observe(node().gpu().report())
    assert inventories.state(inventory, "b") is ClaimState.BOUND


def test_a_pod_bound_elsewhere_than_reserved_moves(inventory: Inventory) -> None:
    """A pod that somebody else bound to another node gives up what we reserved for it."""
    inventory.observe(node("n2").gpu().report())
    inventories.reserve(inventory, "a", "7g.40gb")
    assert inventory.adopt(pod("a", "7g.40gb").promised("n2-gpu-0", "7g.40gb", 0).bound("n2")) is None
    assert (inventories.mask(inventory, "n1"), inventories.mask(inventory, "n2")) == (0, 0b1111_1111)


def test_a_pod_bound_with_another_promise_than_reserved_is_believed(inventory: Inventory) -> None:
    """A pod that somebody else bound to the very node we reserved holds what its annotation says, not what we chose."""
    inventories.reserve(inventory, "a", "3g.20gb")  # at 4
    assert inventory.adopt(pod("a", "3g.20gb").promised(inventories.GPU, "3g.20gb", 0).bound("n1")) is None
    assert inventories.places(inventory, "a") == [f"{inventories.GPU} 3g.20gb@0"]
    assert inventories.mask(inventory) == 0b1111


def test_a_promise_that_is_no_promise_voids_the_reservation(inventory: Inventory) -> None:
    """A pod bound by somebody else without a placement loses our reservation: its agent will not cut there."""
    inventories.reserve(inventory, "a", "3g.20gb")
    assert "does not promise" in inventories.adoption_refused(inventory, pod("a", "3g.20gb").bound("n1"))
    assert inventories.mask(inventory) == 0


def test_seeing_a_pod_bound_again_changes_nothing(inventory: Inventory) -> None:
    """The watch may show a bound pod as often as it likes, in every state of its claim."""
    inventories.reserve(inventory, "a", "1g.5gb")
    bound = pod("a", "1g.5gb").promised(inventories.GPU, "1g.5gb", 6).bound("n1")
    for expected in (ClaimState.BOUND, ClaimState.BOUND):
        assert inventory.adopt(bound) is None
        assert inventories.state(inventory, "a") is expected
    inventory.observe(node().gpu().allocated("1g.5gb", 6, pod="a").report())
    assert inventory.adopt(bound) is None
    assert inventories.state(inventory, "a") is ClaimState.READY
    inventory.end("uid-a")
    assert inventory.adopt(bound) is None
    assert inventories.state(inventory, "a") is ClaimState.RELEASING


def test_a_catalogue_too_large_to_compile_takes_its_gpu_out(inventory: Inventory) -> None:
    """A inventories.GPU whose catalogue cannot be compiled takes no work, and a promise on it is not believed."""
    wide = builders.catalogue(32, 32)
    for size in range(1, 5):
        wide = wide.profile(f"{size}g.{size}gb", range(33 - size), memory=size)
    inventory.observe(node("n2").gpu(wide.build()).report())
    assert "this is not a GPU" in inventory.conflicts("n2")["n2-gpu-0"]
    assert inventory.reason(request("1g.1gb"), "n2") is Reason.BAD_REPORT
    bound = pod("a", "1g.1gb").promised("n2-gpu-0", "1g.1gb", 0).bound("n2")
    assert "this is not a GPU" in inventories.adoption_refused(inventory, bound)


def test_a_pod_found_voids_the_promise_in_its_way(inventory: Inventory) -> None:
    """Taking over a pod whose slices the report shows voids whatever was promised there meanwhile."""
    inventories.reserve(inventory, "a", "3g.20gb")  # at 4
    inventory.observe(node().gpu().allocated("1g.5gb", 4, pod="b").report())
    assert inventory.conflicts("n1")
    assert inventory.adopt(pod("b", "1g.5gb").promised(inventories.GPU, "1g.5gb", 0).bound("n1")) is None
    assert inventories.places(inventory, "b") == [f"{inventories.GPU} 1g.5gb@4"]
    assert inventories.state(inventory, "a") is None
    assert not inventory.conflicts("n1")


def test_a_moved_pod_keeps_its_true_place(inventory: Inventory) -> None:
    """Seeing the annotation again does not bring a pod back from where its agent put it, reboot or not."""
    inventories.reserve(inventory, "a", "1g.5gb")  # at 6
    inventory.observe(node().gpu().allocated("1g.5gb", 0, pod="a").report())
    assert inventory.adopt(pod("a", "1g.5gb").promised(inventories.GPU, "1g.5gb", 6).bound("n1")) is None
    assert inventories.places(inventory, "a") == [f"{inventories.GPU} 1g.5gb@0"]
    inventory.observe(node().gpu().report())
    assert inventory.adopt(pod("a", "1g.5gb").promised(inventories.GPU, "1g.5gb", 6).bound("n1")) is None
    assert inventories.state(inventory, "a") is ClaimState.BOUND
    assert inventories.places(inventory, "a") == [f"{inventories.GPU} 1g.5gb@0"]


def test_a_pod_on_a_node_without_report_waits_for_it(inventory: Inventory) -> None:
    """A bound pod whose node has not reported is taken over with the node's first report."""
    bound = pod("a", "1g.5gb").promised("n2-gpu-0", "1g.5gb", 0).bound("n2")
    assert inventory.adopt(bound) == Refusal("its node has no report")
    assert list(inventory.waiting()) == [bound]
    inventory.observe(node("n2").gpu().report())
    assert inventories.state(inventory, "a") is ClaimState.BOUND


@pytest.mark.parametrize("first", ["late", "early"])
def test_pods_found_with_exchanged_places_are_both_taken_over(inventory: Inventory, first: str) -> None:
    """A pod whose promised place another one has gets the place that this one was promised, in either order."""
    inventory.observe(node().gpu().allocated("1g.5gb", 0, pod="early").report())
    bound = {
        "late": pod("late", "1g.5gb").promised(inventories.GPU, "1g.5gb", 0).bound("n1"),
        "early": pod("early", "1g.5gb").promised(inventories.GPU, "1g.5gb", 5).bound("n1"),
    }
    inventory.adopt(bound.pop(first))
    for other in bound.values():
        assert inventory.adopt(other) is None
    inventory.check()
    assert inventories.places(inventory, "early") == [f"{inventories.GPU} 1g.5gb@0"]
    assert inventories.places(inventory, "late") == [f"{inventories.GPU} 1g.5gb@5"]
    assert not list(inventory.waiting())


def test_a_pod_found_late_has_the_place_that_a_moved_one_left(inventory: Inventory) -> None:
    """Where a reservation was displaced while its Binding was on its way, the bound pod gets the other one's place."""
    inventory.observe(node().gpu().report())
    (late,), (early,) = (inventories.reserve(inventory, name, "1g.5gb").holds for name in ("late", "early"))
    inventory.observe(node().gpu().allocated("1g.5gb", late.placement.start, pod="early").report())
    assert inventories.state(inventory, "late") is None
    assert inventory.adopt(pod("late", "1g.5gb").promised(late.gpu, "1g.5gb", late.placement.start).bound("n1")) is None
    inventory.check()
    assert inventories.places(inventory, "late") == [f"{inventories.GPU} {early.placement}"]
