"""What the agent offers of a node's boards, and what it says of those that it does not offer."""

from collections.abc import Mapping
from pathlib import Path

from allocator.claims.report import MigMode
from allocator.mig.profile import GpuPlacement, Placement
from node_agent.gpu.device import NotSupportedError
from node_agent.slices import device_ids
from node_agent.slices.offer import DeviceOffer
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


def test_every_device_is_offered_with_the_numa_node_of_its_gpu(tmp_path: Path) -> None:
    """Slices and whole GPUs alike; where no NUMA node is known none is told."""
    node = AgentOnNode(tmp_path, "a100-80gb:4")
    slices, whole, nowhere = (node.driver.find(uuid) for uuid in node.gpus[1:])
    slices.numa_node = 0
    whole.numa_node = 1
    whole.mode.current = whole.mode.pending = False
    nowhere.mode.current = nowhere.mode.pending = False
    node.step()
    offers = node.allocation.offers()
    assert offers[device_ids.WHOLE_GPU] == {whole.uuid: DeviceOffer(numa_node=1), nowhere.uuid: DeviceOffer()}
    assert offers["nvidia.com/mig-7g.80gb"] == {
        device_ids.device_id(GpuPlacement(gpu, Placement("7g.80gb", 0, 8))): DeviceOffer(numa_node=numa_node)
        for gpu, numa_node in ((node.gpus[0], None), (slices.uuid, 0))
    }


def test_places_without_room_do_not_draw_the_kubelet_to_their_numa_node(tmp_path: Path) -> None:
    """With GPUs at two NUMA nodes, only what can be had or is held counts there; with all at one everything does."""
    node = AgentOnNode(tmp_path, "a100-40gb:2")
    for numa_node, uuid in enumerate(node.gpus):
        node.driver.find(uuid).numa_node = numa_node
    half = node.bind("half", "4g.20gb", at=(node.place("4g.20gb", 0),))
    node.step()
    node.admit(half)
    node.step()
    offers = node.allocation.offers()
    assert _starts(node, offers["nvidia.com/mig-1g.5gb"]) == {0: [4, 5, 6], 1: [0, 1, 2, 3, 4, 5, 6]}
    assert _starts(node, offers["nvidia.com/mig-4g.20gb"]) == {0: [0], 1: [0]}
    assert _starts(node, offers["nvidia.com/mig-7g.40gb"]) == {1: [0]}
    assert all(offer.healthy for devices in offers.values() for offer in devices.values())
    node.driver.find(node.gpus[1]).numa_node = 0
    node.step()
    assert _starts(node, node.allocation.offers()["nvidia.com/mig-7g.40gb"]) == {0: [0, 0]}


def _starts(node: AgentOnNode, devices: Mapping[str, DeviceOffer]) -> dict[int, list[int]]:
    """The starts of the places that are offered with a NUMA node, by that node."""
    places = node.state.observe().offered
    starts: dict[int, list[int]] = {}
    for device_id, offer in devices.items():
        if offer.numa_node is not None:
            starts.setdefault(offer.numa_node, []).append(places[device_id].placement.start)
    return {numa_node: sorted(starts[numa_node]) for numa_node in sorted(starts)}
