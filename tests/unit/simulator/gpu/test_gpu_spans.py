import pytest

from simulator.gpu import spans
from simulator.gpu.spans import Orientation


@pytest.mark.parametrize(
    ("orientation", "published"),
    [
        (Orientation.NORMAL, {0: (0, 8), 1: (0, 4), 2: (4, 4), 3: (0, 2), 6: (6, 2), 7: (0, 1), 13: (6, 1)}),
        (
            Orientation.HALVES_SWAPPED,
            {
                0: (0, 8),
                1: (4, 4),
                2: (0, 4),
                3: (4, 2),
                4: (6, 2),
                5: (0, 2),
                6: (2, 2),
                7: (4, 1),
                9: (6, 1),
                11: (0, 1),
                14: (3, 1),
            },
        ),
    ],
)
def test_ids_match_published_listings(orientation: Orientation, published: dict[int, tuple[int, int]]) -> None:
    """Ids of spans agree with those that nvidia-smi listings show, in both orientations."""
    for gi, (start, size) in published.items():
        assert spans.gi_id(start, size, 8, orientation) == gi


@pytest.mark.parametrize(("start", "size", "units"), [(1, 2, 8), (0, 3, 8), (8, 1, 8), (-4, 4, 8)])
def test_span_outside_the_tree_is_refused(start: int, size: int, units: int) -> None:
    """A span that is no node of the tree has no id."""
    with pytest.raises(ValueError, match="not a node"):
        spans.gi_id(start, size, units, Orientation.NORMAL)
