"""Simulated nodes: numbers, names, and what they offer."""

import pytest

from allocator import errors
from simulator.cluster import api, nodes
from tests.unit.simulator.cluster.memory_cluster import MemoryCluster


def test_uuids_follow_from_the_seed() -> None:
    """The same seed gives the same GPUs, another one others; no UUID comes twice."""
    first, again, other = (nodes.uniform(3, 4, seed=seed) for seed in (7, 7, 8))
    assert first == again
    uuids = [gpu.uuid for fleet in (first, other) for node in fleet for gpu in node.gpus]
    assert len(set(uuids)) == len(uuids) == 24


def test_names_sort_in_order() -> None:
    """Names count from 1, with as many digits as the last one has."""
    names = [node.name for node in nodes.uniform(12, 1)]
    assert names == sorted(names)
    assert (names[0], names[-1]) == ("node-01", "node-12")


@pytest.mark.parametrize(
    ("number", "gpus", "field"), [(0, 8, "nodes"), (20_001, 8, "nodes"), (1, 0, "gpus"), (1, 17, "gpus")]
)
def test_impossible_numbers_name_the_field(number: int, gpus: int, field: str) -> None:
    """Too few or too many of something is refused, with what would do."""
    with pytest.raises(errors.SettingsError, match=rf"^{field}: "):
        nodes.uniform(number, gpus)


def test_unknown_model_lists_the_known_ones() -> None:
    """A model without a catalogue is refused with those there are."""
    with pytest.raises(errors.CatalogueError, match="a100-40gb"):
        nodes.uniform(1, 1, "v100")


def test_allocatable_counts_the_places_of_each_profile() -> None:
    """A node offers each profile as often as the agent has devices: one per place, more than a GPU may hold at once."""
    (node,) = nodes.uniform(1, 8)
    document = nodes.document(node)
    offered = document["status"]["allocatable"]
    assert offered["nvidia.com/mig-1g.5gb"] == "56"
    assert offered["nvidia.com/mig-1g.5gb.me"] == "56"
    assert offered["nvidia.com/mig-3g.20gb"] == "16"
    assert offered["pods"] == "250"
    assert document["metadata"]["labels"]["kubernetes.io/hostname"] == node.name


async def test_nodes_there_already_are_kept() -> None:
    """Creating a fleet again leaves its nodes' metadata and brings what they offer up to date."""
    cluster = MemoryCluster()
    cluster.server.create(
        api.NODE, {"metadata": {"name": "node-1", "labels": {"mine": "1"}}, "status": {"allocatable": {}}}
    )
    await nodes.create(cluster.api, nodes.uniform(2, 1))
    first, second = (stored.document for stored in cluster.server.list(api.NODE))
    assert first["metadata"]["labels"] == {"mine": "1"}
    assert first["status"]["allocatable"] == second["status"]["allocatable"]
