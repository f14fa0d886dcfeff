"""The policy hami-2855: which start HAMi's main branch takes, worked out by hand from its rule."""

import numpy as np
import pytest

from allocator.mig import geometry, gpu_models
from allocator.mig.geometry import Geometry
from allocator.placement import fitting, halves, policy
from tests import builders

POLICY = policy.find("hami-2855")
A100 = geometry.compiled(gpu_models.find("a100-40gb"))
A30 = geometry.compiled(gpu_models.find("a30-24gb"))

Laid = list[tuple[str, int]]


def _starts(card: Geometry, laid: Laid, arrivals: list[str]) -> list[int]:
    """The starts that slices get, one after the other, on a card where some lie already."""
    tables = policy.tables(POLICY, card)
    state = card.state_of(card.catalogue.placement(name, start) for name, start in laid)
    starts = []
    for name in arrivals:
        choice = int(tables.choice[state, card.profile_index[name]])
        assert choice >= 0, f"{name} does not fit"
        starts.append(card.placements[choice].start)
        state = int(card.step[state, choice])
    return starts


@pytest.mark.parametrize(
    ("laid", "arrivals", "starts"),
    [
        # Either half leaves the other untouched; a slice that fills a half belongs in the upper, which offers less.
        pytest.param([], ["3g.20gb"], [4], id="what fills a half takes the upper"),
        # Smaller ones belong in the lower half, its outer edge first.
        pytest.param(
            [], ["1g.5gb", "1g.5gb", "2g.10gb"], [0, 1, 2], id="smaller ones fill the lower half from outside"
        ),
        pytest.param([], ["2g.10gb", "2g.10gb", "2g.10gb"], [0, 2, 4], id="then the upper half"),
        # The lower half is full, so the upper is used, farthest from the middle first: 1g ends at 7, 1g.10gb at 8.
        pytest.param([("4g.20gb", 0)], ["1g.5gb", "1g.5gb", "1g.5gb"], [6, 5, 4], id="the upper half from outside"),
        pytest.param([("4g.20gb", 0)], ["1g.10gb", "1g.10gb"], [6, 4], id="double memory at the very edge"),
        # An untouched half goes before all else: the upper one is touched already, so even 1g goes there.
        pytest.param([("1g.5gb", 6)], ["1g.5gb", "3g.20gb"], [5, 0], id="one half stays untouched"),
        # Both touched: back to the half of its kind.
        pytest.param([("1g.5gb", 3), ("1g.5gb", 6)], ["1g.5gb", "2g.10gb"], [0, 4], id="both halves touched"),
        pytest.param([("3g.20gb", 4)], ["3g.20gb"], [0], id="the only start left"),
        pytest.param([], ["7g.40gb"], [0], id="the whole card"),
    ],
)
def test_starts_go_by_the_halves_of_the_card(laid: Laid, arrivals: list[str], starts: list[int]) -> None:
    """hami-2855 keeps halves untouched, then keeps large and small slices apart, then goes from the edges inwards."""
    assert _starts(A100, laid, arrivals) == starts


@pytest.mark.parametrize(
    ("arrivals", "starts"),
    [
        # Both halves offer two 1g and one 2g: of equals the upper is kept for what fills a half.
        pytest.param(["2g.12gb", "2g.12gb"], [2, 0], id="2g fills a half of an A30"),
        pytest.param(["1g.6gb", "2g.12gb", "1g.6gb"], [0, 2, 1], id="1g fills the lower half"),
    ],
)
def test_the_halves_are_those_of_the_card(arrivals: list[str], starts: list[int]) -> None:
    """On a card of four memory slices a half is two of them."""
    assert _starts(A30, [], arrivals) == starts


def test_where_the_halves_depend_on_each_other_only_the_start_decides() -> None:
    """A placement across the middle, other than the whole card, leaves no halves: the lowest start is taken."""
    split = builders.catalogue(4, 4).profile("1g.1gb", [0, 1, 2, 3]).profile("4g.4gb", [0], memory=4, compute=4)
    across = builders.catalogue(4, 4).profile("1g.1gb", [0, 1, 2, 3]).profile("2g.2gb", [1], memory=2, compute=2)
    wanted = ["1g.1gb"] * 4
    assert _starts(geometry.compiled(split.build()), [], wanted) == [0, 1, 3, 2]
    assert _starts(geometry.compiled(across.build()), [], wanted) == [0, 1, 2, 3]


def test_a_card_of_one_slice_has_no_halves() -> None:
    """A card that holds one slice gets its only placement."""
    card = geometry.compiled(builders.catalogue(1, 1).profile("1g.1gb", [0]).build())
    assert _starts(card, [], ["1g.1gb"]) == [0]


def test_gpus_are_compared_as_by_best_fit() -> None:
    """Which GPU is chosen depends on its free memory alone, and of equals the first is taken, whatever the start."""
    low, high = (A100.state_of([A100.catalogue.placement("3g.20gb", start)]) for start in (0, 4))
    for gpus in (
        [(A100, Geometry.EMPTY), (A100, low), (A100, high)],
        [(A100, Geometry.EMPTY), (A100, high), (A100, low)],
    ):
        (placed,) = fitting.place(gpus, builders.packed("1g.5gb"), POLICY) or ()
        assert placed.gpu == 1
    ours, best_fit = (policy.tables(by, A100).loss for by in (POLICY, policy.find("best-fit")))
    assert np.array_equal(ours, best_fit)


@pytest.mark.parametrize("card", [A100, A30])
def test_ranks_number_the_starts_of_each_profile(card: Geometry) -> None:
    """In each state the starts of a profile are numbered from 0 without a gap, so that no tie is left."""
    ranks = halves.ranks(card)
    for name in card.profiles:
        columns = list(card.placements_of(name))
        assert (np.sort(ranks[:, columns], axis=1) == np.arange(len(columns))).all()
