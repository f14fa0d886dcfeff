"""Picture: all pods and GPUs of the demo at one moment, for people and as JSON. Taken by `demo`, drawn by the CLI."""

from dataclasses import dataclass
from typing import Any

from allocator.claims.ledger import Hold
from allocator.claims.snapshot import NodeView
from simulator.scheduling_mode import SchedulingMode
from simulator.workloads.work import LeftOut


@dataclass(frozen=True, slots=True)
class PodRow:
    """A pod, where it is, and in plain words why it is nowhere."""

    namespace: str
    name: str
    phase: str
    node: str
    reason: str
    slices: tuple[Hold, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """All pods and all GPUs at one moment.

    `rested`: whether nothing was under way. Where something was, `stuck` are the pods, `namespace/name`, that wait.
    `left_out` is what the manifests have besides and nobody made pods of, `without_pods` the kinds that make none.
    """

    pods: tuple[PodRow, ...]
    nodes: tuple[NodeView, ...]
    agents: str  # which run: `real`, or stand-ins
    mode: SchedulingMode = SchedulingMode.QUEUE
    rested: bool = True
    stuck: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    without_pods: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """The picture as JSON has it."""
        return {
            "pods": [
                {
                    "namespace": pod.namespace,
                    "name": pod.name,
                    "phase": pod.phase,
                    "node": pod.node,
                    "reason": pod.reason,
                    "slices": [
                        {
                            "container": hold.container,
                            "gpu": hold.gpu,
                            "profile": hold.placement.profile,
                            "start": hold.placement.start,
                            "size": hold.placement.size,
                        }
                        for hold in pod.slices
                    ],
                }
                for pod in self.pods
            ],
            "gpus": [
                {"node": node.name, "gpu": gpu.uuid, "model": gpu.model, "mask": gpu.mask}
                for node in self.nodes
                for gpu in node.gpus
            ],
            "agents": self.agents,
            "mode": self.mode.value,
            "rested": self.rested,
            "stuck": list(self.stuck),
            "left_out": [
                {"kind": left.kind, "name": left.name, "field": left.field, "why": left.why, "place": left.place}
                for left in self.left_out
            ],
            "without_pods": list(self.without_pods),
        }
