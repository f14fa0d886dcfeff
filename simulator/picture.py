"""Picture: all pods and GPUs of the demo at one moment, for people and as JSON. Taken by `demo`, drawn by the CLI."""

from dataclasses import dataclass
from typing import Any

from allocator.claims.snapshot import NodeView


@dataclass(frozen=True, slots=True)
class SliceView:
    """One slice of a pod: memory slices `start` … `start + size - 1` of a GPU."""

    container: str
    gpu: str
    profile: str
    start: int
    size: int


@dataclass(frozen=True, slots=True)
class PodRow:
    """A pod, where it is, and in plain words why it is nowhere."""

    namespace: str
    name: str
    phase: str
    node: str
    reason: str
    slices: tuple[SliceView, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """All pods and all GPUs at one moment."""

    pods: tuple[PodRow, ...]
    nodes: tuple[NodeView, ...]

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
                            "container": slice_.container,
                            "gpu": slice_.gpu,
                            "profile": slice_.profile,
                            "start": slice_.start,
                            "size": slice_.size,
                        }
                        for slice_ in pod.slices
                    ],
                }
                for pod in self.pods
            ],
            "gpus": [
                {"node": node.name, "gpu": gpu.uuid, "model": gpu.model, "mask": gpu.mask}
                for node in self.nodes
                for gpu in node.gpus
            ],
        }
