"""ReplicaRoom: how many pods like each one asked about fit now, and on which nodes. Called by `capacity.planner`."""

from collections import Counter
from collections.abc import Sequence

from allocator.planning.capacity.search_time import SearchTime
from allocator.planning.capacity.types import ReplicaRoom
from allocator.planning.packing import hosting
from allocator.planning.packing.hosting import Kind, NodeGpus
from allocator.planning.packing.program import SolveStatus
from allocator.planning.packing.relocation import RelocationProblem
from allocator.planning.repack import joint
from allocator.planning.repack.goal import RequestedPod
from allocator.planning.repack.problem import RepackProblem


def of_requests(
    fleet: RepackProblem, relocation: RelocationProblem, requests: Sequence[tuple[RequestedPod, int]], limit_s: float
) -> list[ReplicaRoom]:
    """For each request (its first pod and how many are asked for) as many as fit if nothing else is placed.

    Nodes are independent of each other then, and those that are alike hold as many.
    """
    nodes = hosting.nodes_of(relocation, joint.standing(relocation))
    time = SearchTime(limit_s)
    return [_room(fleet, nodes, pod, asked, time) for pod, asked in requests]


def _room(
    fleet: RepackProblem, nodes: Sequence[NodeGpus], pod: RequestedPod, asked: int, time: SearchTime
) -> ReplicaRoom:
    kind: Kind = tuple(sorted(pod.profiles))
    known: dict[object, tuple[int, bool]] = {}
    room: dict[str, int] = {}
    proven = True
    for node in nodes:
        if node.kind not in known:
            known[node.kind] = _on(node, kind, time)
        number, sure = known[node.kind]
        proven = proven and sure
        if number:
            room[fleet.gpus[next(iter(node.gpus.values()))[0]].node] = number
    return ReplicaRoom(pod.name, dict(Counter(kind)), asked, sum(room.values()), proven, room)


def _on(node: NodeGpus, kind: Kind, time: SearchTime) -> tuple[int, bool]:
    """As many as a node holds, and whether that is proven the most."""
    most = min(
        sum(gpu.room_for(state, name) * len(gpus) for (gpu, state), gpus in node.gpus.items() if name in gpu.profiles)
        // kind.count(name)
        for name in set(kind)
    )
    if not most or len(kind) == 1:
        return most, True
    hosting_, hosted = hosting.most(node, [(kind, most)], time.share(0.5))
    time.spend(hosting_.seconds)
    return hosted[kind], hosting_.status is SolveStatus.OPTIMAL
