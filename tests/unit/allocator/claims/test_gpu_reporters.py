"""A GPU that several nodes report: one of them has it, and the others cannot take it out of service."""

from dataclasses import replace

import pytest

from allocator.claims.inventory import Inventory
from allocator.claims.ledger import Claim
from allocator.claims.report import NodeReport
from allocator.placement.misfit import Misfit, Reason
from tests.builders import node, pod, request
from tests.unit.allocator.claims import inventories


def copied(name: str) -> NodeReport:
    """The two GPUs of n1, as if this node had them."""
    return replace(node("n1").gpus_of("a100-40gb", 2).report(), node=name)


def usable(inventory: Inventory, name: str) -> int:
    """How many GPUs of a node take new work."""
    return len(inventory.fleet.gpus(name))


def test_the_first_reporter_keeps_the_gpu_and_its_claims() -> None:
    """A newcomer's report of the same GPUs is the bad one, names who has them, and costs the first reporter nothing."""
    inventory = Inventory()
    inventory.observe(copied("n1"))
    claim = inventories.reserve(inventory, "a", "3g.20gb")
    inventory.observe(copied("n2"))
    assert (usable(inventory, "n1"), usable(inventory, "n2")) == (2, 0)
    assert inventory.ledger.get(claim.uid) == claim
    assert inventory.conflicts("n1") == {}
    assert inventory.conflicts("n2")["n1-gpu-0"] == (
        "uuid: 'n1-gpu-0': n1 has reported this GPU before n2; delete the MigNode that is wrong"
    )
    outcome = inventory.reserve("uid-b", "default", "b", request("1g.5gb"), "n2")
    assert isinstance(outcome, Misfit)
    assert outcome.reason is Reason.BAD_REPORT
    inventory.observe(copied("n1"))
    inventory.observe(copied("n2"))
    assert (usable(inventory, "n1"), usable(inventory, "n2")) == (2, 0)
    inventory.check()


def test_many_newcomers_wait_for_the_gpu_in_their_order() -> None:
    """A node that reports the GPU no more, or is gone, leaves it to the one that reported it next; that is new room."""
    inventory = Inventory()
    for name in ("n1", "n3", "n2"):
        inventory.observe(copied(name))
    generation = inventory.room_generation
    inventory.observe(replace(node("n1").gpus_of("a100-40gb", 1).report(), node="n1"))
    assert [usable(inventory, name) for name in ("n1", "n3", "n2")] == [1, 1, 0]
    assert inventory.room_generation > generation
    inventory.forget_report("n1")
    assert [usable(inventory, name) for name in ("n3", "n2")] == [2, 0]
    assert "n3 has reported" in inventory.conflicts("n2")["n1-gpu-0"]
    inventory.forget_report("n3")
    assert inventory.conflicts("n2") == {}
    assert isinstance(inventory.reserve("uid", "default", "p", request("1g.5gb"), "n2"), Claim)
    inventory.check()


@pytest.mark.parametrize(
    ("bound", "created", "holder"),
    [
        ("n2", {"n1": "2026-01-01T00:00:00Z", "n2": "2026-01-02T00:00:00Z"}, "n2"),  # its pods decide
        ("", {"n1": "2026-01-02T00:00:00Z", "n2": "2026-01-01T00:00:00Z"}, "n2"),  # the older MigNode
        ("", {"n1": "", "n2": "2026-01-01T00:00:00Z"}, "n2"),  # the one whose age is known
        ("", {"n1": "", "n2": ""}, "n1"),  # the name
    ],
)
@pytest.mark.parametrize("order", [("n1", "n2"), ("n2", "n1")])
def test_after_a_restart_what_is_stable_decides(
    bound: str, created: dict[str, str], holder: str, order: tuple[str, str]
) -> None:
    """In whatever order reports are listed, claims on the GPU decide who has it, then the MigNode's age, then names."""
    inventory = Inventory()
    for name in order:
        inventory.observe(copied(name), created[name])
    if bound:
        assert inventory.adopt(pod("a", "1g.5gb").promised("n1-gpu-0", "1g.5gb", 0).bound(bound)) is None
    inventory.settle_reporters()
    other = ({"n1", "n2"} - {holder}).pop()
    assert "n1-gpu-0" not in inventory.conflicts(holder)
    assert f"{holder} has reported" in inventory.conflicts(other)["n1-gpu-0"]
    inventory.check()


def test_a_newcomer_is_not_let_in_by_claims() -> None:
    """While the scheduler runs who was first stays first, whatever is bound to the newcomer."""
    inventory = Inventory()
    inventory.observe(copied("n1"))
    inventory.observe(copied("n2"))
    inventory.adopt(pod("a", "1g.5gb").promised("n1-gpu-0", "1g.5gb", 0).bound("n2"))
    assert usable(inventory, "n1") == 2
    inventory.check()
