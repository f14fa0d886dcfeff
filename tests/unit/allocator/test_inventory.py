"""The inventory's rules one by one: who is believed, who is displaced, what is freed, and what is said."""

from dataclasses import replace

import pytest

from allocator import errors, fitting
from allocator.geometry import Geometry
from allocator.inventory import BoundPod, Inventory
from allocator.ledger import Claim, Event, State
from allocator.misfit import Misfit, Reason
from allocator.report import MigMode, NodeReport
from tests import builders
from tests.builders import node, pod, request

GPU = "n1-gpu-0"


@pytest.fixture
def inventory() -> Inventory:
    """One node with one empty A100, reported."""
    found = Inventory()
    found.nodes = {"n1", "n2"}
    found.observe(node().gpu().report())
    return found


def _reserve(inventory: Inventory, name: str, *profiles: str, on: str = "n1") -> Claim:
    claim = inventory.reserve(builders.uid_of(name), builders.NAMESPACE, name, request(*profiles), on)
    assert isinstance(claim, Claim)
    return claim


def _mask(inventory: Inventory, on: str = "n1", gpu: int = 0) -> int:
    known, state = inventory.fleet.gpus(on)[gpu]
    return int(known.masks[state])


def _state(inventory: Inventory, name: str) -> State | None:
    claim = inventory.ledger.get(builders.uid_of(name))
    return claim.state if claim else None


def _places(inventory: Inventory, name: str) -> list[str]:
    claim = inventory.ledger.get(builders.uid_of(name))
    return [f"{hold.gpu} {hold.placement}" for hold in claim.holds] if claim else []


def test_a_life_from_reservation_to_freedom(inventory: Inventory) -> None:
    """A pod's slots are taken from its reservation until the report shows them given back."""
    _reserve(inventory, "a", "3g.20gb")
    assert _mask(inventory) == 0b1111_0000
    inventory.confirm("uid-a")
    assert _state(inventory, "a") is State.BOUND
    inventory.observe(node().gpu().allocated("3g.20gb", 4, pod="a").report())
    assert _state(inventory, "a") is State.READY
    assert inventory.end("uid-a") is False
    assert _state(inventory, "a") is State.RELEASING
    assert _mask(inventory) == 0b1111_0000
    inventory.observe(node().gpu().idle("3g.20gb", 4).report())
    assert _state(inventory, "a") is None
    assert _mask(inventory) == 0


def test_a_refused_binding_frees_its_slots(inventory: Inventory) -> None:
    """A reservation whose Binding was refused holds nothing any more; one past that cannot be refused."""
    _reserve(inventory, "a", "1g.5gb")
    inventory.refuse("uid-a")
    assert _mask(inventory) == 0
    _reserve(inventory, "a", "1g.5gb")
    inventory.confirm("uid-a")
    with pytest.raises(errors.LedgerError, match="cannot refuse a claim that is bound"):
        inventory.refuse("uid-a")
    with pytest.raises(errors.LedgerError, match="has no claim to refuse"):
        inventory.refuse("uid-b")


def test_a_lost_reply_is_settled_by_the_agent(inventory: Inventory) -> None:
    """A reservation that nobody confirmed is ready once the report shows its slices."""
    _reserve(inventory, "a", "1g.5gb")
    inventory.observe(node().gpu().allocated("1g.5gb", 6, pod="a").report())
    assert _state(inventory, "a") is State.READY


def test_the_end_of_an_uncut_pod_frees_at_once(inventory: Inventory) -> None:
    """A pod that ends before its agent cut anything leaves nothing behind, and the answer says that room is free."""
    _reserve(inventory, "a", "7g.40gb")
    assert inventory.end("uid-a") is True
    assert _mask(inventory) == 0
    assert inventory.end("uid-a") is False


def test_the_agent_may_put_a_slice_elsewhere(inventory: Inventory) -> None:
    """Where the report shows a pod's slice elsewhere, the claim moves there: truth beats plan."""
    _reserve(inventory, "a", "1g.5gb")
    inventory.observe(node().gpu().allocated("1g.5gb", 0, pod="a").report())
    assert _places(inventory, "a") == [f"{GPU} 1g.5gb@0"]
    assert _mask(inventory) == 0b1


