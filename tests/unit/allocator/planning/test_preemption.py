"""Victims on nodes small enough to tell by hand who must go."""

import pytest

from allocator.claims.inventory import Inventory
from allocator.claims.ledger import Claim
from allocator.planning import preemption
from allocator.planning.preemption import Candidate
from tests.builders import node, request


def _victims(running: str, wanted: str, gpus: int, leaving: str, priorities: str) -> list[str] | None:
    """Who must go of the pods a, b, c …; `running` has the slices of each, a comma between pods."""
    inventory = Inventory()
    inventory.observe(node("n").gpus_of("a100-40gb", gpus).report())
    candidates = []
    for uid, profiles, priority in zip("abcd", running.split(", "), priorities, strict=False):
        assert isinstance(inventory.reserve(uid, "default", uid, request(*profiles.split()), "n"), Claim)
        candidates.append(Candidate(uid, int(priority)))
    found = preemption.victims(inventory, request(*wanted.split()), "n", frozenset(leaving), candidates)
    return None if found is None else sorted(found)


@pytest.mark.parametrize(
    ("running", "wanted", "gpus", "leaving", "priorities", "victims"),
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
    ],
)
def test_who_must_go(
    running: str, wanted: str, gpus: int, leaving: str, priorities: str, victims: list[str] | None
) -> None:
    """The fewest go beside those leaving, the least important first; nobody where that would not help."""
    assert _victims(running, wanted, gpus, leaving, priorities) == victims
