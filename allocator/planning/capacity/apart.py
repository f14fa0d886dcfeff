"""What a capacity answer tells beside what is free: GPUs on nodes that take no pods, and room that pods are leaving.

Called by `capacity.planner`.
"""

from collections import Counter

from allocator.claims.snapshot import GpuView, NodeView
from allocator.claims.snapshot_file import Saved
from allocator.eligibility import verdict
from allocator.planning.capacity.types import ClosedNodes, RoomComing
from allocator.planning.eligible_nodes import open_nodes


def closed_nodes(saved: Saved) -> ClosedNodes | None:
    """The GPUs on nodes that take no pods; None if there are none."""
    closed = [node for node in saved.snapshot.nodes if node.closed and _whole(node)]
    if not closed:
        return None
    gpus = [gpu for node in closed for gpu in _whole(node)]
    return ClosedNodes(
        nodes=len(closed),
        gpus=len(gpus),
        free_memory_slices=sum(gpu.memory_slices - gpu.mask.bit_count() for gpu in gpus),
        reasons=dict(Counter(node.closed for node in closed).most_common()),
    )


def coming(saved: Saved) -> RoomComing | None:
    """The room of pods on their way out, on nodes that take pods; None if there is none."""
    leaving = [
        (occupant.uid, occupant.placement.size)
        for node in open_nodes(saved.snapshot)
        for gpu in _whole(node)
        for occupant in gpu.occupants
        if occupant.uid in saved.pods and saved.pods[occupant.uid].terminating
    ]
    if not leaving:
        return None
    return RoomComing(pods=len({uid for uid, _ in leaving}), memory_slices=sum(size for _, size in leaving))


def notes(saved: Saved) -> list[str]:
    """That GPUs on nodes kept for some pods are counted for those."""
    kept: Counter[str] = Counter()
    for node in open_nodes(saved.snapshot):
        if node.facts is not None and _whole(node):
            kept.update({str(t): 1 for t in node.facts.taints if t.keeps_away and not verdict.is_system(t)})
    return [f"{count} nodes are for pods that tolerate the taint {taint[:120]}" for taint, count in kept.most_common(3)]


def _whole(node: NodeView) -> list[GpuView]:
    return [gpu for gpu in node.gpus if gpu.catalogue is not None and not gpu.problem]
