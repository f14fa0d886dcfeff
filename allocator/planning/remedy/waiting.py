"""Waiting: the pods whose end makes room soonest. Called by `remedy.planner`."""

from collections.abc import Mapping, Sequence

from allocator.planning.remedy.cluster import RemedyCluster
from allocator.planning.remedy.types import EndingPod, WaitRemedy


def soonest(cluster: RemedyCluster, ending: Sequence[EndingPod], counts: Mapping[str, int]) -> WaitRemedy | None:
    """The pods of one node to wait for, none of them in vain, so that the wait is as short as it can be.

    None if all these pods could end and the request still fits nowhere.
    """
    best: WaitRemedy | None = None
    for node, of_node in sorted(_by_node(cluster, ending).items()):
        remedy = _on(cluster, node, of_node, counts)
        if remedy is not None and (best is None or remedy.until < best.until):
            best = remedy
    return best


def _by_node(cluster: RemedyCluster, ending: Sequence[EndingPod]) -> Mapping[str, list[EndingPod]]:
    """The ending pods of each node, the first to end first."""
    by_uid = {pod.uid: pod for pod in ending}
    by_node: dict[str, dict[str, EndingPod]] = {}
    for node in cluster.nodes.values():
        for gpu in node.gpus:
            for occupant in gpu.occupants:
                if occupant.uid in by_uid:
                    by_node.setdefault(node.name, {})[occupant.uid] = by_uid[occupant.uid]
    return {node: sorted(pods.values(), key=lambda pod: (pod.ends, pod.pod)) for node, pods in by_node.items()}


def _on(cluster: RemedyCluster, node: str, ending: Sequence[EndingPod], counts: Mapping[str, int]) -> WaitRemedy | None:
    number = next((n for n in range(1, len(ending) + 1) if _fits_without(cluster, node, ending[:n], counts)), 0)
    if not number:
        return None
    needed = list(ending[:number])
    for pod in ending[: number - 1]:  # the last one is needed: without it there was no room
        without = [other for other in needed if other is not pod]
        if _fits_without(cluster, node, without, counts):
            needed = without
    return WaitRemedy(
        node=node,
        pods=[pod.pod for pod in needed],
        until=needed[-1].ends,
        terminating=all(pod.terminating for pod in needed),
    )


def _fits_without(cluster: RemedyCluster, node: str, pods: Sequence[EndingPod], counts: Mapping[str, int]) -> bool:
    return cluster.fits_without(node, {pod.uid for pod in pods}, counts)