def test_a_promise_in_the_way_of_the_truth_is_void(inventory: Inventory) -> None:
    """A slice found where another pod was promised one displaces that promise; the bound pod waits, and is told why."""
    _reserve(inventory, "a", "3g.20gb")  # at 4
    inventory.confirm("uid-a")
    _reserve(inventory, "b", "1g.5gb")
    inventory.observe(node().gpu().allocated("1g.5gb", 4, pod="b").report())
    assert _state(inventory, "a") is None
    assert _places(inventory, "b") == [f"{GPU} 1g.5gb@4"]
    assert [waiting.name for waiting in inventory.waiting()] == ["a"]
    assert "its promised place is taken" in inventory.adopt(next(iter(inventory.waiting())))


def test_a_reservation_in_the_way_of_the_truth_is_dropped(inventory: Inventory) -> None:
    """A displaced reservation is not kept waiting: it was never bound."""
    _reserve(inventory, "a", "3g.20gb")
    _reserve(inventory, "b", "1g.5gb")
    inventory.observe(node().gpu().allocated("1g.5gb", 4, pod="b").report())
    assert _state(inventory, "a") is None
    assert not list(inventory.waiting())


def test_a_displaced_pod_gets_its_place_back_when_it_is_free(inventory: Inventory) -> None:
    """A pod that waits is taken over with the first report under which its promise can be kept."""
    _reserve(inventory, "a", "3g.20gb")
    inventory.confirm("uid-a")
    _reserve(inventory, "b", "1g.5gb")
    inventory.observe(node().gpu().allocated("1g.5gb", 4, pod="b").report())
    inventory.end("uid-b")
    inventory.observe(node().gpu().report())
    assert _places(inventory, "a") == [f"{GPU} 3g.20gb@4"]
    assert _state(inventory, "a") is State.BOUND
    assert not list(inventory.waiting())


def test_a_half_shown_pod_is_displaced_too(inventory: Inventory) -> None:
    """The promise of a pod of which only some slices are shown gives way like any other."""
    _reserve(inventory, "a", "3g.20gb", "1g.5gb")
    inventory.confirm("uid-a")
    promised = _places(inventory, "a")
    _reserve(inventory, "b", "1g.5gb")
    assert promised == [f"{GPU} 3g.20gb@4", f"{GPU} 1g.5gb@0"]
    inventory.observe(node().gpu().allocated("1g.5gb", 0, pod="a").allocated("1g.5gb", 5, pod="b").report())
    inventory.check()
    assert _state(inventory, "a") is None
    assert _mask(inventory) == 0b0010_0001
    assert [waiting.name for waiting in inventory.waiting()] == ["a"]


def test_a_node_that_rebooted_cuts_again(inventory: Inventory) -> None:
    """When a pod's slices vanish its claim keeps their place until they are cut again."""
    _reserve(inventory, "a", "1g.5gb")
    inventory.confirm("uid-a")
    shown = node().gpu().allocated("1g.5gb", 6, pod="a").report()
    inventory.observe(shown)
    inventory.observe(node().gpu().report())
    assert _state(inventory, "a") is State.BOUND
    assert _mask(inventory) == 0b0100_0000
    inventory.observe(shown)
    assert _state(inventory, "a") is State.READY


def test_idle_slices_are_room_and_foreign_ones_are_not(inventory: Inventory) -> None:
    """An idle slice gives way to a reservation, a foreign one never does."""
    inventory.observe(node().gpu().idle("4g.20gb", 0).foreign("3g.20gb", 4).report())
    assert _mask(inventory) == 0b1111_0000
    assert str(_reserve(inventory, "a", "4g.20gb").holds[0].placement) == "4g.20gb@0"


