"""The parts of simulated GPUs: boards, compute instances, MIG mode, capability files, events."""

from pathlib import Path

import pytest

from allocator import errors
from allocator.mig import gpu_models
from node_agent.gpu import device
from simulator.gpu import board, capabilities, compute
from simulator.gpu.driver import Privilege, SimulatedDriver, Virtualization, simulate
from simulator.gpu.faults import Call
from simulator.gpu.gpu import SimulatedGpu
from simulator.gpu.mode import ModeMachine


@pytest.mark.parametrize("model", gpu_models.known())
def test_boards_have_no_gaps(model: str) -> None:
    """A board has a number for everything, and keeps every published one."""
    published = gpu_models.find(model)
    filled = board.board(published)
    assert filled.memory_mib > 0
    for profile, told in zip(filled.catalogue.profiles, published.profiles, strict=True):
        for field in ("memory_mib", "engines", "sm", "copy_engines"):
            assert getattr(profile, field) is not None
            assert getattr(told, field) in (None, getattr(profile, field))


@pytest.mark.parametrize(
    ("model", "branch", "absent"),
    [
        ("a100-40gb", 450, {"1g.5gb+me", "1g.10gb"}),
        ("a100-40gb", 470, {"1g.10gb"}),
        ("a100-40gb", 525, set()),
        ("a30-24gb", 470, {"2g.12gb+me"}),
        ("rtx-pro-6000-blackwell-96gb", 570, {"1g.24gb+gfx", "2g.48gb+gfx", "1g.24gb-me"}),
    ],
)
def test_profiles_depend_on_the_driver(model: str, branch: int, absent: set[str]) -> None:
    """Older drivers do not know the profiles that were added later."""
    names = set(board.board(gpu_models.find(model), branch).catalogue.by_name)
    assert names.isdisjoint(absent)
    if model.startswith("a"):
        assert names | absent == set(gpu_models.find(model).by_name)


def test_splits_of_a_whole_gpu() -> None:
    """A 7g instance splits into 7, 3, 2, 1 and 1 compute instances of 1, 2, 3, 4 and 7 slices, each disjoint."""
    gpu = SimulatedGpu(gpu_models.find("a100-40gb"), "GPU-0")
    splits = gpu.compute_profiles["7g.40gb"]
    assert [(split.size, split.instances) for split in splits] == [(1, 7), (2, 3), (3, 2), (4, 1), (7, 1)]
    assert all(len(split.starts) == split.instances for split in splits)


def test_full_compute_instance_of_a_double_memory_slice() -> None:
    """On Hopper the full compute instance of 1g.20gb is REV1 with 26 multiprocessors, of 1g.10gb the plain one."""
    gpu = SimulatedGpu(gpu_models.find("h100-80gb"), "GPU-0")
    double, plain = (compute.full(gpu.compute_profiles[name]) for name in ("1g.20gb", "1g.10gb"))
    assert (double.profile_id, double.sm) == (7, 26)
    assert (plain.profile_id, plain.sm) == (0, 16)


def test_compute_instances_fill_a_gpu_instance() -> None:
    """Compute instances take the lowest free id and a span that keeps the most room, until none is left."""
    gpu = SimulatedGpu(gpu_models.find("a100-40gb"), "GPU-0")
    instance = gpu.create_gpu_instance(0, 0)
    small = gpu.create_compute_instance(instance.gi_id, 0)
    assert (small.ci_id, small.start) == (0, 6)  # the span that costs no larger one
    large = gpu.create_compute_instance(instance.gi_id, 3)
    assert (large.ci_id, large.start, large.size) == (1, 0, 4)
    with pytest.raises(device.NoRoomError):
        gpu.create_compute_instance(instance.gi_id, 2)
    with pytest.raises(device.NoRoomError):
        gpu.create_compute_instance(instance.gi_id, 0, 1)
    gpu.destroy_compute_instance(instance.gi_id, 0)
    assert gpu.create_compute_instance(instance.gi_id, 1, 4).ci_id == 0
    with pytest.raises(device.InvalidArgumentError):
        gpu.create_compute_instance(instance.gi_id, 1, 1)


def test_ampere_switches_with_a_reset() -> None:
    """An idle Ampere resets itself; a busy one waits for it; and its mode survives a reboot."""
    mode = ModeMachine(enabled=False, needs_reset=True)
    assert mode.request(True, busy=True) == 19
    assert (mode.current, mode.pending) == (False, True)
    mode.reset()
    assert (mode.current, mode.pending) == (True, True)
    mode.reset()
    assert mode.current


