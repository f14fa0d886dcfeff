"""From a watched pod to what the queue keeps of it. Asked by `queue_feed`."""

from collections.abc import Collection, Mapping

from allocator import errors
from allocator.claims.placement_annotation import Promise
from allocator.eligibility.constraints import PodConstraints
from allocator.eligibility.node_selector import NAME_FIELD
from allocator.queueing.queued_pod import GATE, PodController, QueuedPod
from allocator.request import Request
from kubeclient.objects import Pod
from scheduler.cache import gang_sources, placed_pod, pod_constraints, pods, scheduling_facts, volumes
from scheduler.cache.known_pod import KnownPod
from scheduler.cache.watched_pod import NOTHING, WatchedPod

_NAME = 253  # characters of a name in Kubernetes
_NEVER = "Never"  # the preemptionPolicy of a pod for which nobody is to be evicted
_UNREADABLE = PodConstraints(unjudged=("its scheduling constraints",))


def is_gated_by_us(known: KnownPod) -> bool:
    """Whether our gate is the only one left: other controllers' come first."""
    return known.scheduling.gate_count == 1 and known.scheduling.gates == (GATE,)


def of(pod: Pod, known: KnownPod) -> QueuedPod:
    """What the queue keeps of a pod; where it cannot be placed, `problem` says why."""
    meta = pod.metadata
    gang, problem = gang_sources.of(pod)
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
        placed_as=known.placed_as or placed_pod.of(pod),
        owner=owner_of(pod),
        gang=gang,
        part=gang_sources.part_of(pod, gang),
        claims=volumes.claims_of(pod),
        preempts=not isinstance(pod, WatchedPod) or pod.spec.preemption_policy != _NEVER,
        problem=problem,
        refusal=_refusal(pod),
    )


def promised(pod: Pod, known: KnownPod) -> tuple[Promise, ...]:
    """What a pod without gates is promised, readable or not nothing.

    Text from anybody: the promises still have to be believed (`Inventory.restore`).
    """
    if known.request is None:
        return ()
    try:
        return pods.promises_of(pod)
    except errors.ContractError:
        return ()


def spares(pod: Pod) -> Mapping[str, tuple[Promise, ...]]:
    """What a pod without gates is promised on nodes beside the first one, by node; readable or not nothing."""
    try:
        return pods.spares_of(pod)
    except errors.ContractError:
        return {}


def pinned_to(constraints: PodConstraints | None, besides: Collection[str] = ()) -> str:
    """The one node that required node affinity leaves to a pod, some aside; empty if there is none."""
    nodes = named_nodes(constraints).difference(besides)
    return "" if len(nodes) != 1 else nodes.pop()


def named_nodes(constraints: PodConstraints | None) -> set[str]:
    """The nodes that required node affinity leaves to a pod; none where a term of it leaves others too."""
    terms = (constraints or _UNREADABLE).node_affinity or ()
    nodes = {
        requirement.values[0]
        for term in terms
        for requirement in term.fields
        if requirement.key == NAME_FIELD and requirement.operator == "In" and len(requirement.values) == 1
    }
    return set() if any(not term.fields for term in terms) else nodes


def _affinity(pod: Pod) -> bytes | None:
    """The text of a pod's affinity, nothing if it has none; None where it is too large to be kept."""
    if not isinstance(pod, WatchedPod) or pod.spec.left_out:
        return None
    raw = pod.spec.affinity
    text = b"" if raw is NOTHING else bytes(raw)
    return None if len(text) > pod_constraints.MAX_TEXT else b"" if text == b"null" else text


def owner_of(pod: Pod) -> PodController | None:
    """The controller that makes a pod anew; None where there is none, or its name is none."""
    owner = next((ref for ref in pod.metadata.owner_references or () if ref.controller), None)
    if owner is None or len(owner.kind) > _NAME or len(owner.name) > _NAME:
        return None
    return PodController(pod.metadata.namespace, owner.kind, owner.name)


def _refusal(pod: Pod) -> str:
    """What kube-scheduler says of a pod that it cannot bind. Not what it says of a gated one."""
    for condition in pod.status.conditions or ():
        if condition.type == "PodScheduled" and condition.reason == "Unschedulable":
            return scheduling_facts.shown(condition.message, scheduling_facts.MAX_MESSAGE) or condition.reason
    return ""
