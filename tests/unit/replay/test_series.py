"""The series that keeps a quantity over time in few bins."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.series import BINS, Series

steps = st.lists(st.tuples(st.floats(1e-3, 1e5), st.integers(0, 9)), min_size=1, max_size=40)


def _integral(means: list[tuple[float, float]], start: float) -> float:
    edges = [start, *(right for right, _ in means)]
    return sum((right - left) * mean for left, (right, mean) in zip(edges, means, strict=False))


@given(steps, st.sampled_from([0.0, 1.7e9]))
def test_nothing_is_lost_however_long_it_takes(steps: list[tuple[float, int]], start: float) -> None:
    """Without a known end there are never more than BINS bins, and their integral is that of what was added."""
    series, now = Series(start), start
    for width, value in steps:
        now += width
        series.add(now, value)
    means = series.means()
    assert len(means) <= BINS
    assert means[-1][0] == now
    total, at = 0.0, start
    for width, value in steps:
        total += (at + width - at) * value
        at += width
    assert _integral(means, start) == pytest.approx(total, rel=1e-6, abs=1e-3)


@given(steps)
def test_with_a_known_end_the_bins_are_fixed(steps: list[tuple[float, int]]) -> None:
    """With a known end the bins are the same whatever was added when, and all there at the end."""
    end = sum(width for width, _ in steps)
    series, now = Series(0.0, end), 0.0
    for width, value in steps:
        now += width
        series.add(min(now, end), value)
    series.add(end, 0.0)
    means = series.means()
    assert [right for right, _ in means] == pytest.approx([end * (i + 1) / BINS for i in range(BINS)])
    assert _integral(means, 0.0) == pytest.approx(sum(width * value for width, value in steps), rel=1e-6)


def test_a_bin_is_the_mean_in_it() -> None:
    """A quantity that changes within a bin counts by the time it had each value."""
    series = Series(0.0, float(BINS))
    series.add(0.25, 4.0)
    series.add(1.0, 0.0)
    series.add(2.0, 3.0)
    assert series.means()[:2] == [(1.0, 1.0), (2.0, 3.0)]
