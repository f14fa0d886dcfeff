"""QueueState: where a pod is on its way from our gate to its node, and what can happen to it.

Everything that changes a queued pod's state is an event in `TRANSITIONS`; `pod_queue` refuses any other. The diagram in
docs/queue.md is generated from this table.
"""

import enum
from collections.abc import Mapping


class QueueState(enum.StrEnum):
    """Where a queued pod is. The value is the metric label."""

    QUEUED = "queued"  # gated; no place is promised to it
    HELD = "held"  # a place is claimed; the gate is still there, or it is not known yet whether it went
    RELEASED = "released"  # the gate is gone, and the pod is pinned to its node; kube-scheduler has to bind it
    UNBINDABLE = "unbindable"  # released, and refused by kube-scheduler; its place is given back
    BOUND = "bound"  # it has its node; kept only for members of gangs, which count


class QueueEvent(enum.StrEnum):
    """What can happen to a queued pod."""

    HOLD = "hold"  # a place was claimed
    GIVE_UP = "give_up"  # the gate was certainly not removed: the place is given back
    RELEASE = "release"  # the gate was removed with our promise, as the API server said or as the pod shows
    REFUSE = "refuse"  # kube-scheduler refuses it: the place is given back
    BIND = "bind"  # a pod of a gang was seen bound
    END = "end"  # bound, gone, or let go by somebody else


TRANSITIONS: Mapping[tuple[QueueState, QueueEvent], QueueState | None] = {
    (QueueState.QUEUED, QueueEvent.HOLD): QueueState.HELD,
    (QueueState.QUEUED, QueueEvent.BIND): QueueState.BOUND,  # somebody took the gate away
    (QueueState.QUEUED, QueueEvent.END): None,
    (QueueState.HELD, QueueEvent.GIVE_UP): QueueState.QUEUED,
    (QueueState.HELD, QueueEvent.RELEASE): QueueState.RELEASED,
    (QueueState.HELD, QueueEvent.BIND): QueueState.BOUND,  # the reply was lost, and the Binding came first
    (QueueState.HELD, QueueEvent.END): None,
    (QueueState.RELEASED, QueueEvent.RELEASE): QueueState.RELEASED,
    (QueueState.RELEASED, QueueEvent.REFUSE): QueueState.UNBINDABLE,
    (QueueState.RELEASED, QueueEvent.BIND): QueueState.BOUND,
    (QueueState.RELEASED, QueueEvent.END): None,
    (QueueState.UNBINDABLE, QueueEvent.BIND): QueueState.BOUND,  # after all
    (QueueState.UNBINDABLE, QueueEvent.END): None,
    (QueueState.BOUND, QueueEvent.BIND): QueueState.BOUND,
    (QueueState.BOUND, QueueEvent.END): None,
}

HOLDING = frozenset({QueueState.HELD, QueueState.RELEASED})  # states in which a place is claimed