def test_passed_through_ampere_needs_a_reboot() -> None:
    """An Ampere in a virtual machine cannot reset itself and says so; taking the wish back needs nothing."""
    mode = ModeMachine(enabled=False, needs_reset=True, passthrough=True)
    assert mode.request(True, busy=False) == 16
    assert mode.request(False, busy=False) == 0
    assert (mode.current, mode.pending) == (False, False)


def test_hopper_forgets_its_mode() -> None:
    """An idle Hopper switches at once, passed through or not, and forgets its mode with a reboot."""
    mode = ModeMachine(enabled=False, needs_reset=False, passthrough=True)
    assert mode.request(True, busy=False) == 0
    assert mode.current
    mode.reset()
    assert (mode.current, mode.pending) == (False, False)


@pytest.mark.parametrize(
    ("gpu", "gi", "ci", "minor"), [(0, 0, None, 3), (0, 0, 0, 4), (0, 1, None, 12), (3, 3, 3, 439), (6, 11, 5, 918)]
)
def test_capability_minors(gpu: int, gi: int, ci: int | None, minor: int) -> None:
    """Capability minors are those that real nodes and NVIDIA's own comments show."""
    told = capabilities.gi_minor(gpu, gi) if ci is None else capabilities.ci_minor(gpu, gi, ci)
    assert told == minor


def test_capability_files(tmp_path: Path) -> None:
    """Capability files follow the instances of a GPU, under its minor number, and no device node is made."""
    gpu = SimulatedGpu(gpu_models.find("a100-40gb"), "GPU-0", index=0, minor=2)
    SimulatedDriver([gpu], root=tmp_path)
    top = tmp_path / "proc/driver/nvidia/capabilities/gpu2/mig"
    gpu.create("3g.20gb", 4)
    assert "DeviceFileMinor: 291\n" in (top / "gi2/access").read_text()
    assert "DeviceFileMinor: 292\n" in (top / "gi2/ci0/access").read_text()
    minors = (tmp_path / "proc/driver/nvidia-caps/mig-minors").read_text().splitlines()
    assert minors[:3] == ["config 1", "monitor 2", "gpu2/gi0/access 273"]
    assert "gpu2/gi2/access 291" in minors
    gpu.destroy(2)
    assert list(top.iterdir()) == []
    assert not (tmp_path / "dev").exists()


@pytest.mark.parametrize("spec", ["a100-40gb:0", "a100-40gb:x", "a100-40gb:33", "a100-40gb:20,h100-80gb:20"])
def test_bad_number_of_simulated_gpus(spec: str) -> None:
    """A count that is no count, or more GPUs than a node has, is refused with the text it was in."""
    with pytest.raises(errors.SettingsError, match="simulated GPUs"):
        simulate(spec)


def test_simulated_nodes_have_stable_and_distinct_gpus() -> None:
    """The same seed gives the same UUIDs, another seed others, and a mixed node has each model in order."""
    first, again, other = (simulate("a30-24gb:2,h200-141gb", seed=seed) for seed in ("a", "a", "b"))
    assert list(first.gpus) == list(again.gpus)
    assert set(first.gpus).isdisjoint(other.gpus)
    assert [gpu.catalogue.model for gpu in first.by_index()] == ["a30-24gb", "a30-24gb", "h200-141gb"]


def test_faults_strike_as_often_as_told() -> None:
    """A fault strikes its call on its GPU so many times, before or after the effect, and then no more."""
    driver = simulate("a100-40gb:2")
    first, second = driver.by_index()
    driver.faults.fail(Call.LIST, device.DeviceBusyError, gpu=first.uuid, times=2)
    with driver.call(Call.LIST, second):
        pass
    for _ in range(2):
        with pytest.raises(device.DeviceBusyError), driver.call(Call.LIST, first):
            pytest.fail("the effect happened")
    with driver.call(Call.LIST, first):
        pass
    driver.faults.fail(Call.LIST, device.DeviceBusyError, after=True)
    happened = []
    with pytest.raises(device.DeviceBusyError), driver.call(Call.LIST, first):
        happened.append(True)
    assert happened == [True]


def test_privileges_and_virtualization_follow_nvml() -> None:
    """Privileges are ordered, and virtualization modes have NVML's numbers."""
    assert Privilege.NONE < Privilege.MONITOR < Privilege.CONFIG < Privilege.ADMIN
    assert [int(mode) for mode in Virtualization] == [0, 1, 2, 3]
