"""Pods in bursts on the genuine kube-scheduler: nothing overlaps, nothing fitting stays pending, room is used."""

import random

import pytest

from allocator.mig import geometry, gpu_models
from allocator.placement import fitting
from tests.e2e.scheduling.conftest import GPUS, NODES
from tests.e2e.scheduling.stack import MODEL, Stack, bound, eventually, placements, pod

pytestmark = pytest.mark.e2e

SLOTS = NODES * GPUS * 7


def condition(one: dict[str, object]) -> str:
    """The message of a pod's PodScheduled condition."""
    status = one["status"]
    assert isinstance(status, dict)
    return next((c.get("message", "") for c in status.get("conditions", ()) if c["type"] == "PodScheduled"), "")


def test_a_burst_fills_the_fleet_to_the_last_slot_and_a_deletion_makes_room(stack: Stack) -> None:
    """280 small pods fill 5 nodes × 8 GPUs; the 281st is refused with a reason, and placed within 3 s of a deletion."""
    stack.create(*(pod(f"small-{n}", "1g.5gb") for n in range(SLOTS)))
    eventually(lambda: len(bound(stack.pods())) == SLOTS, f"{SLOTS} pods bound")
    held = placements(stack, stack.pods())
    assert {gpu: len(there) for gpu, there in held.items()} == {g.uuid: 7 for n in stack.fleet for g in n.gpus}

    stack.create(pod("late-1", "1g.5gb"))
    eventually(lambda: "0/5 nodes are available" in condition(stack.pods("--selector=app=late")[0]), "a refusal")
    assert "nvidia.com/mig-1g.5gb" in condition(stack.pods("--selector=app=late")[0])
    assert stack.explain("default/late-1")["reason"] == "5 nodes: no free 1g.5gb placement on any GPU (5 full)"

    stack.delete("small-17")
    eventually(lambda: bool(bound(stack.pods("--selector=app=late"))), "the late pod bound", seconds=3)
    assert len(placements(stack, stack.pods())) == NODES * GPUS


def test_what_the_counts_allow_and_the_geometry_does_not_is_refused_by_us(stack: Stack) -> None:
    """A 7g pod that Kubernetes' count lets pass is refused with our sentence, and placed once a GPU is empty again."""
    stack.create(*(pod(f"half-{n}", "3g.20gb") for n in range(2 * NODES * GPUS)))
    eventually(lambda: len(bound(stack.pods())) == 2 * NODES * GPUS, "the halves bound")
    stack.create(pod("whole-1", "7g.40gb"))
    eventually(
        lambda: "5 no free 7g.40gb placement on any GPU" in condition(stack.pods("--selector=app=whole")[0]),
        "our refusal in the pod's condition",
    )
    gpu, ((one, _), (other, _)) = next(iter(placements(stack, stack.pods()).items()))
    stack.delete(one, other)
    eventually(lambda: bool(bound(stack.pods("--selector=app=whole"))), "the whole GPU taken", seconds=3)
    assert placements(stack, stack.pods())[gpu][0][0] == "whole-1"


@pytest.mark.parametrize("draw", [1, 2])
def test_no_pod_stays_pending_while_a_place_for_it_is_free(stack: Stack, draw: int) -> None:
    """After a mixed burst past capacity, each pending pod fits on no node, by exact search over what is really cut."""
    chance = random.Random(draw)
    mix = ["1g.5gb", "1g.5gb", "1g.10gb", "2g.10gb", "3g.20gb", "4g.20gb", "7g.40gb", "1g.5gb+me"]
    documents = []
    for n in range(150):
        number = 2 if chance.random() < 0.1 else 1
        documents.append(pod(f"mixed-{n}", *(chance.choice(mix) for _ in range(number))))
    stack.create(*documents)

    def settled() -> bool:
        pods = stack.pods()
        waiting = [p for p in pods if not p["spec"].get("nodeName")]
        done = all(p["status"]["phase"] == "Running" for p in bound(pods))
        return done and all(condition(p) for p in waiting) and not any(fits(stack, p) for p in waiting)

    eventually(settled, "every fitting pod running")
    placements(stack, stack.pods())


def fits(stack: Stack, one: dict[str, object]) -> bool:
    """Whether a pod's slices fit together on one node, given what the hardware holds."""
    spec = one["spec"]
    assert isinstance(spec, dict)
    counts: dict[str, int] = {}
    for resource, number in spec["containers"][0]["resources"]["limits"].items():
        name = resource.removeprefix("nvidia.com/mig-").replace("gb.me", "gb+me")
        counts[name] = int(number)
    compiled = geometry.compiled(gpu_models.find(MODEL))
    in_use = stack.agents.in_use()
    return any(
        fitting.fits([(compiled, compiled.state_of(in_use[gpu.uuid])) for gpu in node.gpus], counts)
        for node in stack.fleet
    )
