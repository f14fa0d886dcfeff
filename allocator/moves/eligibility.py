"""Eligibility: whether a pod may be moved, for whoever asks: planner of repacks, executor, drain, page."""

from dataclasses import dataclass
from datetime import datetime

MOVABLE, NEVER = "true", "false"  # values of the annotation migsched.io/movable


@dataclass(frozen=True, slots=True)
class MoveFacts:
    """What a pod says of itself.

    `mark` is its annotation `migsched.io/movable`; `allowed` whether its namespace is one whose pods may be moved
    without a mark. `not_before` is until when it is to be left alone. `unknown` names what decides where it may run and
    cannot be judged.
    """

    mark: str | None
    allowed: bool = False
    comes_anew: bool = False
    is_mirror: bool = False
    of_daemon_set: bool = False
    of_gang: bool = False
    terminating: bool = False
    not_before: datetime | None = None
    unknown: tuple[str, ...] = ()


def why_not(facts: MoveFacts, now: datetime) -> str:
    """Why a pod may not be moved, in words; empty if it may."""
    if facts.mark == NEVER:
        return 'its annotation migsched.io/movable is "false"'
    if facts.mark != MOVABLE and not facts.allowed:
        return "it is not marked movable"
    if facts.is_mirror:
        return "it mirrors a static pod"
    if facts.of_daemon_set:
        return "a DaemonSet made it for its node"
    if not facts.comes_anew:
        return "no controller makes it anew"
    if facts.of_gang:
        return "it is of a gang, whose pods run together"
    if facts.terminating:
        return "it is being deleted"
    if facts.not_before is not None and now < facts.not_before:
        return f"it is to be left alone until {facts.not_before.isoformat()}"
    if facts.unknown:
        return "where it may run cannot be judged: " + ", ".join(facts.unknown[:4])
    return ""
