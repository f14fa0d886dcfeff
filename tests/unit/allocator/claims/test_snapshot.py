"""What people are shown of an inventory, and how a refusal reads."""

import json
from dataclasses import replace

import pytest

from allocator.claims import node_document, snapshot
from allocator.claims.inventory import Inventory
from allocator.claims.report import MigMode, NodeReport
from allocator.placement.misfit import Misfit, Reason
from tests import builders
from tests.builders import node, pod
from tests.unit.allocator.claims import inventories


def test_nodes_come_in_name_order_and_gpus_node_by_node() -> None:
    """A snapshot lists nodes by name, whatever order they reported in, and all their GPUs."""
    inventory = Inventory()
    for name in ("n2", "n10", "n1"):
        inventory.observe(node(name).gpus_of("a100-40gb", 2).report())
    taken = snapshot.take(inventory)
    assert [node.name for node in taken.nodes] == ["n1", "n10", "n2"]
    assert [gpu.uuid for gpu in taken.gpus()][:3] == ["n1-gpu-0", "n1-gpu-1", "n10-gpu-0"]


def test_each_slice_says_whose_it_is(inventory: Inventory) -> None:
    """Occupants are claims in their states, and idle, foreign and unclaimed slices, in the order of their slots."""
    inventories.reserve(inventory, "reserved", "1g.10gb")  # at 6
    inventory.adopt(pod("bound", "1g.5gb").promised(inventories.GPU, "1g.5gb", 5).bound("n1"))
    inventory.observe(
        node()
        .gpu()
        .foreign("1g.5gb", 0)
        .allocated("1g.5gb", 1, pod="ready", container="web")
        .allocated("1g.5gb", 2, pod="stranger", container="app")
        .idle("1g.5gb", 3)
        .report()
    )
    inventory.adopt(pod("ready", "1g.5gb").bound("n1"))
    (gpu,) = snapshot.take(inventory).gpus()
    assert [
        (str(occupant.placement), occupant.state, occupant.namespace, occupant.pod, occupant.container)
        for occupant in gpu.occupants
    ] == [
        ("1g.5gb@0", "foreign", "", "", ""),
        ("1g.5gb@1", "ready", "default", "ready", "web"),
        ("1g.5gb@2", "unclaimed", "default", "stranger", "app"),
        ("1g.5gb@3", "idle", "", "", ""),
        ("1g.5gb@5", "bound", "default", "bound", "main"),
        ("1g.10gb@6", "reserved", "default", "reserved", "main"),
    ]
    assert gpu.mask == 0b1110_0111
    assert (gpu.node, gpu.uuid, gpu.index, gpu.product) == ("n1", "n1-gpu-0", 0, "a100-40gb")
    assert (gpu.model, gpu.memory_slices, gpu.problem) == ("a100-40gb", 8, "")


def test_a_slice_is_shown_on_its_own_gpu_only() -> None:
    """A pod with slices on two GPUs of a node is an occupant of each with its slice there."""
    inventory = Inventory()
    inventory.observe(node().gpus_of("a100-40gb", 2).report())
    inventories.reserve(inventory, "a", "7g.40gb", "4g.20gb")
    assert [[str(occupant.placement) for occupant in gpu.occupants] for gpu in snapshot.take(inventory).gpus()] == [
        ["7g.40gb@0"],
        ["4g.20gb@0"],
    ]


def test_a_snapshot_does_not_change(inventory: Inventory) -> None:
    """What was taken stays as it was when the inventory goes on."""
    before = snapshot.take(inventory)
    inventories.reserve(inventory, "a", "7g.40gb")
    assert [gpu.mask for gpu in before.gpus()] == [0]
    assert [gpu.mask for gpu in snapshot.take(inventory).gpus()] == [0b1111_1111]


@pytest.mark.parametrize(
    ("built", "problem"),
    [
        (node().gpu(), ""),
        (node().gpu(healthy=False), "unhealthy"),
        (node().gpu(healthy=False, message="fell off the bus"), "fell off the bus"),
        (node().gpu(None), "no catalogue"),
        (node().gpu(None, message="driver too old"), "driver too old"),
        (node().gpu(mig_mode=MigMode.DISABLED), "MIG mode disabled"),
        (node().gpu(mig_mode=MigMode.UNSUPPORTED), "MIG mode unsupported"),
    ],
)
def test_why_a_gpu_takes_no_work(built: builders.NodeBuilder, problem: str) -> None:
    """A GPU that takes no new work says why, and one that does says nothing."""
    inventory = Inventory()
    inventory.observe(built.report())
    (gpu,) = snapshot.take(inventory).gpus()
    assert gpu.problem == problem


def test_a_gpu_of_unknown_make_has_no_slices() -> None:
    """A GPU without a catalogue is shown without a model and slots."""
    inventory = Inventory()
    inventory.observe(node().gpu(None).report())
    (gpu,) = snapshot.take(inventory).gpus()
    assert (gpu.model, gpu.memory_slices, gpu.mask) == ("", 0, 0)


def test_a_conflict_is_the_gpus_problem(inventory: Inventory) -> None:
    """A GPU on which claims and report contradict each other shows the contradiction."""
    inventories.reserve(inventory, "a", "7g.40gb")
    inventory.observe(node().gpu().foreign("1g.5gb", 0).report())
    (gpu,) = snapshot.take(inventory).gpus()
    assert "does not fit beside the others" in gpu.problem


def test_an_unreadable_report_is_the_nodes_problem(inventory: Inventory) -> None:
    """A node whose report cannot be read is shown with its problem and without GPUs."""
    inventory.observe(NodeReport("n1", (), problem="unreadable"))
    (only,) = snapshot.take(inventory).nodes
    assert (only.problem, only.gpus) == ("unreadable", ())


@pytest.mark.parametrize("reason", Reason)
def test_every_refusal_is_a_stable_sentence(reason: Reason) -> None:
    """Each reason has one sentence that names at most what the pod asks for: no node, no GPU, no moving number."""
    said = {Misfit(reason, profiles).message.replace(profiles, "…") for profiles in ("2 × 1g.5gb", "3g.20gb")}
    assert len(said) == 1
    assert not any(character.isdigit() for character in said.pop())


def test_only_lack_of_room_can_be_helped_by_eviction() -> None:
    """Preemption is worth trying only where other pods' slices are in the way."""
    helped = {reason for reason in Reason if Misfit(reason, "1g.5gb").resolvable}
    assert helped == {Reason.NO_ROOM, Reason.NOMINATED, Reason.RESERVATION, Reason.TOO_COMPLEX}


def test_a_node_told_as_plain_values_is_the_same_node(inventory: Inventory) -> None:
    """What the API answers, read again, shows the same GPUs, slices and problems, through JSON too."""
    inventories.reserve(inventory, "reserved", "1g.10gb")
    inventory.observe(node().gpu().foreign("1g.5gb", 0).allocated("1g.5gb", 1, pod="ready", container="web").report())
    inventory.observe(NodeReport("n2", (), problem="unreadable"))
    for view in snapshot.take(inventory).nodes:
        told = json.loads(json.dumps(node_document.encode(view)))
        gpus = tuple(replace(gpu, catalogue=None) for gpu in view.gpus)
        assert node_document.decode(told) == replace(view, gpus=gpus)
