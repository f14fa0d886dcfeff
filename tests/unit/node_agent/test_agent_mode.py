"""Switching MIG mode on: which GPUs, when, and what is said where it does not come into force."""

from dataclasses import replace
from pathlib import Path

import pytest

from allocator.claims.report import MigMode
from allocator.errors import SettingsError
from node_agent import mig_mode, settings
from node_agent.gpu import selection
from node_agent.gpu.device import ModeState as DeviceMode
from node_agent.gpu.device import NoPermissionError
from simulator.gpu.faults import Call
from simulator.gpu.users import DeviceUser
from tests.unit.node_agent.world import OPTIONS, World

OFF = DeviceMode(False, False)
ON = DeviceMode(True, True)
PENDING = DeviceMode(False, True)


def without_mig(directory: Path, chosen: str, gpus: str = "a100-40gb:2") -> World:
    """GPUs with MIG mode off, and an agent that may switch some on."""
    world = World(directory, gpus, options=replace(OPTIONS, manage_mig_mode=selection.parse(chosen)))
    for gpu in world.driver.gpus.values():
        gpu.mode.current = gpu.mode.pending = False
    return world


def modes(world: World) -> list[DeviceMode]:
    """MIG mode of each GPU."""
    return [world.devices.mode(one) for one in world.gpus]


def message(world: World, gpu: int = 0) -> str:
    """What the last report says of a GPU."""
    assert world.outcome is not None
    return world.outcome.report.gpus[gpu].message


def test_mig_mode_is_left_alone_unless_asked_for(tmp_path: Path) -> None:
    """Without the option a GPU with MIG off stays so, is reported so, and is offered whole."""
    world = World(tmp_path)
    world.driver.find(world.gpus[0]).mode.current = world.driver.find(world.gpus[0]).mode.pending = False
    outcome = world.step()
    assert outcome.report.gpus[0].mig_mode is MigMode.DISABLED
    assert world.allocation.offers() == {"nvidia.com/gpu": {world.gpus[0]: True}}


def test_mig_mode_is_switched_on_an_idle_gpu_when_asked_for(tmp_path: Path) -> None:
    """With the option an idle GPU gets MIG mode, and one that a container has as a whole does not."""
    world = without_mig(tmp_path, "all")
    pod = world.bind("whole")
    world.pods[pod.uid].devices["main", "nvidia.com/gpu"] = (world.gpus[1],)
    world.step(10.0)
    assert modes(world) == [ON, OFF]


@pytest.mark.parametrize("by", ["index", "uuid"])
def test_only_the_gpus_named_are_switched(by: str, tmp_path: Path) -> None:
    """A GPU named by index or UUID is switched on, the others are served whole as before."""
    other = World(tmp_path / "other", "a100-40gb:2")
    world = without_mig(tmp_path, "1" if by == "index" else other.gpus[1])
    world.step(10.0)
    assert modes(world) == [OFF, ON]
    assert world.allocation.offers()["nvidia.com/gpu"] == {world.gpus[0]: True}
    assert "nvidia.com/mig-7g.40gb" in world.allocation.offers()


@pytest.mark.parametrize("gpus", ["a100-40gb:1", "h200-141gb:1"])
def test_a_gpu_in_use_is_pending_and_asked_again(gpus: str, tmp_path: Path) -> None:
    """A hidden user keeps the mode pending, which is said; once it is gone the mode comes into force."""
    world = without_mig(tmp_path, "all", gpus)
    gpu = world.driver.find(world.gpus[0])
    gpu.hold(DeviceUser("dcgm"))
    world.step(10.0)
    assert modes(world) == [PENDING]
    assert "monitoring daemon" in message(world)
    assert world.allocation.offers() == {}
    gpu.release(DeviceUser("dcgm"))
    world.step(1.0)
    assert modes(world) == [PENDING]
    world.step(mig_mode.AGAIN_S)
    assert modes(world) == [ON]
    world.step()
    assert message(world) == ""


def test_a_gpu_that_needs_a_reset_is_not_reset(tmp_path: Path) -> None:
    """Where only a reset or reboot helps, that is said; nothing is destroyed, and the reboot brings the mode."""
    world = without_mig(tmp_path, "all", "a100-40gb:1")
    world.driver.find(world.gpus[0]).mode.passthrough = True
    world.step(10.0)
    assert modes(world) == [PENDING]
    assert "a reset of the GPU or a reboot" in message(world)
    world.driver.restart()
    world.restart()
    world.step(10.0)
    assert modes(world) == [ON]
    assert message(world) == ""


def test_a_call_that_fails_is_told_from_a_mode_that_is_pending(tmp_path: Path) -> None:
    """NVML has two return codes: where the call itself fails nothing is pending, and the message says why."""
    world = without_mig(tmp_path, "0", "a100-40gb:1")
    world.driver.faults.fail(Call.SET_MODE, NoPermissionError)
    world.step(10.0)
    assert modes(world) == [OFF]
    assert "cannot be switched on" in message(world)
    world.step(mig_mode.AGAIN_S)
    assert modes(world) == [ON]


def test_names_without_a_gpu_are_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A name that no GPU of the node has is said in the log, and does not keep others from being switched."""
    world = without_mig(tmp_path, "0,7")
    for _ in range(3):
        world.step(10.0)
    assert modes(world) == [ON, OFF]
    assert capsys.readouterr().out.count("GPUs that this node does not have") == 1


@pytest.mark.parametrize("wrong", ["yes", "true", "all,1", "GPU-1", "-1", "1;2"])
def test_a_choice_that_cannot_be_meant_is_refused(wrong: str) -> None:
    """The setting is named, and what to write."""
    with pytest.raises(SettingsError, match=r"manage_mig_mode.*write all, or indices or UUIDs"):
        settings.load(manage_mig_mode=wrong)


def test_nothing_chosen_is_nothing_switched() -> None:
    """The default names no GPU."""
    assert not selection.parse(settings.load().manage_mig_mode)
