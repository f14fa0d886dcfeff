"""Why a pod is pending, or where it lies, in plain words. Called by the API; the command line and the demo print it."""

from collections import Counter
from typing import Any

from scheduler.state import KnownPod, State


def find(state: State, name: str) -> KnownPod | None:
    """A MIG pod that is not over, by UID, `namespace/name`, or a name that only one pod has."""
    if name in state.pods:
        return state.pods[name]
    matches = [p for p in state.pods.values() if name in (p.name, f"{p.namespace}/{p.name}")]
    return matches[0] if len(matches) == 1 else None


def explain(state: State, pod: KnownPod) -> dict[str, Any]:
    """The explanation of one pod: phase, reason, and per node why not, as a JSON-able mapping."""
    answer: dict[str, Any] = {
        "namespace": pod.namespace,
        "pod": pod.name,
        "uid": pod.uid,
        "request": str(pod.request) if pod.request is not None else "",
        "phase": "pending",
        "node": pod.node,
        "reason": "",
        "nodes": {},
        "slices": [],
    }
    if pod.request is None:
        return answer | {"phase": "invalid", "reason": pod.problem}
    claim = state.inventory.ledger.get(pod.uid)
    if claim is not None:
        slices = [
            {
                "container": hold.container,
                "gpu": hold.gpu,
                "profile": hold.placement.profile,
                "start": hold.placement.start,
                "size": hold.placement.size,
            }
            for hold in claim.holds
        ]
        return answer | {
            "phase": "bound",
            "node": claim.node,
            "reason": f"its slices are {claim.state.value}",
            "slices": slices,
        }
    if pod.node:
        return answer | {"phase": "bound", "reason": "bound without a placement of ours; its agent decides"}
    nodes = _misfits(state, pod)
    return answer | {"nodes": nodes, "reason": _summary(state, nodes)}


def _misfits(state: State, pod: KnownPod) -> dict[str, str]:
    """Why each node refuses the pod; nodes that would take it are left out."""
    inventory = state.inventory
    assert pod.request is not None  # the caller has asked
    names = sorted(inventory.nodes)
    losses = inventory.fleet.losses(pod.request, inventory.fleet.rows_of(names))
    return {
        name: inventory.explain(pod.request, name).message
        for name, loss in zip(names, losses, strict=True)
        if not abs(loss) < float("inf")
    }


def _summary(state: State, nodes: dict[str, str]) -> str:
    if len(nodes) < len(state.inventory.nodes):
        fitting = len(state.inventory.nodes) - len(nodes)
        return f"{fitting} of {len(state.inventory.nodes)} nodes have room; kube-scheduler has not bound it yet"
    if not nodes:
        return "the cluster has no nodes"
    counted = Counter(nodes.values()).most_common()
    return "; ".join(f"{number} {'node' if number == 1 else 'nodes'}: {message}" for message, number in counted)
