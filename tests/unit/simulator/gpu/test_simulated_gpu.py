import dataclasses

import pytest

from allocator import errors
from allocator.mig import gpu_models
from allocator.mig.profile import Placement
from node_agent.gpu import device
from simulator.gpu.gpu import SimulatedGpu
from simulator.gpu.spans import Orientation

UUID = "GPU-00000000-0000-0000-0000-000000000001"


def a100() -> SimulatedGpu:
    return SimulatedGpu(gpu_models.find("a100-40gb"), UUID, index=1, minor=3)


def test_create_lists_a_whole_slice() -> None:
    """A created slice is listed at its placement with one full-size compute instance and a version 5 MIG UUID."""
    gpu = a100()
    made = gpu.create("3g.20gb", 4)
    assert gpu.instances() == (made,)
    assert made.placement == Placement("3g.20gb", 4, 4)
    assert made.whole
    assert made.mig_uuid is not None
    assert made.mig_uuid.startswith("MIG-")
    assert made.mig_uuid[18] == "5"


@pytest.mark.parametrize(("profile", "start"), [("3g.20gb", 2), ("1g.5gb", 7), ("9g.99gb", 0)])
def test_illegal_placement_is_an_invalid_argument(profile: str, start: int) -> None:
    """What the catalogue does not list is refused as an invalid argument."""
    with pytest.raises(device.InvalidArgumentError):
        a100().create(profile, start)


def test_overlap_and_profile_limit_are_no_room() -> None:
    """An overlapping placement, and a second +me slice, are refused for want of room."""
    gpu = a100()
    gpu.create("2g.10gb", 0)
    with pytest.raises(device.NoRoomError):
        gpu.create("1g.5gb", 1)
    gpu.create("1g.5gb+me", 4)
    with pytest.raises(device.NoRoomError):
        gpu.create("1g.5gb+me", 5)


def test_engine_totals_bind_on_a30() -> None:
    """An A30 refuses 1g+me beside 2g+me: both want the one JPEG engine."""
    gpu = SimulatedGpu(gpu_models.find("a30-24gb"), UUID)
    gpu.create("1g.6gb+me", 0)
    with pytest.raises(device.NoRoomError):
        gpu.create("2g.12gb+me", 2)


def test_destroy_frees_the_place_and_the_same_place_has_the_same_names() -> None:
    """A place that is freed and cut again has the same GPU instance id and MIG UUID."""
    gpu = a100()
    first = gpu.create("1g.5gb", 6)
    gpu.destroy(first.gi_id)
    assert gpu.instances() == ()
    again = gpu.create("1g.5gb", 6)
    assert (again.gi_id, again.mig_uuid) == (first.gi_id, first.mig_uuid)


def test_destroy_refuses_used_and_unknown_instances() -> None:
    """A used instance is busy, a missing one is stale, and neither refusal changes anything."""
    gpu = a100()
    made = gpu.create("1g.5gb", 0)
    gpu.start_process(made.gi_id, 4242)
    with pytest.raises(device.DeviceBusyError, match="4242"):
        gpu.destroy(made.gi_id)
    with pytest.raises(device.StaleHandleError):
        gpu.destroy(made.gi_id + 1)
    gpu.end_process(4242)
    gpu.destroy(made.gi_id)
    assert gpu.instances() == ()


def test_reset_removes_everything() -> None:
    """After a reset nothing is cut and nothing runs."""
    gpu = a100()
    made = gpu.create("7g.40gb", 0)
    gpu.start_process(made.gi_id, 1)
    gpu.reset()
    assert gpu.instances() == ()
    assert gpu.processes(made.gi_id) == ()


@pytest.mark.parametrize("model", gpu_models.known())
@pytest.mark.parametrize("orientation", list(Orientation))
def test_every_known_model_can_be_simulated(model: str, orientation: Orientation) -> None:
    """On every known model each legal placement can be cut alone, under an id that no other place of its size has."""
    gpu = SimulatedGpu(gpu_models.find(model), UUID, orientation=orientation)
    ids: dict[int, tuple[int, int]] = {}
    for placement in gpu.catalogue.placements():
        made = gpu.create(placement.profile, placement.start)
        assert ids.setdefault(made.gi_id, (placement.start, placement.size)) == (placement.start, placement.size)
        gpu.destroy(made.gi_id)


def test_catalogue_without_tree_is_refused() -> None:
    """A catalogue whose placements are no nodes of the id tree cannot be simulated, and the message names one."""
    broken = gpu_models.find("a100-40gb")
    profile = broken.profile("2g.10gb")
    odd = dataclasses.replace(profile, starts=(1,))
    catalogue = type(broken)(model="odd", memory_slices=8, compute_slices=7, profiles=(odd,))
    with pytest.raises(errors.CatalogueError, match=r"2g\.10gb@1"):
        SimulatedGpu(catalogue, UUID)
