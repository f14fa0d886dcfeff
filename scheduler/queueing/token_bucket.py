"""TokenBucket: how fast the queue may do what others have to bear: Events, evictions, deletions. Pure."""


class TokenBucket:
    """So many at once, and so many in a second after that."""

    def __init__(self, *, per_s: float, burst: float, now: float) -> None:
        self._per_s = per_s
        self._burst = burst
        self._left = float(burst)
        self._as_of = now

    def take(self, now: float, number: int = 1) -> bool:
        """Take so many together, if they are there. More than a burst are taken where it is full, and owed then."""
        self._refill(now)
        if self._left < min(number, self._burst):
            return False
        self._left -= number
        return True

    def wait_s(self, now: float) -> float:
        """Take one, and 0; or how long it takes until there is one."""
        return 0.0 if self.take(now) else (1 - self._left) / self._per_s

    def _refill(self, now: float) -> None:
        self._left = min(self._burst, self._left + (now - self._as_of) * self._per_s)
        self._as_of = now
