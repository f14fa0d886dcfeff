"""Words about objects that every reader shares."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from kubeclient import timestamps
from kubeclient.objects import Meta, Pod, PodStatus


@pytest.mark.parametrize(
    ("phase", "over"),
    [("", False), ("Pending", False), ("Running", False), ("Unknown", False), ("Succeeded", True), ("Failed", True)],
)
def test_a_pod_is_over_in_a_terminal_phase(phase: str, over: bool) -> None:
    """Succeeded and Failed are for good; a pod whose node is lost (Unknown) is not over."""
    assert Pod(Meta("p"), status=PodStatus(phase)).is_over is over


def test_a_pod_is_called_by_namespace_and_name() -> None:
    """The title is what kubectl and logs call it."""
    assert Pod(Meta("p", "ns")).title == "ns/p"


def test_timestamps_are_whole_seconds_of_utc() -> None:
    """Kubernetes writes RFC 3339 without fractions, whatever the time zone of the clock."""
    at = datetime(2026, 1, 31, 12, 0, 0, 999_999, tzinfo=UTC)
    assert timestamps.stamp(at) == "2026-01-31T12:00:00Z"
    assert timestamps.stamp(at.astimezone(timezone(timedelta(hours=2)))) == "2026-01-31T12:00:00Z"
    assert abs(datetime.fromisoformat(timestamps.now()) - datetime.now(UTC)) < timedelta(minutes=1)
