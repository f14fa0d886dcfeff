"""EvictionFacts: what decides whether and when a pod may go, for preemption. Kept for every MIG pod of the cache."""

from dataclasses import dataclass
from datetime import UTC, datetime

from kubeclient.objects import MIRROR_ANNOTATION, Pod

_TIME = 64  # characters; an API server writes 20
_MAKES_NOTHING = frozenset({"Node"})  # owns mirror pods
_UNKNOWN = float("inf")  # when a pod's time ends whose mark cannot be read: it is not late


@dataclass(frozen=True, slots=True)
class EvictionFacts:
    """Of a pod: when it started (RFC 3339, empty if it has not), until when (seconds since 1970) it has been given time
    to end (None if it is not being deleted), whether a DaemonSet made it, whether it mirrors a static pod, and whether
    a controller makes it anew.
    """

    started: str = ""
    ends_at: float | None = None
    of_daemon_set: bool = False
    is_mirror: bool = False
    comes_anew: bool = False


NOTHING = EvictionFacts()


def of(pod: Pod) -> EvictionFacts:
    """What a pod says of itself."""
    meta, started = pod.metadata, pod.status.start_time or ""
    controllers = [ref.kind for ref in meta.owner_references or () if ref.controller]
    facts = EvictionFacts(
        started=started if len(started) <= _TIME else "",
        ends_at=None if meta.deletion_timestamp is None else _seconds(meta.deletion_timestamp),
        of_daemon_set="DaemonSet" in controllers,
        is_mirror=MIRROR_ANNOTATION in (meta.annotations or {}),
        comes_anew=any(map(makes_anew, controllers)),
    )
    return NOTHING if facts == NOTHING else facts


def makes_anew(kind: str) -> bool:
    """Whether a controller of this kind makes another pod for one that is deleted."""
    return kind not in _MAKES_NOTHING


def _seconds(timestamp: str) -> float:
    try:
        at = datetime.fromisoformat(timestamp)
    except ValueError:
        return _UNKNOWN
    return at.replace(tzinfo=at.tzinfo or UTC).timestamp()
