"""What the agent offers of a node's boards, and what it says of those that it does not offer."""

from pathlib import Path

from allocator.claims.report import MigMode
from node_agent.gpu.device import NotSupportedError
from node_agent.slices import device_ids
from simulator.gpu.faults import Call
from tests.unit.node_agent.agent_on_node import AgentOnNode


def test_display_adapter_is_never_offered_and_told_as_such(tmp_path: Path) -> None:
    """Of a DGX Station only the four GPUs are offered; the MigNode says what the fifth board is."""
    node = AgentOnNode(tmp_path, "a100-80gb:5")
    adapter = node.driver.find(node.gpus[3])
    adapter.product = "NVIDIA DGX Display"
    node.driver.faults.fail(Call.GET_MODE, NotSupportedError, gpu=adapter.uuid, times=100)
    outcome = node.step()
    assert device_ids.WHOLE_GPU not in node.allocation.offers()
    told = outcome.report.gpus[3]
    assert (told.product, told.mig_mode, told.healthy) == ("NVIDIA DGX Display", MigMode.UNSUPPORTED, True)
    assert "display adapter: never offered" in told.message


def test_board_without_mig_is_offered_whole(tmp_path: Path) -> None:
    """A board that computes and has no MIG is given away whole."""
    node = AgentOnNode(tmp_path, "a100-80gb:2")
    node.driver.faults.fail(Call.GET_MODE, NotSupportedError, gpu=node.gpus[1], times=100)
    node.step()
    assert list(node.allocation.offers()[device_ids.WHOLE_GPU]) == [node.gpus[1]]
