"""Victims on nodes small enough to tell by hand who must go, and what nominated pods leave of a node."""

import pytest

from allocator.claims.inventory import Inventory
from allocator.claims.ledger import Claim
from allocator.planning import preemption
from allocator.planning.preemption import Candidate, NominatedPod
from tests.builders import node, request


def _inventory(running: str, gpus: int = 1) -> Inventory:
    """A node n with the pods a, b, c …; `running` has the slices of each, a comma between pods."""
    inventory = Inventory()
    inventory.observe(node("n").gpus_of("a100-40gb", gpus).report())
    for uid, profiles in zip("abcd", running.split(", "), strict=False):
        assert isinstance(inventory.reserve(uid, "default", uid, request(*profiles.split()), "n"), Claim)
    return inventory


@pytest.mark.parametrize(
    ("running", "wanted", "gpus", "gone", "priorities", "victims"),
    [
        ("3g.20gb", "3g.20gb", 1, "", "0", []),
        ("3g.20gb, 3g.20gb", "3g.20gb", 1, "", "10", ["b"]),
        ("3g.20gb, 3g.20gb", "7g.40gb", 1, "", "00", ["a", "b"]),
        ("3g.20gb, 3g.20gb", "7g.40gb", 1, "a", "00", ["b"]),
        ("3g.20gb, 3g.20gb", "7g.40gb", 1, "ab", "00", []),
        ("3g.20gb, 3g.20gb", "7g.40gb 7g.40gb", 1, "", "00", None),
        ("7g.40gb, 7g.40gb", "4g.20gb 4g.20gb", 2, "", "00", ["a", "b"]),
        ("7g.40gb 7g.40gb, 7g.40gb", "4g.20gb 4g.20gb", 3, "", "10", ["a"]),
        ("7g.40gb 7g.40gb, 7g.40gb", "4g.20gb 4g.20gb", 3, "b", "10", ["a"]),
        ("2g.10gb, 2g.10gb, 2g.10gb, 1g.5gb", "7g.40gb", 1, "", "0000", ["a", "b", "c", "d"]),
        ("4g.20gb, 1g.5gb, 1g.5gb", "3g.20gb", 1, "", "900", ["b", "c"]),  # not the one that would do alone
    ],
)
def test_who_must_go(
    running: str, wanted: str, gpus: int, gone: str, priorities: str, victims: list[str] | None
) -> None:
    """The most important stay if the others are enough; nobody goes where that would not help."""
    inventory = _inventory(running, gpus)
    candidates = [Candidate(uid, int(priority)) for uid, priority in zip("abcd", priorities, strict=False)]
    order = [candidate.uid for candidate in preemption.most_important_first(candidates)]
    going = preemption.victims(inventory, request(*wanted.split()), "n", set(gone), order)
    assert (None if going is None else sorted(going)) == victims


def test_a_nominated_pod_counts_as_if_it_lay_there() -> None:
    """What goes for a request goes beside the room of a pod that is nominated to the node."""
    inventory = _inventory("3g.20gb, 3g.20gb, 3g.20gb", gpus=2)
    assert preemption.victims(inventory, request("3g.20gb"), "n", set(), "abc") == set()
    assert preemption.victims(inventory, request("3g.20gb"), "n", set(), "abc", [request("3g.20gb")]) == {"c"}


@pytest.mark.parametrize(
    ("leaving", "closed", "kept"),
    [
        ("a", [], [0b1111_1111]),  # its room is there by now: it is taken
        ("", ["GPU"], []),  # its victims are still there, whether they are being deleted or not
    ],
)
def test_what_a_nominated_pod_leaves(leaving: str, closed: list[str], kept: list[int]) -> None:
    """Where it gets a place that is free, the rest; nothing of a GPU from which others have to go first."""
    inventory = _inventory("1g.5gb, 7g.40gb", gpus=2)
    if leaving:
        inventory.end("a")
    pod = NominatedPod(request("7g.40gb"), (Candidate("a", 0),))
    left = preemption.left_room(inventory, "n", set(leaving), [pod])
    assert ["GPU" for state in left.values() if state is None] == closed
    assert [int(state[0].masks[state[1]]) for state in left.values() if state is not None] == kept


def test_a_nominated_pod_that_fits_nowhere_keeps_nothing() -> None:
    """Its nomination came to nothing: others are not kept away by it."""
    assert preemption.left_room(_inventory("7g.40gb"), "n", set(), [NominatedPod(request("1g.5gb"))]) == {}
