"""Series: a quantity over time in few bins, when nobody knows beforehand how long it will take.

Used by `tally` for the stranded share over time.
"""

import math

BINS = 64


class Series:
    """Means of a step function in at most BINS equal bins from `start`; bins double in width when they run out.

    With a known end the bins divide the time up to it, so that the series of several runs have the same bins.
    """

    def __init__(self, start: float, end: float = math.inf) -> None:
        self._start = start
        self._grows = end == math.inf
        self._width = 1.0 if self._grows else (end - start) / BINS
        self._sums = [0.0] * BINS
        self._now = start
        self._bin = 0

    def add(self, until: float, value: float) -> None:
        """The quantity had this value from the last call until then."""
        while until > (edge := self._start + (self._bin + 1) * self._width) and (self._grows or self._bin < BINS - 1):
            self._sums[self._bin] += (edge - self._now) * value
            self._now = edge
            self._bin += 1
            if self._bin == BINS:
                self._sums = [a + b for a, b in zip(self._sums[::2], self._sums[1::2], strict=True)]
                self._sums += [0.0] * (BINS - len(self._sums))
                self._width *= 2
                self._bin //= 2
        self._sums[self._bin] += (until - self._now) * value
        self._now = until

    def means(self) -> list[tuple[float, float]]:
        """(end of the bin, mean in it) for every bin that has begun."""
        lefts = [self._start + i * self._width for i in range(self._bin + 1)]
        rights = [*lefts[1:], self._now]
        return [
            (right, total / (right - left))
            for left, right, total in zip(lefts, rights, self._sums, strict=False)
            if right > left
        ]
