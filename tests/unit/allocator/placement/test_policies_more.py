"""Policies beside the default one: what each prefers between GPUs, and what those that follow the demand know of it."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator import errors
from allocator.claims.inventory import Inventory
from allocator.claims.ledger import Claim
from allocator.mig import geometry, gpu_models
from allocator.mig.geometry import Geometry
from allocator.placement import fitting, policy
from allocator.placement.demand import Demand
from allocator.placement.fleet import Fleet
from allocator.placement.policy import Order, Weights
from tests import builders, oracles, strategies

FIVE = ("1g.5gb", "2g.10gb", "3g.20gb", "4g.20gb", "7g.40gb")
A100 = geometry.compiled(gpu_models.find("a100-40gb").restricted(frozenset(FIVE)))
CHIP = oracles.published_chip("a100-40gb").only(FIVE)


def _state(chosen: oracles.Items) -> int:
    return A100.state_of(A100.catalogue.placement(name, start) for name, start in chosen)


@cache
def _steps() -> list[tuple[oracles.Items, oracles.Items, int, int]]:
    """Each step from a legal set to the next: both sets, and what the geometry calls the first and the step."""
    return [
        (before, before | {item}, _state(before), A100.placement_index[A100.catalogue.placement(*item)])
        for before in oracles.legal_sets(CHIP)
        for item in oracles.additions(CHIP, before)
    ]


def _free(chosen: oracles.Items) -> set[int]:
    return set(range(8)) - {slot for item in chosen for slot in CHIP.slots(item)}


def _gated(chosen: oracles.Items) -> float:
    """Memory slices of all placements that overlap what is there, of profiles not larger than the free memory."""
    free = _free(chosen)
    return sum(
        len(CHIP.slots(item)) for item in CHIP.items if len(CHIP.slots(item)) <= len(free) and CHIP.slots(item) - free
    )


def _useless(chosen: oracles.Items, weights: Weights) -> float:
    """Weighted mean over the profiles of the free slices that no free placement of the profile covers."""
    free = _free(chosen)
    stranded = 0.0
    for name, weight in weights:
        windows = [CHIP.slots(item) for item in CHIP.items if item[0] == name and CHIP.slots(item) <= free]
        stranded += weight * len(free - set().union(*windows))
    return stranded / sum(weight for _, weight in weights)


def test_the_gated_score_leaves_out_what_is_larger_than_the_free_memory() -> None:
    """mfi-gated scores a step by the growth of blocked placements of profiles that the free memory could hold."""
    tables = policy.tables(policy.find("mfi-gated"), A100)
    whole = sum(len(CHIP.slots(item)) for item in CHIP.items)
    for chosen in oracles.legal_sets(CHIP):
        for name, start in oracles.additions(CHIP, chosen):
            step = A100.placement_index[A100.catalogue.placement(name, start)]
            growth = (_gated(chosen | {(name, start)}) - _gated(chosen)) / whole
            assert tables.step_loss[_state(chosen), step] == pytest.approx(growth, abs=1e-4)


@given(st.lists(st.sampled_from([0.0, 0.05, 0.3, 1.0]), min_size=5, max_size=5).filter(any))
def test_fgd_scores_the_free_slices_that_the_demand_cannot_use(shares: list[float]) -> None:
    """A step's fgd loss is the growth of the free memory that the demanded profiles cannot use, as a share."""
    weights = tuple(zip(FIVE, shares, strict=True))
    useless = {chosen: _useless(chosen, weights) for chosen in oracles.legal_sets(CHIP)}
    growth = [(useless[after] - useless[before]) / 8 for before, after, _, _ in _steps()]
    score = policy.fgd(weights).loss(A100)
    scored = [score[state, step] for _, _, state, step in _steps()]
    np.testing.assert_allclose(scored, growth, rtol=0, atol=1e-12)


def test_equal_weights_make_equal_policies() -> None:
    """Two policies of the fgd family are the same value exactly if their weights are."""
    assert policy.fgd((("1g.5gb", 1.0),)) == policy.fgd((("1g.5gb", 1.0),))
    assert policy.fgd((("1g.5gb", 1.0),)) != policy.fgd((("1g.5gb", 0.5),))


