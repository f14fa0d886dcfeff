"""What the ledger says when it is asked the impossible, and what it holds indexes to."""

import pytest

from allocator import errors
from allocator.claims import ledger as ledger_module
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


def test_a_claim_missing_from_its_node_is_an_error() -> None:
    """Indexes of which one lacks a claim are refused; those of a ledger are not."""
    claim = builders.claim("a", "n1")
    ledger_module.check_indexes({claim.uid: claim}, {"n1": {claim.uid: claim}})
    with pytest.raises(errors.LedgerError, match="the ledger's indexes disagree"):
        ledger_module.check_indexes({claim.uid: claim}, {})


def test_a_claim_under_the_wrong_node_is_an_error() -> None:
    """A claim that stands in another node's index is refused."""
    claim = builders.claim("a", "n1")
    with pytest.raises(errors.LedgerError, match="the ledger's index of n2 is wrong"):
        ledger_module.check_indexes({claim.uid: claim}, {"n2": {claim.uid: claim}})


def test_an_index_left_behind_is_an_error() -> None:
    """A node without claims that is still indexed is refused."""
    with pytest.raises(errors.LedgerError, match="the ledger's index of n1 is wrong"):
        ledger_module.check_indexes({}, {"n1": {}})


def test_a_ledger_checks_its_own_indexes() -> None:
    """`check` passes for whatever a ledger was asked to do."""
    ledger = Ledger()
    ledger.open(builders.claim("a", "n1"))
    ledger.open(builders.claim("b", "n2"))
    ledger.apply("uid-a", ClaimEvent.FREE)
    ledger.check()


def test_claims_are_listed_in_the_order_they_were_made() -> None:
    """A node's claims keep their order when one of them goes on in its life."""
    ledger = Ledger()
    for pod in ("a", "b", "c"):
        ledger.open(builders.claim(pod, "n1"))
    ledger.apply("uid-a", ClaimEvent.CONFIRM)
    assert [claim.name for claim in ledger.on_node("n1")] == ["a", "b", "c"]
    assert [claim.pod for claim in ledger] == ["default/a", "default/b", "default/c"]
