"""Points in time as Kubernetes writes them: RFC 3339 in whole seconds, UTC. Used by every writer of objects."""

from datetime import UTC, datetime


def stamp(at: datetime) -> str:
    """A point in time, such as `2026-01-31T12:00:00Z`; `at` knows its time zone."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def now() -> str:
    """This moment."""
    return stamp(datetime.now(UTC))