def test_fgd_without_a_demand_on_a_gpu_prefers_nothing() -> None:
    """A demand for profiles that a GPU does not offer gives all its steps the same score."""
    assert not policy.fgd((("9g.99gb", 1.0),)).loss(A100).any()


@pytest.mark.parametrize("weights", [(("1g.5gb", -1.0),), (("1g.5gb", float("nan")),), (("1g.5gb", 0.0),)])
def test_impossible_weights_are_refused(weights: Weights) -> None:
    """Negative weights, weights that are no numbers, and weights that are all zero are refused."""
    with pytest.raises(errors.SettingsError):
        policy.fgd(weights)


def test_first_fit_takes_the_first_gpu_whatever_the_start() -> None:
    """First fit takes the first GPU with room even where a later one has a lower start."""
    busy = A100.state_of([A100.catalogue.placement("4g.20gb", 0)])
    (placed,) = (
        fitting.place([(A100, busy), (A100, Geometry.EMPTY)], builders.packed("1g.5gb"), policy.find("first-fit")) or ()
    )
    assert (placed.gpu, placed.placement.start) == (0, 4)


def test_going_by_order_means_not_going_by_loss() -> None:
    """A policy whose order is not by loss takes the first GPU even where it scores a later one better."""
    by = replace(policy.find("best-fit"), order=Order.FIRST)
    busy = A100.state_of([A100.catalogue.placement("4g.20gb", 0)])
    (placed,) = fitting.place([(A100, Geometry.EMPTY), (A100, busy)], builders.packed("1g.5gb"), by) or ()
    assert placed.gpu == 0


def test_best_fit_takes_the_first_of_equally_full_gpus() -> None:
    """Of two GPUs with as much free memory best fit takes the first, whatever the start."""
    low, high = (A100.state_of([A100.catalogue.placement("3g.20gb", start)]) for start in (0, 4))
    (placed,) = fitting.place([(A100, low), (A100, high)], builders.packed("1g.5gb"), policy.find("best-fit")) or ()
    assert (placed.gpu, placed.placement.start) == (0, 4)


@pytest.mark.parametrize("compiled", [geometry.compiled(gpu_models.find(model)) for model in strategies.MODELS])
def test_hami_takes_high_starts_for_one_and_three_slices(compiled: Geometry) -> None:
    """On one GPU hami takes the highest legal start for 1g and 3g profiles and the lowest for all others."""
    tables = policy.tables(policy.find("hami"), compiled)
    for index, profile in enumerate(compiled.catalogue.profiles):
        best = max if profile.compute_slices in (1, 3) else min
        for state in range(compiled.states):
            legal = [i for i in compiled.placements_of(profile.name) if compiled.step[state, i] >= 0]
            if legal:
                taken = compiled.placements[tables.choice[state, index]].start
                assert taken == best(compiled.placements[i].start for i in legal)


def test_the_default_prefers_the_fuller_of_equal_gpus() -> None:
    """Where the growth of fragmentation is the same, the default policy goes to the GPU that is left fuller."""
    tables = policy.tables(policy.DEFAULT, A100)
    score = policy.DEFAULT.loss(A100)
    for index, name in enumerate(A100.profiles):
        fitting_ones = [s for s in range(A100.states) if A100.room[s, index]]
        least = [(min(score[s, i] for i in A100.placements_of(name) if A100.step[s, i] >= 0), s) for s in fitting_ones]
        for one_loss, state in least:
            for other_loss, other in least:
                if abs(one_loss - other_loss) < 1e-9 and A100.free_slices(state) < A100.free_slices(other):
                    assert tables.loss[state, index] < tables.loss[other, index]


def test_without_known_ends_lifetime_is_the_default() -> None:
    """Where nobody knows when slices end, mfi-lifetime chooses as mfi does."""
    mfi, other = (policy.tables(policy.find(name), A100) for name in ("mfi", "mfi-lifetime"))
    assert (mfi.loss == other.loss).all()
    assert (mfi.choice == other.choice).all()