def test_slices_of_pods_without_a_claim_are_taken(inventory: Inventory) -> None:
    """What the report shows as a pod's is nobody else's, known pod or not, named owner or not."""
    seen = node().gpu().allocated("1g.5gb", 0, pod="unknown").report()
    ownerless = seen.gpus[0].slices[0]
    inventory.observe(seen)
    assert _mask(inventory) == 0b1
    inventory.observe(node().gpu().slices(replace(ownerless, owner=None)).report())
    assert _mask(inventory) == 0b1


def test_a_bound_pod_is_taken_over_as_promised(inventory: Inventory) -> None:
    """After a restart a bound pod's honest annotation is believed."""
    assert inventory.adopt(pod("a", "3g.20gb").promised(GPU, "3g.20gb", 0).bound("n1")) == ""
    assert _state(inventory, "a") is State.BOUND
    assert _mask(inventory) == 0b1111


def test_the_report_is_believed_before_the_annotation(inventory: Inventory) -> None:
    """Where the report shows all that a pod asks for, its annotation does not matter."""
    inventory.observe(node().gpu().allocated("3g.20gb", 4, pod="a").report())
    assert inventory.adopt(pod("a", "3g.20gb").promised("GPU-none", "7g.40gb", 0).bound("n1")) == ""
    assert _places(inventory, "a") == [f"{GPU} 3g.20gb@4"]
    assert _state(inventory, "a") is State.READY


@pytest.mark.parametrize(
    ("bound", "problem"),
    [
        (pod("a", "3g.20gb").bound("n1"), "its annotation does not promise what it asks for (3g.20gb)"),
        (pod("a", "3g.20gb").promised(GPU, "1g.5gb", 0).bound("n1"), "does not promise what it asks for"),
        (pod("a", "1g.5gb").promised(GPU, "1g.5gb", 0).promised(GPU, "1g.5gb", 1).bound("n1"), "does not promise"),
        (pod("a", "3g.20gb").promised("GPU-x", "3g.20gb", 0).bound("n1"), "names GPU 'GPU-x', which the node does not"),
        (pod("a", "3g.20gb").promised("G" * 999, "3g.20gb", 0).bound("n1"), f"names GPU '{'G' * 80}', which"),
        (pod("a", "3g.20gb").promised("n1-gpu-1", "3g.20gb", 0).bound("n1"), "names GPU 'n1-gpu-1', which the node"),
        (
            pod("a", "3g.20gb").promised(GPU, "3g.20gb", 2).bound("n1"),
            "start of 3g.20gb on a100-40gb: 2: use one of 0, 4",
        ),
        (pod("a", "9g.99gb").promised(GPU, "9g.99gb", 0).bound("n1"), "profile on a100-40gb: '9g.99gb'"),
        (pod("a", "4g.20gb").promised(GPU, "4g.20gb", 0).bound("n1"), "its promised place is taken"),
        (pod("a", "3g.20gb", "1g.5gb").promised(GPU, "3g.20gb", 4).promised(GPU, "1g.5gb", 5).bound("n1"), "taken"),
        (pod("a", "1g.5gb").promised(GPU, "1g.5gb", 0).bound("n2"), "its node has no report"),
    ],
)
def test_a_promise_is_believed_only_if_it_can_be_kept(inventory: Inventory, bound: BoundPod, problem: str) -> None:
    """A promise of something else, elsewhere, illegal or taken is not believed; the pod waits and nothing is held."""
    inventory.observe(node().gpu().foreign("1g.5gb", 2).gpu(None).report())
    assert problem in inventory.adopt(bound)
    assert inventory.ledger.get("uid-a") is None
    assert [waiting.uid for waiting in inventory.waiting()] == ["uid-a"]
    assert _mask(inventory) == 0b100
    inventory.end("uid-a", bound.node)
    assert not list(inventory.waiting())


def test_two_promises_of_one_place_are_kept_once(inventory: Inventory) -> None:
    """Of two pods with the same promise the first gets it, and the second only once the first is over."""
    first, second = (pod(name, "3g.20gb").promised(GPU, "3g.20gb", 0).bound("n1") for name in "ab")
    assert inventory.adopt(first) == ""
    assert "taken" in inventory.adopt(second)
    inventory.end("uid-a", "n1")
    inventory.observe(node().gpu().report())
    assert _state(inventory, "b") is State.BOUND


