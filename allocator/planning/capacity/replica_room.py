"""ReplicaRoom: how many pods like each one asked about fit now, and on which nodes. Called by `capacity.planner`."""

from collections import Counter
from collections.abc import Hashable, Sequence

from msgspec import UNSET

from allocator.planning.capacity import joint_fit
from allocator.planning.capacity.search_time import SearchTime
from allocator.planning.capacity.types import ReplicaRoom
from allocator.planning.packing import hosting
from allocator.planning.packing.hosting import NodeGpus, PodKind
from allocator.planning.packing.program import SolveStatus
from allocator.planning.repack import joint
from allocator.planning.repack.problem import RepackProblem
from allocator.planning.repack.requested_pod import RequestedPod


def of_requests(
    fleet: RepackProblem, requests: Sequence[tuple[RequestedPod, int]], limit_s: float
) -> list[ReplicaRoom]:
    """For each request (its first pod and how many are asked for) as many as fit if nothing else is placed.

    Nodes are independent of each other then, and those that are alike hold as many.
    """
    time = SearchTime(limit_s)
    return [_room(fleet, pod, asked, time) for pod, asked in requests]


def _room(fleet: RepackProblem, pod: RequestedPod, asked: int, time: SearchTime) -> ReplicaRoom:
    relocation = joint_fit.as_it_stands(fleet, [pod])
    kind = PodKind.of(relocation.requests[0])
    known: dict[Hashable, tuple[int, bool]] = {}
    room: dict[str, int] = {}
    proven = True
    for node in hosting.nodes_of(relocation, joint.standing(relocation)):
        if node.kind not in known:
            known[node.kind] = _on(node, kind, time)
        number, sure = known[node.kind]
        proven = proven and sure
        if number:
            room[fleet.gpus[next(iter(node.gpus.values()))[0]].node] = number
    refusing = Counter(reason.value for reason in fleet.eligible.refusing(pod.constraints).values())
    return ReplicaRoom(
        request=pod.name,
        profiles=dict(Counter(kind.profiles)),
        asked=asked,
        now=sum(room.values()),
        proven=proven,
        nodes=room,
        ineligible=dict(refusing.most_common()) or UNSET,
    )


def _on(node: NodeGpus, kind: PodKind, time: SearchTime) -> tuple[int, bool]:
    """As many as a node holds, and whether that is proven the most."""
    most = min(
        sum(gpu.room_for(state, name) * len(gpus) for (gpu, state), gpus in node.gpus.items() if name in gpu.profiles)
        // kind.profiles.count(name)
        for name in set(kind.profiles)
    )
    most = min(most, kind.asked.copies_in(node.spare))
    if not most or len(kind.profiles) == 1:
        return most, True
    hosting_, hosted = hosting.most(node, [(kind, most)], time.share(0.5))
    time.spend(hosting_.seconds)
    return min(hosted[kind], most), hosting_.status is SolveStatus.OPTIMAL
