"""OverviewHistory: how stranded share, use and waiting pods went: the last hour in steps of ten seconds, a day in steps
of five minutes. Kept by `watcher`, lost with the process.
"""

from collections import deque
from datetime import datetime

from kubeclient import timestamps
from scheduler.page.document import HistoryPoint, OverviewTotals

STEP_S = 10
THIN_S = 300
DENSE_POINTS = 3600 // STEP_S
THIN_POINTS = 24 * 3600 // THIN_S


class OverviewHistory:
    """A bounded ring of points, the oldest first."""

    def __init__(self) -> None:
        self._dense: deque[tuple[datetime, HistoryPoint]] = deque()
        self._thin: deque[HistoryPoint] = deque(maxlen=THIN_POINTS)
        self._thinned_at: datetime | None = None

    def add(self, now: datetime, totals: OverviewTotals, waiting: int) -> bool:
        """A point, if the last one is old enough; whether it was taken."""
        if self._dense and (now - self._dense[-1][0]).total_seconds() < STEP_S:
            return False
        point = (timestamps.stamp(now), totals.stranded_share, totals.utilisation, waiting)
        self._dense.append((now, point))
        if len(self._dense) > DENSE_POINTS:
            self._thin_out(*self._dense.popleft())
        return True

    def points(self) -> list[HistoryPoint]:
        """All of them."""
        return [*self._thin, *(point for _, point in self._dense)]

    def _thin_out(self, at: datetime, point: HistoryPoint) -> None:
        """Keep one of the points of five minutes."""
        if self._thinned_at is None or (at - self._thinned_at).total_seconds() >= THIN_S:
            self._thinned_at = at
            self._thin.append(point)
