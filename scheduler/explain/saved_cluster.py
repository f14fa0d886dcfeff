"""SavedCluster: a snapshot file as the cache that explanations are made of, for `migsched explain --snapshot`.

A file says less than a live cluster: nodes without a MigNode are not in it, nor what kube-scheduler said, nor who was
nominated where.
"""

from allocator.claims.bound_pod import BoundPod
from allocator.claims.placement_annotation import Promise
from allocator.claims.report import GpuReport, MigMode, NodeReport, Owner, Slice, SliceState
from allocator.claims.snapshot import GpuView, NodeView, Occupant
from allocator.claims.snapshot_file import IDLE, PodFacts, Saved
from allocator.placement import policy
from allocator.request import Request, SliceRequest
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.known_pod import KnownPod
from scheduler.cache.scheduling_facts import SchedulingFacts

_NO_OWNER = (SliceState.FOREIGN.value, "unclaimed")


def cluster_of(saved: Saved) -> ClusterCache:
    """A cache with the nodes, slices and pods of a snapshot."""
    state = ClusterCache(policy.DEFAULT, lambda: None)
    state.used.complete = all(node.used is not None for node in saved.snapshot.nodes)
    judged = any(node.facts is not None for node in saved.snapshot.nodes)
    for node in saved.snapshot.nodes:
        state.inventory.nodes.add(node.name)
        state.inventory.observe(NodeReport(node.name, tuple(map(_gpu, node.gpus)), node.problem))
        if node.facts is not None:
            state.nodes[node.name] = node.facts
        if node.used is not None:
            state.used.put(node.name, node.name, node.used)
    state.inventory.settle_reporters()
    for node in saved.snapshot.nodes:
        for pod in _bound(node):
            state.inventory.adopt(pod)
            facts = saved.pods.get(pod.uid, PodFacts())
            state.pods[pod.uid] = _known(pod.uid, pod.namespace, pod.name, pod.request, facts, node.name)
    for uid, facts in saved.pods.items():
        if facts.waiting is not None and uid not in state.pods:
            namespace, _, name = facts.waiting.name.rpartition("/")
            request = Request(tuple(SliceRequest("", p) for p, number in facts.waiting.profiles for _ in range(number)))
            known = _known(uid, namespace, name, request, facts, "", constrained=judged)
            state.pods[uid] = known
    return state


def _known(
    uid: str,
    namespace: str,
    name: str,
    request: Request,
    facts: PodFacts,
    node: str,
    *,
    constrained: bool = True,
) -> KnownPod:
    scheduling = SchedulingFacts(terminating=facts.terminating)
    if facts.waiting is not None:
        gates = facts.waiting.gates
        scheduling = SchedulingFacts(
            facts.waiting.scheduler, facts.waiting.created, gates, len(gates), terminating=facts.terminating
        )
    return KnownPod(
        uid=uid,
        namespace=namespace,
        name=name,
        node=node,
        priority=facts.priority,
        movable=facts.movable,
        request=request,
        service=facts.service,
        scheduling=scheduling,
        constraints=facts.constraints if constrained else None,
    )


def _gpu(gpu: GpuView) -> GpuReport:
    return GpuReport(
        uuid=gpu.uuid,
        index=gpu.index,
        product=gpu.product,
        mig_mode=MigMode.ENABLED,
        catalogue=gpu.catalogue,
        slices=tuple(map(_slice, gpu.occupants)),
        healthy=not gpu.problem,
        message=gpu.problem,
    )


def _slice(occupant: Occupant) -> Slice:
    if occupant.state == IDLE:
        return Slice(occupant.placement, SliceState.IDLE)
    if not occupant.uid:
        return Slice(occupant.placement, SliceState.FOREIGN)
    owner = Owner(occupant.namespace, occupant.pod, occupant.uid, occupant.container)
    return Slice(occupant.placement, SliceState.ALLOCATED, owner)


def _bound(node: NodeView) -> list[BoundPod]:
    """The pods that hold slices on a node, with what they were promised there."""
    held: dict[str, list[tuple[str, Occupant]]] = {}
    for gpu in node.gpus:
        for occupant in gpu.occupants:
            if occupant.uid and occupant.state not in _NO_OWNER:
                held.setdefault(occupant.uid, []).append((gpu.uuid, occupant))
    return [
        BoundPod(
            uid=uid,
            namespace=slices[0][1].namespace,
            name=slices[0][1].pod,
            node=node.name,
            request=Request(tuple(SliceRequest(o.container, o.placement.profile) for _, o in slices)),
            promises=tuple(Promise(o.container, gpu, o.placement.profile, o.placement.start) for gpu, o in slices),
        )
        for uid, slices in held.items()
    ]