def test_only_fgd_follows_the_demand_and_can_be_fixed() -> None:
    """Of all policies fgd alone can be weighed anew, and a fixed one cannot."""
    assert [name for name, named in policy.POLICIES.items() if named.weigh is not None] == ["fgd"]
    weigh = policy.find("fgd").weigh
    assert weigh is not None
    fixed = weigh((("1g.5gb", 2.0),)).fixed()
    assert fixed.weigh is None
    assert fixed.loss == policy.fgd((("1g.5gb", 2.0),)).loss


def _fleet(name: str, nodes: int) -> Fleet:
    fleet = Fleet(policy.find(name))
    for number in range(nodes):
        fleet.put(f"n{number}", [(A100, Geometry.EMPTY)])
    return fleet


def _first(fleet: Fleet, nodes: int) -> str:
    names = [f"n{number}" for number in range(nodes)]
    losses = fleet.losses(builders.request("1g.5gb"), fleet.rows_of(names))
    return names[int(losses.argmin())]


def test_round_robin_goes_round_the_nodes() -> None:
    """Under round robin the node after the one chosen last comes first, and after the last the first."""
    fleet = _fleet("round-robin", 3)
    firsts = []
    for _ in range(4):
        firsts.append(_first(fleet, 3))
        fleet.chose(firsts[-1])
    assert firsts == ["n0", "n1", "n2", "n0"]


def test_first_fit_stays_with_the_first_node() -> None:
    """Under first fit the first node comes first however often it was chosen, and one that is full never."""
    fleet = _fleet("first-fit", 3)
    fleet.chose("n0")
    assert _first(fleet, 3) == "n0"
    fleet.put("n0", [(A100, A100.state_of([A100.catalogue.placement("7g.40gb", 0)]))])
    assert _first(fleet, 3) == "n1"


def test_reserving_moves_the_turn_on() -> None:
    """A reservation is a turn: the next request under round robin goes to the next node."""
    inventory = Inventory(policy.find("round-robin"))
    for name in ("n0", "n1"):
        inventory.observe(builders.node(name).gpu("a100-40gb").report())
    claim = inventory.reserve("uid-1", "default", "one", builders.request("1g.5gb"), "n0")
    assert isinstance(claim, Claim)
    assert _first(inventory.fleet, 2) == "n1"


def test_demand_forgets() -> None:
    """After many requests of one kind the estimate is theirs, whatever came before."""
    demand = Demand(("a", "b"), memory=50, floor=0.0)
    for profile in [0] * 1000 + [1] * 500:
        demand.saw(profile)
    assert dict(demand.weights()) == {"a": 0.0, "b": 1.0}


def test_demand_learns_shares() -> None:
    """Requests in steady proportions are estimated in these proportions, relative to the largest."""
    demand = Demand(("a", "b", "c"), memory=1000, floor=0.0)
    for _ in range(2000):
        for profile in (0, 0, 0, 0, 1, 1, 2):
            demand.saw(profile)
    assert dict(demand.weights()) == pytest.approx({"a": 1.0, "b": 0.5, "c": 0.25}, abs=1 / 32)


def test_demand_stays_finite() -> None:
    """However many requests came before, the last ones decide."""
    demand = Demand(("a", "b"), memory=1, floor=0.0)
    for _ in range(5000):
        demand.saw(0)
    assert dict(demand.weights()) == {"a": 1.0, "b": 0.0}
    for _ in range(20):
        demand.saw(1)
    assert dict(demand.weights()) == {"a": 0.0, "b": 1.0}


def test_demand_has_a_floor() -> None:
    """A profile that nobody asks for still weighs the floor."""
    demand = Demand(("a", "b"), memory=10, floor=0.25)
    for _ in range(1000):
        demand.saw(0)
    assert dict(demand.weights()) == {"a": 1.0, "b": 0.25}


@pytest.mark.parametrize("wrong", [{"memory": 0.5}, {"floor": -0.1}, {"floor": 1.5}])
def test_impossible_demand_settings_are_refused(wrong: dict[str, float]) -> None:
    """A memory below one request, or a floor that is no share, is refused."""
    with pytest.raises(errors.SettingsError):
        Demand(("a",), **wrong)
