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
from node_agent.slices.offer import DeviceOffer
from simulator.gpu.faults import Call
from simulator.gpu.users import DeviceUser
from tests.unit.node_agent.agent_on_node import OPTIONS, AgentOnNode

OFF = DeviceMode(False, False)
ON = DeviceMode(True, True)
PENDING = DeviceMode(False, True)


def without_mig(directory: Path, chosen: str, gpus: str = "a100-40gb:2") -> AgentOnNode:
    """GPUs with MIG mode off, and an agent that may switch some on."""
    node = AgentOnNode(directory, gpus, options=replace(OPTIONS, manage_mig_mode=selection.parse(chosen)))
    for gpu in node.driver.gpus.values():
        gpu.mode.current = gpu.mode.pending = False
    return node


def modes(node: AgentOnNode) -> list[DeviceMode]:
    """MIG mode of each GPU."""
    return [node.devices.mode(gpu) for gpu in node.gpus]


def message(node: AgentOnNode, gpu: int = 0) -> str:
    """What the last report says of a GPU."""
    assert node.outcome is not None
    return node.outcome.report.gpus[gpu].message


def test_mig_mode_is_left_alone_unless_asked_for(tmp_path: Path) -> None:
    """Without the option a GPU with MIG off stays so, is reported so, and is offered whole."""
    node = AgentOnNode(tmp_path)
    node.driver.find(node.gpus[0]).mode.current = node.driver.find(node.gpus[0]).mode.pending = False
    outcome = node.step()
    assert outcome.report.gpus[0].mig_mode is MigMode.DISABLED
    assert node.allocation.offers() == {"nvidia.com/gpu": {node.gpus[0]: DeviceOffer()}}


def test_mig_mode_is_switched_on_an_idle_gpu_when_asked_for(tmp_path: Path) -> None:
    """With the option an idle GPU gets MIG mode, and one that a container has as a whole does not."""
    node = without_mig(tmp_path, "all")
    pod = node.bind("whole")
    node.pods[pod.uid].devices["main", "nvidia.com/gpu"] = (node.gpus[1],)
    node.step(10.0)
    assert modes(node) == [ON, OFF]


@pytest.mark.parametrize("by", ["index", "uuid"])
def test_only_the_gpus_named_are_switched(by: str, tmp_path: Path) -> None:
    """A GPU named by index or UUID is switched on, the others are served whole as before."""
    other = AgentOnNode(tmp_path / "other", "a100-40gb:2")
    node = without_mig(tmp_path, "1" if by == "index" else other.gpus[1])
    node.step(10.0)
    assert modes(node) == [OFF, ON]
    assert node.allocation.offers()["nvidia.com/gpu"] == {node.gpus[0]: DeviceOffer()}
    assert "nvidia.com/mig-7g.40gb" in node.allocation.offers()


@pytest.mark.parametrize("gpus", ["a100-40gb:1", "h200-141gb:1"])
def test_a_gpu_in_use_is_pending_and_asked_again(gpus: str, tmp_path: Path) -> None:
    """A hidden user keeps the mode pending, which is said; once it is gone the mode comes into force."""
    node = without_mig(tmp_path, "all", gpus)
    gpu = node.driver.find(node.gpus[0])
    gpu.hold(DeviceUser("dcgm"))
    node.step(10.0)
    assert modes(node) == [PENDING]
    assert "monitoring daemon" in message(node)
    assert node.allocation.offers() == {}
    gpu.release(DeviceUser("dcgm"))
    node.step(1.0)
    assert modes(node) == [PENDING]
    node.step(mig_mode.AGAIN_S)
    assert modes(node) == [ON]
    node.step()
    assert message(node) == ""


def test_a_gpu_that_needs_a_reset_is_not_reset(tmp_path: Path) -> None:
    """Where only a reset or reboot helps, that is said; nothing is destroyed, and the reboot brings the mode."""
    node = without_mig(tmp_path, "all", "a100-40gb:1")
    node.driver.find(node.gpus[0]).mode.passthrough = True
    node.step(10.0)
    assert modes(node) == [PENDING]
    assert "a reset of the GPU or a reboot" in message(node)
    node.driver.restart()
    node.restart()
    node.step(10.0)
    assert modes(node) == [ON]
    assert message(node) == ""


def test_a_call_that_fails_is_told_from_a_mode_that_is_pending(tmp_path: Path) -> None:
    """NVML has two return codes: where the call itself fails nothing is pending, and the message says why."""
    node = without_mig(tmp_path, "0", "a100-40gb:1")
    node.driver.faults.fail(Call.SET_MODE, NoPermissionError)
    node.step(10.0)
    assert modes(node) == [OFF]
    assert "cannot be switched on" in message(node)
    node.step(mig_mode.AGAIN_S)
    assert modes(node) == [ON]


def test_names_without_a_gpu_are_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A name that no GPU of the node has is said in the log, and does not keep others from being switched."""
    node = without_mig(tmp_path, "0,7")
    for _ in range(3):
        node.step(10.0)
    assert modes(node) == [ON, OFF]
    assert capsys.readouterr().out.count("GPUs that this node does not have") == 1


@pytest.mark.parametrize("wrong", ["yes", "true", "all,1", "GPU-1", "-1", "1;2"])
def test_a_choice_that_cannot_be_meant_is_refused(wrong: str) -> None:
    """The setting is named, and what to write."""
    with pytest.raises(SettingsError, match=r"manage_mig_mode.*write all, or indices or UUIDs"):
        settings.load(manage_mig_mode=wrong)


def test_nothing_chosen_is_nothing_switched() -> None:
    """The default names no GPU."""
    assert not selection.parse(settings.load().manage_mig_mode)
