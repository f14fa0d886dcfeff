"""What the page remembers: points over a day, and slice-hours by namespace."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.page.document import OverviewTotals
from scheduler.page.history import DENSE_POINTS, THIN_POINTS, OverviewHistory
from scheduler.page.usage import NamespaceUsage

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
TOTALS = OverviewTotals(1, 8, 4, 4, 1, 0.25, 0.5)

HELD = st.dictionaries(st.sampled_from(["a", "b"]), st.tuples(st.integers(1, 5), st.integers(1, 9) | st.none()))


def test_the_last_hour_is_dense_and_a_day_is_thin() -> None:
    """Of two days of looks each second as many points stay as an hour of tens and a day of five minutes have."""
    history = OverviewHistory()
    for second in range(0, 2 * 24 * 3600, 5):
        history.add(NOON + timedelta(seconds=second), TOTALS, 3)
    points = history.points()
    assert len(points) == DENSE_POINTS + THIN_POINTS
    times = [point[0] for point in points]
    assert times == sorted(set(times))
    assert points[-1][1:] == (0.25, 0.5, 3)


@given(steps=st.lists(st.tuples(st.integers(0, 3600), st.sampled_from(["n1", "n2"]), HELD), max_size=12))
def test_slice_hours_are_the_sum_over_time(
    steps: list[tuple[int, str, dict[str, tuple[int, int | None]]]],
) -> None:
    """What a namespace holds times how long it holds it, whatever changes when; unknown memory makes it unknown."""
    usage, now = NamespaceUsage(), NOON
    nodes: dict[str, dict[str, tuple[int, int | None]]] = {"n1": {}, "n2": {}}
    slice_hours: dict[str, float] = {}
    mib_hours: dict[str, float | None] = {}
    for seconds, name, after in [*steps, (0, "n1", {})]:
        now += timedelta(seconds=seconds)
        for held in nodes.values():
            for namespace, (slices, mib) in held.items():
                slice_hours[namespace] = slice_hours.get(namespace, 0.0) + slices * seconds / 3600
                before = mib_hours.get(namespace, 0.0)
                if mib is None or before is None:
                    mib_hours[namespace] = None if seconds else before
                else:
                    mib_hours[namespace] = before + mib * seconds / 3600
        usage.change(nodes[name], after, now)
        nodes[name] = after
    found = {one.namespace: one for one in usage.most(now)}
    for namespace, hours in slice_hours.items():
        assert found[namespace].slice_hours == pytest.approx(hours, abs=1e-3)
        assert found[namespace].mib_hours == pytest.approx(mib_hours[namespace], abs=0.1)
