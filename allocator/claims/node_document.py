"""Node document: a node of a snapshot as JSON has it, in GET /api/v1/nodes and `migsched top -o json`.

Catalogues are left out: what a GPU could hold is not asked here. What planners read is `snapshot_file`.
"""

from collections.abc import Mapping
from typing import Any

from allocator.claims.snapshot import GpuView, NodeView, Occupant
from allocator.mig.profile import Placement

_OCCUPANT_FIELDS = ("state", "namespace", "pod", "container", "uid")
_GPU_FIELDS = ("uuid", "index", "product", "model", "memory_slices", "mask", "problem")


def encode(node: NodeView) -> dict[str, Any]:
    """A node as plain values."""
    gpus = [_gpu_document(gpu) for gpu in node.gpus]
    return {"name": node.name, "problem": node.problem, "closed": node.closed, "gpus": gpus}


def _gpu_document(gpu: GpuView) -> dict[str, Any]:
    return {
        **{name: getattr(gpu, name) for name in _GPU_FIELDS},
        "slices": [
            {
                "profile": occupant.placement.profile,
                "start": occupant.placement.start,
                "size": occupant.placement.size,
                **{name: getattr(occupant, name) for name in _OCCUPANT_FIELDS},
            }
            for occupant in gpu.occupants
        ],
    }


def decode(node: Mapping[str, Any]) -> NodeView:
    """The node that `encode` wrote. Raises KeyError for a field that is missing; `closed` is newer than the others."""
    gpus = tuple(_gpu_of(node["name"], gpu) for gpu in node["gpus"])
    return NodeView(node["name"], gpus, node["problem"], closed=node.get("closed", ""))


def _gpu_of(node: str, gpu: Mapping[str, Any]) -> GpuView:
    occupants = tuple(
        Occupant(
            Placement(slice_["profile"], slice_["start"], slice_["size"]), *(slice_[name] for name in _OCCUPANT_FIELDS)
        )
        for slice_ in gpu["slices"]
    )
    return GpuView(node=node, occupants=occupants, **{name: gpu[name] for name in _GPU_FIELDS})
