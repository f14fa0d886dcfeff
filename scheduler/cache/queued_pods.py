"""From a watched pod to what the queue keeps of it. Asked by `queue_feed`."""

from allocator.claims import contract
from allocator.claims.contract import Promise
from allocator.eligibility.constraints import PodConstraints
from allocator.eligibility.node_selector import NAME_FIELD
from allocator.queueing.queued_pod import (
    GANG_ANNOTATION,
    GANG_SIZE_ANNOTATION,
    GATE,
    MAX_GANG,
    Gang,
    PodController,
    QueuedPod,
)
from allocator.request import Request
from kubeclient.objects import Pod
from scheduler.cache import pod_constraints, pods, scheduling_facts, volumes
from scheduler.cache.known_pod import MAX_PROBLEM, KnownPod
from scheduler.cache.watched_pod import NOTHING, WatchedPod

_NAME = 253  # characters of a name in Kubernetes
_UNREADABLE = PodConstraints(unjudged=("its scheduling constraints",))


def is_gated_by_us(known: KnownPod) -> bool:
    """Whether our gate is the only one left: other controllers' come first."""
    return known.scheduling.gate_count == 1 and known.scheduling.gates == (GATE,)


def is_of_gang(pod: Pod) -> bool:
    """Whether a pod names a gang, readable or not."""
    return GANG_ANNOTATION in (pod.metadata.annotations or {})


def of(pod: Pod, known: KnownPod) -> QueuedPod:
    """What the queue keeps of a pod; where it cannot be placed, `problem` says why."""
    meta = pod.metadata
    gang, problem = _gang(pod)
    affinity = _affinity(pod)
    if known.request is None:
        problem = known.problem
    elif affinity is None or known.constraints is None:
        problem = "its scheduling constraints are too large to be read, so that it cannot be pinned to a node"
    return QueuedPod(
        uid=meta.uid,
        namespace=meta.namespace,
        name=meta.name,
        version=meta.resource_version,
        priority=known.priority,
        created=known.scheduling.created,
        request=known.request or Request(),
        constraints=known.constraints or _UNREADABLE,
        affinity=affinity or b"",
        owner=_owner(pod),
        gang=gang,
        claims=volumes.claims_of(pod),
        problem=problem,
        refusal=_refusal(pod),
    )


def promised(pod: Pod, known: KnownPod) -> tuple[str, tuple[Promise, ...]] | None:
    """The node that a pod without gates is pinned to, and what it is promised there; None if we did not release it.

    Text from anybody: the promises still have to be believed (`Inventory.restore`).
    """
    if known.request is None or contract.PLACEMENT_ANNOTATION not in (pod.metadata.annotations or {}):
        return None
    terms = (known.constraints or _UNREADABLE).node_affinity or ()
    nodes = {
        requirement.values[0]
        for term in terms
        for requirement in term.fields
        if requirement.key == NAME_FIELD and requirement.operator == "In" and len(requirement.values) == 1
    }
    if len(nodes) != 1 or any(not term.fields for term in terms):
        return None
    return nodes.pop(), pods.promises_of(pod)


def _affinity(pod: Pod) -> bytes | None:
    """The text of a pod's affinity, nothing if it has none; None where it is too large to be kept."""
    if not isinstance(pod, WatchedPod) or pod.spec.left_out:
        return None
    raw = pod.spec.affinity
    text = b"" if raw is NOTHING else bytes(raw)
    return None if len(text) > pod_constraints.MAX_TEXT else b"" if text == b"null" else text


def _owner(pod: Pod) -> PodController | None:
    owner = next((ref for ref in pod.metadata.owner_references or () if ref.controller), None)
    if owner is None or len(owner.kind) > _NAME or len(owner.name) > _NAME:
        return None
    return PodController(pod.metadata.namespace, owner.kind, owner.name)


def _gang(pod: Pod) -> tuple[Gang | None, str]:
    """The gang that a pod belongs to by its annotations, or why these cannot be read."""
    annotations = pod.metadata.annotations or {}
    name, size = annotations.get(GANG_ANNOTATION), annotations.get(GANG_SIZE_ANNOTATION)
    if name is None:
        return None, ""
    shown = scheduling_facts.shown(name, _NAME)
    if not name or shown != name:
        return None, f"annotation {GANG_ANNOTATION} is not a valid name: {shown[:MAX_PROBLEM]}"
    if size is None or not (size.isascii() and size.isdecimal() and len(size) <= len(str(MAX_GANG))):
        return None, f"annotation {GANG_SIZE_ANNOTATION} must be the number of the gang's pods, 1 to {MAX_GANG}"
    if not 1 <= int(size) <= MAX_GANG:
        return None, f"annotation {GANG_SIZE_ANNOTATION} must be 1 to {MAX_GANG}"
    return Gang(pod.metadata.namespace, name, int(size)), ""


def _refusal(pod: Pod) -> str:
    """What kube-scheduler says of a pod that it cannot bind. Not what it says of a gated one."""
    for condition in pod.status.conditions or ():
        if condition.type == "PodScheduled" and condition.reason == "Unschedulable":
            return scheduling_facts.shown(condition.message, scheduling_facts.MAX_MESSAGE) or condition.reason
    return ""
