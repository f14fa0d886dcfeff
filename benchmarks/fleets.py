"""Fleets that grew by chance, for plans and repacks to be tried on. Used by `planning` and `repacking`."""

import numpy as np

from allocator.claims.snapshot import GpuView, NodeView, Occupant, Snapshot
from allocator.claims.snapshot_file import PodFacts, Saved
from allocator.mig import gpu_models
from allocator.mig.geometry import Geometry, compiled
from allocator.mig.profile import Placement

MODEL = "a100-40gb"
GPUS_PER_NODE = 8


def fleet(draw: np.random.Generator, gpus: int, stays: float = 0.9, movable: float = 0.8) -> Saved:
    """GPUs filled at random, then thinned: each pod stays with probability `stays`, may move with `movable`."""
    catalogue = gpu_models.find(MODEL)
    geometry = compiled(catalogue)
    facts: dict[str, PodFacts] = {}
    nodes: list[NodeView] = []
    for first in range(0, gpus, GPUS_PER_NODE):
        name = f"node-{first // GPUS_PER_NODE:04}"
        views = []
        for index in range(min(GPUS_PER_NODE, gpus - first)):
            occupants = []
            for placement in grown(draw, geometry, 8):
                if draw.random() < stays:
                    uid = f"uid-{len(facts)}"
                    facts[uid] = PodFacts(movable=bool(draw.random() < movable))
                    occupants.append(Occupant(placement, "ready", "default", f"pod-{len(facts)}", "main", uid))
            mask = sum(occupant.placement.mask for occupant in occupants)
            uuid = f"{name}-gpu-{index}"
            views.append(GpuView(name, uuid, index, MODEL, MODEL, 8, mask, tuple(occupants), catalogue=catalogue))
        nodes.append(NodeView(name, tuple(views)))
    return Saved(Snapshot(tuple(nodes)), facts)


def grown(draw: np.random.Generator, geometry: Geometry, most: int) -> list[Placement]:
    """Random slices of plain profiles, one after another, while one fits."""
    plain = np.array([geometry.catalogue.profile(p.profile).plain for p in geometry.placements])
    state, placed = geometry.EMPTY, []
    for _ in range(most):
        legal = np.flatnonzero((geometry.step[state] >= 0) & plain)
        if not len(legal):
            break
        index = int(draw.choice(legal))
        state = int(geometry.step[state, index])
        placed.append(geometry.placements[index])
    return placed
