"""Fluent builder for saved snapshots: a cluster as the planners see it, with what is known of its pods.

    cluster().node("n1").gpu("a100-40gb").pod("train", "3g.20gb@4", movable=True).idle("1g.5gb@0").saved()

A pod named twice holds slices on both GPUs. Pods are ready and may not be moved unless told otherwise.
"""

from dataclasses import dataclass, replace

from allocator.claims.disruption_budget import DisruptionBudget
from allocator.claims.snapshot import GpuView, NodeView, Occupant, Snapshot
from allocator.claims.snapshot_file import IDLE, PodFacts, Saved, empty_gpu
from allocator.mig import gpu_models
from allocator.mig.catalogue import Catalogue
from allocator.mig.profile import Placement


@dataclass(frozen=True)
class ClusterBuilder:
    """Nodes, GPUs and slices; a slice goes to the GPU added last, a GPU to the node added last."""

    nodes: tuple[NodeView, ...] = ()
    facts: tuple[tuple[str, PodFacts], ...] = ()
    budgets: tuple[DisruptionBudget, ...] = ()

    def node(self, name: str) -> "ClusterBuilder":
        """One more node."""
        return replace(self, nodes=(*self.nodes, NodeView(name, ())))

    def gpu(self, model: str | Catalogue = "a100-40gb", problem: str = "") -> "ClusterBuilder":
        """One more GPU, empty."""
        catalogue = gpu_models.find(model) if isinstance(model, str) else model
        *others, last = self.nodes
        added = replace(empty_gpu(last.name, len(last.gpus), catalogue), problem=problem)
        return replace(self, nodes=(*others, replace(last, gpus=(*last.gpus, added))))

    def pod(
        self, name: str, *slices: str, state: str = "ready", container: str = "", **facts: object
    ) -> "ClusterBuilder":
        """A pod's slices, such as `3g.20gb@4`, all of one container or each of its own; keywords are its PodFacts."""
        uid = f"uid-{name}"
        built = self
        for number, text in enumerate(slices):
            built = built._slice(text, state, pod=name, uid=uid, container=container or f"c{number}")
        known = PodFacts(**facts)  # type: ignore[arg-type]
        return replace(built, facts=(*built.facts, (uid, known)) if facts else built.facts)

    def idle(self, *slices: str) -> "ClusterBuilder":
        """Warm slices that nobody owns."""
        built = self
        for text in slices:
            built = built._slice(text, IDLE)
        return built

    def foreign(self, *slices: str) -> "ClusterBuilder":
        """Slices that somebody else cut."""
        built = self
        for text in slices:
            built = built._slice(text, "foreign")
        return built

    def budget(self, allowed: int, *pods: str) -> "ClusterBuilder":
        """A PodDisruptionBudget over these pods."""
        name = f"budget-{len(self.budgets)}"
        added = DisruptionBudget("default", name, allowed, tuple(f"uid-{pod}" for pod in pods))
        return replace(self, budgets=(*self.budgets, added))

    def saved(self) -> Saved:
        """The snapshot."""
        return Saved(Snapshot(self.nodes), dict(self.facts), self.budgets)

    def _slice(self, text: str, state: str, pod: str = "", uid: str = "", container: str = "") -> "ClusterBuilder":
        *nodes, node = self.nodes
        *gpus, gpu = node.gpus
        assert gpu.catalogue is not None
        profile, start = text.split("@")
        placement = gpu.catalogue.placement(profile, int(start))
        namespace = "default" if pod else ""
        added = _with(gpu, Occupant(placement, state, namespace, pod, container, uid), placement)
        return replace(self, nodes=(*nodes, replace(node, gpus=(*gpus, added))))


def _with(gpu: GpuView, occupant: Occupant, placement: Placement) -> GpuView:
    mask = gpu.mask if occupant.state == IDLE else gpu.mask | placement.mask
    return replace(gpu, mask=mask, occupants=(*gpu.occupants, occupant))


def cluster() -> ClusterBuilder:
    """A cluster without nodes, to be built up."""
    return ClusterBuilder()