def test_a_pod_bound_elsewhere_than_reserved_moves(inventory: Inventory) -> None:
    """A pod that somebody else bound to another node gives up what we reserved for it."""
    inventory.observe(node("n2").gpu().report())
    _reserve(inventory, "a", "7g.40gb")
    assert inventory.adopt(pod("a", "7g.40gb").promised("n2-gpu-0", "7g.40gb", 0).bound("n2")) == ""
    assert (_mask(inventory, "n1"), _mask(inventory, "n2")) == (0, 0b1111_1111)


def test_a_pod_bound_with_another_promise_than_reserved_is_believed(inventory: Inventory) -> None:
    """A pod that somebody else bound to the very node we reserved holds what its annotation says, not what we chose."""
    _reserve(inventory, "a", "3g.20gb")  # at 4
    assert inventory.adopt(pod("a", "3g.20gb").promised(GPU, "3g.20gb", 0).bound("n1")) == ""
    assert _places(inventory, "a") == [f"{GPU} 3g.20gb@0"]
    assert _mask(inventory) == 0b1111


def test_a_promise_that_is_no_promise_voids_the_reservation(inventory: Inventory) -> None:
    """A pod bound by somebody else without a placement loses our reservation: its agent will not cut there."""
    _reserve(inventory, "a", "3g.20gb")
    assert "does not promise" in inventory.adopt(pod("a", "3g.20gb").bound("n1"))
    assert _mask(inventory) == 0


def test_seeing_a_pod_bound_again_changes_nothing(inventory: Inventory) -> None:
    """The watch may show a bound pod as often as it likes, in every state of its claim."""
    _reserve(inventory, "a", "1g.5gb")
    bound = pod("a", "1g.5gb").promised(GPU, "1g.5gb", 6).bound("n1")
    for expected in (State.BOUND, State.BOUND):
        assert inventory.adopt(bound) == ""
        assert _state(inventory, "a") is expected
    inventory.observe(node().gpu().allocated("1g.5gb", 6, pod="a").report())
    assert inventory.adopt(bound) == ""
    assert _state(inventory, "a") is State.READY
    inventory.end("uid-a")
    assert inventory.adopt(bound) == ""
    assert _state(inventory, "a") is State.RELEASING


def test_a_forgotten_report_takes_the_node_out(inventory: Inventory) -> None:
    """Without a report a node takes nothing new, keeps the claims of living pods and frees those of dead ones."""
    _reserve(inventory, "a", "1g.5gb")
    _reserve(inventory, "b", "1g.5gb")
    shown = node().gpu().allocated("1g.5gb", 5, pod="b").report()
    inventory.observe(shown)
    inventory.end("uid-b")
    inventory.forget_report("n1")
    inventory.forget_report("n1")
    assert "n1" not in inventory.fleet
    assert (_state(inventory, "a"), _state(inventory, "b")) == (State.RESERVED, None)
    assert inventory.report("n1") is None
    inventory.observe(shown)
    assert _mask(inventory) == 0b0110_0000


def test_a_contradiction_takes_its_gpu_out_and_no_other(inventory: Inventory) -> None:
    """A GPU on which claims and report cannot stand together takes no new work, and the reason is kept."""
    _reserve(inventory, "a", "7g.40gb")
    inventory.observe(node().gpu().foreign("1g.5gb", 0).gpu().report())
    assert list(inventory.conflicts("n1")) == [GPU]
    assert "7g.40gb@0 does not fit beside the others" in inventory.conflicts("n1")[GPU]
    assert _reserve(inventory, "b", "1g.5gb").holds[0].gpu == "n1-gpu-1"
    inventory.end("uid-a")
    assert not inventory.conflicts("n1")


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


def test_a_node_of_another_cluster_is_unknown(inventory: Inventory) -> None:
    """A node that the cluster does not have is unknown, rather than without a report."""
    assert inventory.explain(request("1g.5gb"), "n9") == Misfit(Reason.UNKNOWN_NODE, "1g.5gb")


