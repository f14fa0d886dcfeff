"""RepackForPod: the Repack that makes room for one waiting pod: its name and its spec. Made on refusal, and for people.

The name says for which pod, so that one who asks twice has made one.
"""

import msgspec

from allocator.moves.budgets import MoveBudgets
from allocator.moves.document import RepackMode, RepackSpec, Wanted, WantedPod, WantedRequest
from allocator.queueing.queued_pod import QueuedPod

FOR_POD = "for-"  # how its name begins


def name(uid: str) -> str:
    """The name of the Repack for a pod (UID)."""
    return f"{FOR_POD}{uid}"


def spec(pod: QueuedPod, mode: RepackMode, budgets: MoveBudgets) -> RepackSpec:
    """What it wants: what the pod asks, on a node that may run it, at a price of these budgets."""
    request = WantedRequest(profiles=dict(pod.request.counts), name=pod.title[:253])
    wanted = Wanted(requests=(request,), pod=WantedPod(pod.namespace, pod.name, pod.uid))
    return RepackSpec(wanted, budgets, mode, priority=max(0, pod.priority))


def encoded(made: RepackSpec) -> bytes:
    """A spec as JSON without what is not said: the API server's schema has no nulls."""
    return msgspec.json.encode(_without_nulls(msgspec.to_builtins(made)))


def _without_nulls(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_nulls(part) for key, part in value.items() if part is not None}
    return [_without_nulls(part) for part in value] if isinstance(value, list | tuple) else value
