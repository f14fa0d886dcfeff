"""Published transcripts of `nvidia-smi mig -cgi`: which GPU instance ids a driver gave to profiles in which order."""

import dataclasses

import pytest

from allocator.mig import gpu_models
from allocator.mig.catalogue import Catalogue
from node_agent.gpu import device
from simulator.gpu.gpu import SimulatedGpu
from simulator.gpu.spans import Orientation

NORMAL, SWAPPED = Orientation.NORMAL, Orientation.HALVES_SWAPPED
UUID = "GPU-00000000-0000-0000-0000-000000000001"


def cut(catalogue: Catalogue, orientation: Orientation, profile_ids: list[int], branch: int = 610) -> list[int]:
    gpu = SimulatedGpu(catalogue, UUID, orientation=orientation, branch=branch)
    return [gpu.create_gpu_instance(profile_id).gi_id for profile_id in profile_ids]


# Found in NVIDIA's MIG User Guide, issue trackers and how-tos; a listing counts as the order that explains it.
TRANSCRIPTS = [
    ("a100-40gb", NORMAL, [19] * 7, [13, 11, 12, 7, 8, 9, 10]),
    ("a100-40gb", SWAPPED, [19] * 7, [9, 7, 8, 11, 12, 13, 14]),
    ("a100-40gb", NORMAL, [9], [2]),
    ("a100-40gb", NORMAL, [9, 9], [2, 1]),
    ("a100-40gb", NORMAL, [9, 19, 14, 19], [2, 7, 4, 8]),
    ("a100-40gb", SWAPPED, [9, 19, 14, 19], [1, 11, 6, 12]),
    ("a100-40gb", NORMAL, [19, 19, 14], [13, 11, 3]),
    ("a100-40gb", NORMAL, [14, 19, 19, 19, 19, 19], [5, 13, 7, 8, 9, 10]),
    ("a100-80gb", NORMAL, [19, 19], [13, 11]),
    ("a100-80gb", SWAPPED, [14, 14, 19], [3, 5, 9]),
    ("a100-80gb", NORMAL, [9, 14, 19, 19], [2, 3, 9, 10]),
    ("a100-80gb", SWAPPED, [9, 14, 19, 19], [1, 5, 13, 14]),
    ("h100-80gb", SWAPPED, [19] * 7, [9, 7, 8, 11, 12, 13, 14]),
    ("h100-80gb", NORMAL, [15], [6]),
    ("rtx-pro-6000-blackwell-96gb", NORMAL, [14] * 4, [3, 4, 5, 6]),
    ("a30-24gb", NORMAL, [14, 14, 5], [3, 4, 2]),
]


@pytest.mark.parametrize(("model", "orientation", "profile_ids", "gi_ids"), TRANSCRIPTS)
def test_ids_match_transcripts(model: str, orientation: Orientation, profile_ids: list[int], gi_ids: list[int]) -> None:
    """Without a requested place, instances get the ids that published transcripts show."""
    assert cut(gpu_models.find(model), orientation, profile_ids) == gi_ids


@pytest.mark.parametrize("branch", [450, 470, 525])
def test_old_drivers_chose_the_same(branch: int) -> None:
    """The choice is the same on drivers that knew fewer profiles."""
    assert cut(gpu_models.find("a100-40gb"), NORMAL, [19] * 7, branch) == [13, 11, 12, 7, 8, 9, 10]
    assert cut(gpu_models.find("a100-40gb"), SWAPPED, [9, 19, 14, 19], branch) == [1, 11, 6, 12]


def test_bad_order_leaves_no_room_for_the_large_slice() -> None:
    """After 1g, 1g, 2g no 3g fits: the manual's advice to create the largest first."""
    gpu = SimulatedGpu(gpu_models.find("a100-40gb"), UUID)
    for profile_id in (19, 19, 14):
        gpu.create_gpu_instance(profile_id)
    with pytest.raises(device.NoRoomError):
        gpu.create_gpu_instance(9)
    gpu = SimulatedGpu(gpu_models.find("a100-40gb"), UUID)
    for profile_id in (9, 14, 19, 19):
        gpu.create_gpu_instance(profile_id)


def test_choice_ignores_what_a_board_lacks() -> None:
    """Choosing works on a board with a single profile."""
    full = gpu_models.find("a100-40gb")
    only_2g = dataclasses.replace(full, profiles=(full.profile("2g.10gb"),))
    assert cut(only_2g, NORMAL, [14, 14, 14]) == [3, 4, 5]
