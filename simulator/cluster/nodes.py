"""Simulated GPU nodes: what they have, and the SimulatedNode objects that say so.

Called by the demo, the local cluster and benchmarks.

What kube-scheduler counts is static, as on a real node with migsched's agent: for every profile the places where the
node's GPUs could hold one if they held nothing else. Exactness is the extender's.
"""

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from allocator import errors
from allocator.mig import gpu_models
from simulator.cluster import api
from simulator.cluster.api import Api, Document

MAX_NODES = 20_000
MAX_GPUS = 16  # of one node: the largest machines sold
_CREATING = 32  # nodes created at once


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU of a simulated node."""

    uuid: str
    model: str


@dataclass(frozen=True, slots=True)
class SimulatedNode:
    """A simulated node; its GPUs by index."""

    name: str
    gpus: tuple[Gpu, ...]


def uniform(
    nodes: int, gpus: int, model: str = "a100-40gb", *, seed: int = 0, prefix: str = "node-"
) -> tuple[SimulatedNode, ...]:
    """That many equal nodes, counted from 1. GPU UUIDs follow from the seed.

    Raises SettingsError for impossible numbers, CatalogueError for an unknown model.
    """
    if not 1 <= nodes <= MAX_NODES:
        raise errors.SettingsError("nodes", nodes, f"use 1…{MAX_NODES}")
    if not 1 <= gpus <= MAX_GPUS:
        raise errors.SettingsError("gpus", gpus, f"a node has 1…{MAX_GPUS} GPUs")
    model_name = gpu_models.find(model).model
    draw = random.Random(seed)
    width = len(str(nodes))
    return tuple(
        SimulatedNode(f"{prefix}{number:0{width}}", tuple(Gpu(_uuid(draw), model_name) for _ in range(gpus)))
        for number in range(1, nodes + 1)
    )


def document(node: SimulatedNode) -> Document:
    """The v1.Node that a kubelet and migsched's agent would have made of it."""
    amounts = {"cpu": "128", "memory": "1Ti", "ephemeral-storage": "2Ti", "pods": "250"} | _slices(node)
    models = sorted({gpu.model for gpu in node.gpus})
    return {
        "metadata": {
            "name": node.name,
            "labels": {
                "kubernetes.io/arch": "amd64",
                "kubernetes.io/hostname": node.name,
                "kubernetes.io/os": "linux",
                "nvidia.com/gpu.count": str(len(node.gpus)),
                "nvidia.com/gpu.product": "_".join(models)[:63],
                "nvidia.com/mig.capable": "true",
            },
        },
        "status": {
            "capacity": amounts,
            "allocatable": amounts,
            "conditions": [{"type": "Ready", "status": "True", "reason": "Simulated", "message": "a simulated node"}],
        },
    }


async def create(cluster: Api, fleet: Sequence[SimulatedNode]) -> None:
    """Create the SimulatedNode objects; those there already are left alone."""
    slots = asyncio.Semaphore(_CREATING)

    async def create_one(node: SimulatedNode) -> None:
        async with slots:
            try:
                await cluster.create(api.NODE, document(node))
            except errors.ConflictError:
                await cluster.patch_status(api.NODE, node.name, {"status": document(node)["status"]})

    async with asyncio.TaskGroup() as group:
        for node in fleet:
            group.create_task(create_one(node))


def _slices(node: SimulatedNode) -> dict[str, str]:
    places: Counter[str] = Counter()
    for gpu in node.gpus:
        for profile in gpu_models.find(gpu.model).profiles:
            places[profile.resource] += len(profile.starts)
    return {resource: str(number) for resource, number in places.items()}


def _uuid(draw: random.Random) -> str:
    return f"GPU-{uuid.UUID(int=draw.getrandbits(128), version=4)}"
