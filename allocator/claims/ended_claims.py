"""EndedClaims: claims of pods that were over before a report showed their slices. Kept by inventory.

A report may be older than a pod's end: it then shows slices of a pod whose place was promised to another one meanwhile.
The agent gives them back; until then they do not contradict the later claim.
"""

from collections.abc import Iterable

from allocator.claims.ledger import Claim

LIMIT = 256  # claims, the latest: reports are late by seconds


class EndedClaims:
    """The latest claims that ended unseen, by pod UID. A UID never comes back."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._claims: dict[str, Claim] = {}
        self._by_node: dict[str, dict[str, Claim]] = {}

    def add(self, claim: Claim) -> None:
        """A claim ended; the oldest is forgotten where there are too many."""
        self._claims[claim.uid] = claim
        self._by_node.setdefault(claim.node, {})[claim.uid] = claim
        if len(self._claims) > self._limit:
            oldest = self._claims.pop(next(iter(self._claims)))
            on_node = self._by_node[oldest.node]
            del on_node[oldest.uid]
            if not on_node:
                del self._by_node[oldest.node]

    def on_node(self, node: str) -> Iterable[Claim]:
        """The ended claims on a node."""
        return self._by_node.get(node, {}).values()
