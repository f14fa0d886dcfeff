"""Departures: the pods of a node whose room is on its way. Asked by preemption, which evicts nobody else for that room,
and by filter, which keeps it for the pods nominated there.

They are pods that are being deleted, and pods that are gone while their agent still gives their slices back. Neither
is counted on for ever: a container that cannot be killed or a slice that cannot be destroyed would keep others waiting
for room that never comes.
"""

import time
from collections.abc import Callable

from allocator.claims.ledger import Claim, ClaimState

LATE_S = 60.0  # past its grace period, or since its end; until then its room is expected


class Departures:
    """Which claims are expected to end soon."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, wall_clock: Callable[[], float] = time.time
    ) -> None:
        self._clock = clock
        self._wall_clock = wall_clock
        self._ended: dict[str, float] = {}  # pods that were gone before their slices, with when they went, oldest first

    def ended(self, uid: str) -> None:
        """A pod is gone, and its agent still has its slices."""
        self._forget_late()
        self._ended[uid] = self._clock()

    def includes(self, claim: Claim, ends_at: float | None) -> bool:
        """Whether a claim's room is on its way; `ends_at` is when its pod's grace period ends, None without deletion.

        Not if it is late.
        """
        if claim.state is ClaimState.RELEASING:
            since = self._ended.get(claim.uid)
            return since is not None and self._clock() - since <= LATE_S
        return ends_at is not None and self._wall_clock() <= ends_at + LATE_S

    def _forget_late(self) -> None:
        late = self._clock() - LATE_S
        while self._ended:
            oldest = next(iter(self._ended))
            if self._ended[oldest] >= late:
                return
            del self._ended[oldest]
