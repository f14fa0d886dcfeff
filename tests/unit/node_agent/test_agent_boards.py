"""What the agent offers of a node's boards, and what it says of those that it does not offer."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from allocator.claims.report import MigMode
from allocator.errors import SettingsError
from allocator.mig.profile import WHOLE_GPU, GpuPlacement, Placement
from node_agent import settings
from node_agent.gpu import selection
from node_agent.gpu.device import GpuLostError, NotSupportedError
from node_agent.slices import device_ids
from node_agent.slices.offer import DeviceOffer
from simulator.gpu.faults import Call
from tests.unit.node_agent.agent_on_node import OPTIONS, AgentOnNode


def test_display_adapter_is_never_offered_and_told_as_such(tmp_path: Path) -> None:
    """Of a DGX Station only the four GPUs are offered; the MigNode says what the fifth board is."""
    node = AgentOnNode(tmp_path, "a100-80gb:5")
    adapter = node.driver.find(node.gpus[3])
    adapter.product = "NVIDIA DGX Display"
    node.driver.faults.fail(Call.GET_MODE, NotSupportedError, gpu=adapter.uuid, times=100)
    outcome = node.step()
    assert WHOLE_GPU not in node.allocation.offers()
    told = outcome.report.gpus[3]
    assert (told.product, told.mig_mode, told.healthy) == ("NVIDIA DGX Display", MigMode.UNSUPPORTED, True)
    assert "display adapter: never offered" in told.message


def test_board_without_mig_is_offered_whole(tmp_path: Path) -> None:
    """A board that computes and has no MIG is given away whole."""
    node = AgentOnNode(tmp_path, "a100-80gb:2")
    node.driver.faults.fail(Call.GET_MODE, NotSupportedError, gpu=node.gpus[1], times=100)
    node.step()
    assert list(node.allocation.offers()[WHOLE_GPU]) == [node.gpus[1]]


def excluding(directory: Path, chosen: str, gpus: str = "a100-40gb:2") -> AgentOnNode:
    """An agent that leaves some GPUs alone."""
    return AgentOnNode(directory, gpus, replace(OPTIONS, exclude_gpus=selection.parse(chosen, models=True)))


def by_uuid(directory: Path) -> str:
    """The UUID of the second GPU of such a node."""
    return AgentOnNode(directory / "other", "a100-40gb:2").gpus[1]


@pytest.mark.parametrize("name", ["1", "uuid", "NVIDIA A30", "nvidia a30", "a30-24gb"])
def test_excluded_gpu_is_never_touched_nor_offered_and_told_as_such(name: str, tmp_path: Path) -> None:
    """A GPU that the settings name by index, UUID or model is as the agent found it, whatever lies on it."""
    node = excluding(tmp_path, by_uuid(tmp_path) if name == "uuid" else name, "a100-40gb:1,a30-24gb:1")
    there = node.foreign("1g.6gb", 0, gpu=1)
    node.driver.faults.fail(Call.LIST, GpuLostError, gpu=node.gpus[1])  # it would be told if it were read
    outcome = node.step()
    assert {node.state.observe().offered[id_].gpu for ids in node.allocation.offers().values() for id_ in ids} == {
        node.gpus[0]
    }
    told = outcome.report.gpus[1]
    assert (told.healthy, told.catalogue, told.usable) == (True, None, False)
    assert told.message == "left alone: the agent's setting exclude_gpus names it"
    assert node.driver.find(node.gpus[1]).instances() == (there,)


def test_excluded_gpu_without_mig_is_neither_offered_whole_nor_switched(tmp_path: Path) -> None:
    """Excluding a GPU goes before switching MIG mode on."""
    options = replace(OPTIONS, exclude_gpus=selection.parse("1"), manage_mig_mode=selection.parse("all"))
    node = AgentOnNode(tmp_path, "a100-40gb:2", options)
    for gpu in node.driver.gpus.values():
        gpu.mode.current = gpu.mode.pending = False
    node.step(10.0)
    assert [node.devices.mode(gpu).current for gpu in node.gpus] == [True, False]
    assert WHOLE_GPU not in node.allocation.offers()


def test_gpu_is_left_alone_once_no_container_has_a_slice_of_it(tmp_path: Path) -> None:
    """A restarted agent with a new exclusion looks after slices in use until their pods are over."""
    node = AgentOnNode(tmp_path, "a100-40gb:2")
    pod = node.bind("a", "3g.20gb", at=(node.place("3g.20gb", 0, gpu=1),))
    node.step()
    node.admit(pod)
    node.options = replace(OPTIONS, exclude_gpus=selection.parse("1"))
    node.restart()
    assert [str(slice_.placement) for slice_ in node.step().report.gpus[1].slices] == ["3g.20gb@0"]
    node.end(pod, gone=True)
    node.step(10.0)
    assert node.step().report.gpus[1].message.startswith("left alone")


@pytest.mark.parametrize("chosen", ["GPU-1", "NVIDIA A30,,;", "all,1", "-1", "x" * 99])
def test_bad_names_of_gpus_are_refused(chosen: str) -> None:
    """A name that can be none is refused with the fix: a mistyped UUID is no model."""
    with pytest.raises(SettingsError, match="is not a GPU: write all, or indices, UUIDs"):
        settings.load(exclude_gpus=chosen)


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
    assert offers[WHOLE_GPU] == {whole.uuid: DeviceOffer(numa_node=1), nowhere.uuid: DeviceOffer()}
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
