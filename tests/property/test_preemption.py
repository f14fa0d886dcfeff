"""Victims of a preemption against brute force: enough, as few as can be, and only allowed ones."""

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from allocator.claims.inventory import Inventory
from allocator.claims.ledger import Claim
from allocator.placement import fitting
from allocator.planning import preemption
from allocator.planning.preemption import Candidate
from tests.builders import node, request

PROFILES = ("1g.5gb", "1g.10gb", "2g.10gb", "3g.20gb", "4g.20gb", "7g.40gb")
profiles = st.lists(st.sampled_from(PROFILES), min_size=1, max_size=3)


@given(
    st.lists(st.tuples(profiles, st.integers(0, 3)), max_size=6),
    profiles,
    st.integers(1, 3),
)
def test_victims_are_enough_few_and_allowed(running: list[tuple[list[str], int]], wanted: list[str], gpus: int) -> None:
    """Without those leaving and the victims the request fits; up to two are as few as can be; all are candidates."""
    inventory = Inventory()
    made = node("n")
    for _ in range(gpus):
        made = made.gpu("a100-40gb")
    inventory.observe(made.report())
    candidates, leaving = [], set()
    for number, (asked_by, priority) in enumerate(running):
        claim = inventory.reserve(f"uid-{number}", "default", f"p{number}", request(*asked_by), "n")
        if isinstance(claim, Claim) and priority < 3:
            candidates.append(Candidate(claim.uid, priority))
            leaving |= {claim.uid} if priority == 2 else set()
    asked = request(*wanted)

    def fits_without(gone: tuple[str, ...]) -> bool:
        return fitting.fits(inventory.gpus_without("n", frozenset({*leaving, *gone})), dict(asked.counts))

    uids = [c.uid for c in candidates if c.uid not in leaving]
    enough = [gone for size in range(len(uids) + 1) for gone in combinations(uids, size) if fits_without(gone)]
    found = preemption.victims(inventory, asked, "n", frozenset(leaving), candidates)
    if found is None:
        assert not enough
        return
    assert set(found) <= set(uids)
    assert fits_without(tuple(found))
    if len(enough[0]) <= 2:
        assert len(found) == len(enough[0])
