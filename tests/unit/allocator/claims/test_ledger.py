"""What the ledger says when it is asked the impossible, and when it has been tampered with."""

import pytest

from allocator import errors
from allocator.claims.ledger import ClaimEvent, ClaimState, Ledger
from tests import builders


def test_errors_name_the_pod_and_the_step() -> None:
    """A step that a claim's life does not have is refused with the pod, the step and the state."""
    ledger = Ledger()
    ledger.open(builders.claim("a", "n1", state=ClaimState.BOUND))
    with pytest.raises(errors.LedgerError, match="default/a: cannot refuse a claim that is bound"):
        ledger.apply("uid-a", ClaimEvent.REFUSE)
    with pytest.raises(errors.LedgerError, match="default/a: pod uid-a has a claim already"):
        ledger.open(builders.claim("a", "n2"))
    with pytest.raises(errors.LedgerError, match="default/b: a claim does not begin ready"):
        ledger.open(builders.claim("b", "n1", state=ClaimState.READY))
    with pytest.raises(errors.LedgerError, match="pod uid-b has no claim to free"):
        ledger.apply("uid-b", ClaimEvent.FREE)
    with pytest.raises(errors.LedgerError, match="pod uid-b has no claim to move"):
        ledger.relocate("uid-b", ())


def test_check_sees_a_claim_missing_from_its_node() -> None:
    """`check` raises when a claim is not in its node's index."""
    ledger = Ledger()
    ledger.open(builders.claim("a", "n1"))
    ledger._by_node.clear()
    with pytest.raises(errors.LedgerError, match="the ledger's indexes disagree"):
        ledger.check()


def test_check_sees_a_claim_under_the_wrong_node() -> None:
    """`check` raises when a claim stands in another node's index."""
    ledger = Ledger()
    ledger.open(builders.claim("a", "n1"))
    ledger._by_node["n2"] = ledger._by_node.pop("n1")
    with pytest.raises(errors.LedgerError, match="the ledger's index of n2 is wrong"):
        ledger.check()


def test_check_sees_an_index_left_behind() -> None:
    """`check` raises when a node without claims is still indexed."""
    ledger = Ledger()
    ledger._by_node["n1"] = {}
    with pytest.raises(errors.LedgerError, match="the ledger's index of n1 is wrong"):
        ledger.check()


def test_claims_are_listed_in_the_order_they_were_made() -> None:
    """A node's claims keep their order when one of them goes on in its life."""
    ledger = Ledger()
    for pod in ("a", "b", "c"):
        ledger.open(builders.claim(pod, "n1"))
    ledger.apply("uid-a", ClaimEvent.CONFIRM)
    assert [claim.name for claim in ledger.on_node("n1")] == ["a", "b", "c"]
    assert [claim.pod for claim in ledger] == ["default/a", "default/b", "default/c"]
