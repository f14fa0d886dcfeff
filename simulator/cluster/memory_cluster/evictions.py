"""What the Eviction subresource asks of PodDisruptionBudgets before it deletes a pod. Used by server."""

import msgspec

from allocator import errors
from kubeclient.objects import TERMINAL_PHASES
from scheduler.cache.disruption_budget import PodDisruptionBudget
from simulator.cluster.api import Document

_UNASKED = TERMINAL_PHASES | {"Pending"}
RETRY_AFTER_S = 0.1  # a real server says nothing, or 10 s where a budget's status is old


def needs_budget(pod: Document) -> bool:
    """Whether budgets are asked: not of a pod that has not started, is over or is being deleted."""
    return pod["status"].get("phase", "Pending") not in _UNASKED and "deletionTimestamp" not in pod["metadata"]


def covers(budget: bytes, pod: Document) -> bool:
    """Whether a budget (JSON) covers a pod."""
    read = msgspec.json.decode(budget, type=PodDisruptionBudget)
    meta = pod["metadata"]
    return read.metadata.namespace == meta["namespace"] and read.selects(meta.get("labels") or {})


def counted_down(budget: Document, pod: str, now: str) -> Document:
    """A budget after one more disruption. Raises TooManyRequestsError if it allows none."""
    status = budget.get("status") or {}
    if status.get("disruptionsAllowed", 0) <= 0:
        raise errors.TooManyRequestsError(
            "Cannot evict pod as it would violate the pod's disruption budget.", RETRY_AFTER_S
        )
    disrupted = {**(status.get("disruptedPods") or {}), pod: now}
    after = {**status, "disruptionsAllowed": status["disruptionsAllowed"] - 1, "disruptedPods": disrupted}
    return {**budget, "status": after}
