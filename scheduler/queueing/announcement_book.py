"""What queued pods were told lately. Pure, bounded. Kept by `announcements`."""

AGAIN_S = 600.0  # a pod is told the same reason at most so often
MAX_TOLD = 30_000  # pods and reasons that are remembered; of more the first are forgotten


class AnnouncementBook:
    """When which pod (by UID) was told which reason last."""

    def __init__(self, *, again_s: float = AGAIN_S, most: int = MAX_TOLD) -> None:
        self._again_s = again_s
        self._most = most
        self._told_at: dict[tuple[str, str], float] = {}  # the oldest first

    def is_due(self, uid: str, reason: str, now: float) -> bool:
        """Whether a pod may be told a reason."""
        told_at = self._told_at.get((uid, reason))
        return told_at is None or now - told_at >= self._again_s

    def note(self, uid: str, reason: str, now: float) -> None:
        """A pod is told a reason now."""
        self._told_at.pop((uid, reason), None)
        self._told_at[uid, reason] = now
        if len(self._told_at) > self._most:
            del self._told_at[next(iter(self._told_at))]
