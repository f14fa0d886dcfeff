"""Views of nodes and GPUs, for what draws them."""

from allocator.claims.snapshot import GpuView, NodeView, Occupant
from allocator.mig.profile import Placement


def occupant(
    profile: str, start: int, size: int, pod: str = "web-0", state: str = "ready", namespace: str = "default"
) -> Occupant:
    """A slice of a pod."""
    return Occupant(Placement(profile, start, size), state, namespace, pod, "main", f"uid-{pod}")


def gpu(
    *occupants: Occupant, index: int = 0, memory_slices: int = 8, problem: str = "", model: str = "a100-40gb"
) -> GpuView:
    """A GPU with these slices on it."""
    mask = 0
    for each in occupants:
        mask |= each.placement.mask
    return GpuView("n1", f"GPU-{index}", index, "A100", model, memory_slices, mask, occupants, problem)


def fleet() -> list[NodeView]:
    """Three nodes: a full GPU and an empty one, a half-full H100 of another namespace, one without a report."""
    full = gpu(*(occupant("1g.5gb", start, 1, "triton-7c999f969c-4sbzn") for start in range(7)))
    half = gpu(occupant("3g.40gb", 4, 4, "train-0", namespace="team-a"), model="h100-80gb")
    return [NodeView("n1", (full, gpu(index=1))), NodeView("n2", (half,)), NodeView("n3", (), "no report")]
