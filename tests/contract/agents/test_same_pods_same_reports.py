"""The stand-in is the real agent's equal: the same pods come and go, and after each the same is told of who has what.

Idle slices are left out of the comparison: a step that runs while the kubelet is writing down what an Allocate gave may
cut one that nobody wants any more. They stand in nobody's way, and what becomes of them is in test_agents_contract.
"""

import random
from collections.abc import Sequence

import pytest

from allocator.claims import placement_annotation
from allocator.claims.placement_annotation import Promise
from allocator.mig import gpu_models
from simulator.cluster import api
from simulator.cluster.api import Document
from tests.contract.agents.conftest import FLEET, FOREIGN_GPU, GPU, NODE, OTHER_GPU, AgentsWorld, Row
from tests.unit.simulator.cluster import memory_cluster
from tests.waiting import eventually

STEPS = 25
MODEL = gpu_models.find(FLEET[0].gpus[0].model)
Told = tuple[list[Row], list[tuple[str, str]]]  # slices that somebody has, and the pods' phases


def draw_pod(draw: random.Random, number: int) -> tuple[Document, str | None]:
    """A pod that asks for one or two slices, and its placement: places anywhere, of the node's or not, or none at all.

    All of a profile, which is one Allocate: where a later one is refused, what the former ones gave is taken back by a
    real agent in its own time.
    """
    profile = draw.choice(["1g.5gb", "1g.10gb", "2g.10gb", "3g.20gb", "4g.20gb", "7g.40gb"])
    asks = [profile] * draw.choice([1, 1, 2])
    gpus = [GPU, OTHER_GPU, draw.choice([GPU, OTHER_GPU, FOREIGN_GPU])]
    places = sorted({(gpu, start) for gpu in gpus for start in MODEL.profile(profile).starts})
    promises = [Promise("main", gpu, profile, start) for gpu, start in draw.sample(places, len(asks))]
    return memory_cluster.pod(f"p{number:02}", *asks), placement_annotation.encode(
        promises
    ) if draw.random() < 0.8 else None


async def history(kind: str, seed: int) -> list[Told]:
    """What is told after each step of a random life of a node."""
    draw, world, told, living = random.Random(seed), AgentsWorld(kind), list[Told](), list[str]()
    asked: dict[str, int] = {}
    async with world.started() as agents:
        for number in range(STEPS):
            if living and draw.random() < 0.35:
                world.delete(living.pop(draw.randrange(len(living))), grace_seconds=0)
            else:
                document, placement = draw_pod(draw, number)
                made = world.server.create(api.POD, document).document
                (amount,) = document["spec"]["containers"][0]["resources"]["limits"].values()
                asked[made["metadata"]["name"]] = int(amount)
                world.bind(made, NODE, placement)
                name = made["metadata"]["name"]
                await world.until_tried(name)
                living.append(name)
            has = sorted(
                f"{name}/main" for name in living if world.phase(name) == "Running" for _ in range(asked[name])
            )
            await eventually(lambda: owners(world.rows()) == has, "the report names who has what")  # noqa: B023
            cut = {gpu: sorted(map(str, places)) for gpu, places in agents.hardware().items() if places}
            await eventually(lambda: by_gpu(world.rows()) == cut, "the report is the GPUs' truth")  # noqa: B023
            told.append(
                ([row for row in world.rows() if row[2] != "idle"], [(name, world.phase(name)) for name in living])
            )
    return told


def owners(rows: Sequence[Row]) -> list[str]:
    """Whose the slices are that are not idle."""
    return sorted(owner for _, _, state, owner in rows if state != "idle")


def by_gpu(rows: Sequence[Row]) -> dict[str, list[str]]:
    """What is reported cut, by GPU."""
    return {gpu: sorted(row[1] for row in rows if row[0] == gpu) for gpu in sorted({row[0] for row in rows})}


@pytest.mark.parametrize("seed", range(4))
async def test_same_pods_same_reports(seed: int) -> None:
    """Slices and their owners, and the pods' phases, step by step."""
    real, stand_in = await history("real", seed), await history("stand-in", seed)
    for step, (one, other) in enumerate(zip(real, stand_in, strict=True)):
        assert one == other, f"step {step}"
