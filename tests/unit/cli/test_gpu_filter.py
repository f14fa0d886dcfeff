"""Which GPUs a view shows, in which order, and what they add up to."""

import pytest

from cli import gpu_filter
from cli.gpu_filter import GpuFilter, Sort
from tests.unit.cli.gpu_views import fleet


@pytest.mark.parametrize(
    ("wanted", "shown"),
    [
        (GpuFilter(), {"n1": [0, 1], "n2": [0], "n3": []}),
        (GpuFilter(nodes=("n2", "n3")), {"n2": [0], "n3": []}),
        (GpuFilter(models=("h100-80gb",)), {"n2": [0]}),
        (GpuFilter(profiles=("1g.5gb", "2g.10gb")), {"n1": [0]}),
        (GpuFilter(namespace="team-a"), {"n2": [0]}),
        (GpuFilter(used=True), {"n1": [0], "n2": [0]}),
        (GpuFilter(models=("a100-40gb",), namespace="team-a"), {}),
    ],
)
def test_a_gpu_is_shown_that_satisfies_all_that_is_set(wanted: GpuFilter, shown: dict[str, list[int]]) -> None:
    """Nodes without a GPU that is shown go too, unless only nodes are asked for."""
    assert {node.name: [gpu.index for gpu in node.gpus] for node in wanted.of(fleet())} == shown


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        (Sort.NODE, [("n1", 0), ("n1", 1), ("n2", 0)]),
        (Sort.FREE, [("n1", 1), ("n2", 0), ("n1", 0)]),
        (Sort.FULL, [("n1", 0), ("n2", 0), ("n1", 1)]),
    ],
)
def test_orders(sort: Sort, order: list[tuple[str, int]]) -> None:
    """GPUs by name, by what is free, or by what is taken; nodes by all of theirs."""
    assert [(node.name, gpu.index) for node, gpu in gpu_filter.ordered(reversed(fleet()), sort)] == order
    names = [node.name for node in gpu_filter.sorted_nodes(reversed(fleet()), sort)]
    assert names == ["n1", "n2", "n3"]


def test_totals_name_their_units() -> None:
    """Slices are GPU instances; memory slices are called so."""
    assert gpu_filter.totals(fleet()) == (
        "3 nodes, 3 GPUs (2 used), 8 slices, 11 memory slices taken, 13 free, 1 problem"
    )
