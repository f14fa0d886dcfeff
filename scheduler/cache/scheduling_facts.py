"""SchedulingFacts: what an API server's pod says of its own scheduling, for whoever explains why it is pending.

Kept for every pod of the cache, so it is small: texts are cut, and a bound pod keeps only when it will end.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from kubeclient import timestamps
from kubeclient.objects import Pod, PodCondition

MAX_GATES = 5  # names that are kept; more are counted
MAX_NAME = 320  # characters of a gate's name: 253 of its domain, a slash and 63
MAX_MESSAGE = 600  # characters of what kube-scheduler says
_MAX_DEADLINE_S = 10 * 365 * 24 * 3600
_CUT = "…"
_GATED = "SchedulingGated"  # the API server's reason, not kube-scheduler's


@dataclass(frozen=True, slots=True)
class SchedulingFacts:
    """Of a pod without a node: its scheduler, when it was created, its gates, what kube-scheduler said last and where
    it was nominated. Of any pod: when it will end (RFC 3339), empty if that is not known, and whether it terminates.

    `gates` are the first few of `gate_count`.
    """

    scheduler: str = ""
    created: str = ""
    gates: tuple[str, ...] = ()
    gate_count: int = 0
    message: str = ""
    nominated_node: str = ""
    ends: str = ""
    terminating: bool = False


NOTHING = SchedulingFacts()


def of(pod: Pod) -> SchedulingFacts:
    """What a pod says of its scheduling, bounded."""
    terminating = pod.metadata.deletion_timestamp is not None
    ends = shown(pod.metadata.deletion_timestamp or "", MAX_NAME) or _deadline(pod)
    if pod.spec.node_name:
        return SchedulingFacts(ends=ends, terminating=terminating) if ends or terminating else NOTHING
    gates = pod.spec.scheduling_gates or ()
    return SchedulingFacts(
        scheduler=shown(pod.spec.scheduler_name, MAX_NAME),
        created=shown(pod.metadata.creation_timestamp or "", MAX_NAME),
        gates=tuple(shown(gate.name, MAX_NAME) for gate in gates[:MAX_GATES]),
        gate_count=len(gates),
        message=shown(_said(pod.status.conditions or ()), MAX_MESSAGE),
        nominated_node=shown(pod.status.nominated_node_name, MAX_NAME),
        ends=ends,
        terminating=terminating,
    )


def shown(text: str, most: int) -> str:
    """A text on one line without control characters, of at most so many characters: it may come from any user."""
    if len(text) <= most and " " not in text and text.isprintable():
        return text  # nearly every name; each pod has five such texts
    start = text[: 4 * most]
    plain = " ".join("".join(char if char.isprintable() else " " for char in start).split())
    return plain if len(plain) <= most and len(start) == len(text) else plain[: most - 1] + _CUT


def _said(conditions: Iterable[PodCondition]) -> str:
    """Why kube-scheduler did not schedule the pod at its last attempt, as it says itself.

    Of a gated pod it says nothing: there the condition is the API server's.
    """
    for condition in conditions:
        if condition.type == "PodScheduled" and condition.status != "True" and condition.reason != _GATED:
            return condition.message or condition.reason
    return ""


def _deadline(pod: Pod) -> str:
    """When the kubelet ends the pod at the latest."""
    seconds, started = pod.spec.active_deadline_seconds, pod.status.start_time
    if seconds is None or not started or not 0 < seconds < _MAX_DEADLINE_S:
        return ""
    try:
        began = datetime.fromisoformat(started)
        return timestamps.stamp(began.replace(tzinfo=began.tzinfo or UTC) + timedelta(seconds=seconds))
    except (ValueError, OverflowError):
        return ""
