"""Joint budget: how long each namespace may have the scheduler look for places for mixed requests. Kept by the
extender.

A request for several slices of several profiles takes up to a fifth of a second of the event loop when it first comes,
over a thousand nodes; then its answers are kept. A tenant may make pods with ever other mixes. Those wait their turn,
so that what one namespace asks hardly slows the pods of others. What most pods ask, one slice or a few, is answered
before it comes to that.
"""

import time
from collections.abc import Callable

BURST_S = 0.5  # of looking that a namespace has at once
SHARE = 0.05  # of the time that it gets back
PAUSE_S = 1.0  # a wait is not shorter: to try pods again costs kube-scheduler a scan
MAX_NAMESPACES = 1_000  # that have spent something; of more the first are forgotten


class JointBudget:
    """The seconds that each namespace has left. A debt is never larger than `burst_s`."""

    def __init__(
        self,
        *,
        burst_s: float = BURST_S,
        share: float = SHARE,
        pause_s: float = PAUSE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._burst_s = burst_s
        self._share = share
        self._pause_s = pause_s
        self._clock = clock
        self._left: dict[str, tuple[float, float]] = {}  # by namespace, and as of when

    def wait_s(self, namespace: str) -> float:
        """How long a namespace has to wait for its turn, at least the pause; 0 if it has it."""
        left_s = self._left_of(namespace)
        return 0.0 if left_s >= 0 else max(self._pause_s, -left_s / self._share)

    def spend(self, namespace: str, seconds: float) -> None:
        """So long was looked for a namespace."""
        left_s = max(-self._burst_s, self._left_of(namespace) - seconds)
        self._left.pop(namespace, None)
        self._left[namespace] = (left_s, self._clock())
        if len(self._left) > MAX_NAMESPACES:
            del self._left[next(iter(self._left))]

    def _left_of(self, namespace: str) -> float:
        left_s, as_of = self._left.get(namespace, (self._burst_s, 0.0))
        return min(self._burst_s, left_s + (self._clock() - as_of) * self._share)