def test_a_request_too_complex_is_refused_not_guessed(inventory: Inventory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the exact answer would cost too much, nothing is reserved and the reason says so."""
    monkeypatch.setattr(fitting, "MAX_DEAD_ENDS", 0)
    inventory.observe(node("n2").gpus_of("a100-40gb", 2).report())
    hard = request(*["4g.20gb"] * 2, *["1g.5gb"] * 7)
    assert inventory.reserve("uid-a", "default", "a", hard, "n2") == Misfit(Reason.TOO_COMPLEX, str(hard))
    assert inventory.reason(hard, "n2") is Reason.TOO_COMPLEX


def test_gpus_without_some_pods(inventory: Inventory) -> None:
    """A node without certain pods is the node with their claims and their shown slices gone."""
    _reserve(inventory, "a", "3g.20gb")
    inventory.observe(node().gpu().allocated("1g.5gb", 0, pod="b").report())
    masks = {
        gone: [int(known.masks[state]) for known, state in inventory.gpus_without("n1", frozenset(gone))]
        for gone in [(), ("uid-a",), ("uid-b",), ("uid-a", "uid-b")]
    }
    assert list(masks.values()) == [[0b1111_0001], [0b1], [0b1111_0000], [0]]
    assert inventory.gpus_without("n2", frozenset()) == ()


def test_gains_count_new_room_only(inventory: Inventory) -> None:
    """The count of gains grows when a node can take what it could not, and only then."""
    gains = inventory.gains
    _reserve(inventory, "a", "1g.5gb+me")
    assert inventory.gains == gains
    inventory.observe(node().gpu().allocated("1g.5gb+me", 6, pod="a").report())
    assert inventory.gains == gains
    inventory.end("uid-a")
    assert inventory.gains == gains
    inventory.observe(node().gpu().allocated("1g.5gb", 6, pod="b").report())  # same slot, but the +me is free again
    assert inventory.gains == gains + 1
    inventory.observe(node().gpu().report())
    assert inventory.gains == gains + 2
    inventory.observe(node().gpu().gpu().report())
    assert inventory.gains == gains + 3


def test_a_catalogue_too_large_to_compile_takes_its_gpu_out(inventory: Inventory) -> None:
    """A GPU whose catalogue cannot be compiled takes no work, and a promise on it is not believed."""
    wide = builders.catalogue(32, 32)
    for size in range(1, 5):
        wide = wide.profile(f"{size}g.{size}gb", range(33 - size), memory=size)
    inventory.observe(node("n2").gpu(wide.build()).report())
    assert "this is not a GPU" in inventory.conflicts("n2")["n2-gpu-0"]
    assert inventory.reason(request("1g.1gb"), "n2") is Reason.BAD_REPORT
    problem = inventory.adopt(pod("a", "1g.1gb").promised("n2-gpu-0", "1g.1gb", 0).bound("n2"))
    assert "this is not a GPU" in problem


def test_check_sees_two_claims_on_one_slot(inventory: Inventory) -> None:
    """`check` raises, naming both pods, when two claims share a memory slice."""
    _reserve(inventory, "a", "1g.5gb")
    inventory.ledger.open(builders.claim("b", "n1", builders.hold(GPU, "3g.20gb", 4)))
    with pytest.raises(errors.LedgerError, match=r"default/b shares n1-gpu-0 3g\.20gb@4 with default/a"):
        inventory.check()


def test_check_sees_a_stale_row(inventory: Inventory) -> None:
    """`check` raises when the fleet's row is not what claims and report make."""
    _reserve(inventory, "a", "1g.5gb")
    inventory.ledger.apply("uid-a", Event.FREE)
    with pytest.raises(errors.LedgerError, match="the fleet's row of n1 was stale"):
        inventory.check()


def test_an_empty_node_is_empty(inventory: Inventory) -> None:
    """A node with nothing on it is in the empty state, and reports are kept."""
    assert [state for _, state in inventory.fleet.gpus("n1")] == [Geometry.EMPTY]
    assert [seen.node for seen in inventory.reports()] == ["n1"]
