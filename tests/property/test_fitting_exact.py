"""Joint placement of several slices on the GPUs of one node, against trying everything."""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator.mig import geometry, gpu_models
from allocator.mig.geometry import Geometry
from allocator.mig.profile import Placement
from allocator.placement import fitting, policy, splits
from allocator.placement.fitting import GpuState
from allocator.placement.policy import Policy
from allocator.request import Request, SliceRequest
from tests import builders, oracles, strategies

policies = st.sampled_from(list(policy.POLICIES.values()))
gpus = strategies.sliced() | strategies.sliced() | strategies.sliced(strategies.made_up_catalogues())
nodes = st.lists(gpus, min_size=1, max_size=3)
Node = list[tuple[Geometry, tuple[Placement, ...]]]


def _states(node: Node) -> list[GpuState]:
    return [(compiled, compiled.state_of(chosen)) for compiled, chosen in node]


def _chips(node: Node) -> tuple[tuple[oracles.Chip, oracles.Items], ...]:
    return tuple((_chip(compiled), frozenset((p.profile, p.start) for p in chosen)) for compiled, chosen in node)


def _chip(compiled: Geometry) -> oracles.Chip:
    model = compiled.catalogue.model
    return oracles.published_chip(model) if model in strategies.MODELS else oracles.chip_of(compiled.catalogue)


def _wish(data: st.DataObject, node: Node, max_size: int = 5) -> tuple[str, ...]:
    offered = strategies.offered_by(_states(node))
    return data.draw(strategies.wishes([*offered, "9g.99gb"], max_size), label="profiles asked for")


@given(nodes, st.data())
def test_fits_agrees_with_trying_everything(node: Node, data: st.DataObject) -> None:
    """Slices are said to fit together exactly if some arrangement of them on the node's GPUs is legal."""
    profiles = _wish(data, node)
    assert fitting.fits(_states(node), Counter(profiles)) == oracles.packs(_chips(node), profiles)


@given(nodes, st.data(), policies)
def test_place_finds_a_legal_place_for_all_or_none(node: Node, data: st.DataObject, by: Policy) -> None:
    """Whatever fits is placed: each slice by its profile, legal beside the present ones, overlapping nowhere."""
    profiles = _wish(data, node)
    placed = fitting.place(_states(node), builders.packed(*profiles), by)
    assert (placed is not None) == oracles.packs(_chips(node), profiles)
    if placed is None:
        return
    assert [slice_.placement.profile for slice_ in placed] == list(profiles)
    for index, (chip, present) in enumerate(_chips(node)):
        added = [(slice_.placement.profile, slice_.placement.start) for slice_ in placed if slice_.gpu == index]
        assert chip.legal([*present, *added])
        assert all(
            slice_.placement.size == chip.shape(slice_.placement.profile).size
            for slice_ in placed
            if slice_.gpu == index
        )


@given(nodes, st.data(), policies)
def test_one_slice_goes_where_the_table_says(node: Node, data: st.DataObject, by: Policy) -> None:
    """A single slice takes the table's choice on the first GPU of least loss."""
    (profile,) = _wish(data, node, max_size=1)
    offers = [
        (float(tables.loss[state, compiled.profile_index[profile]]), index)
        for index, (compiled, state) in enumerate(_states(node))
        if profile in compiled.profile_index and (tables := policy.tables(by, compiled))
    ]
    least, gpu = min(offers, default=(float("inf"), -1))
    placed = fitting.place(_states(node), builders.packed(profile), by)
    if least == float("inf"):
        assert placed is None
        return
    compiled, state = _states(node)[gpu]
    choice = int(policy.tables(by, compiled).choice[state, compiled.profile_index[profile]])
    assert placed == (fitting.Placed(gpu, compiled.placements[choice], least),)


def _cost(node: Node, by: Policy) -> Callable[[int, oracles.Items, oracles.Item], float]:
    """What the policy says of one more slice on a GPU of the node."""

    def cost(gpu: int, present: oracles.Items, item: oracles.Item) -> float:
        compiled = node[gpu][0]
        state = compiled.state_of(compiled.catalogue.placement(*cut) for cut in sorted(present))
        return float(
            policy.tables(by, compiled).step_loss[state, compiled.placement_index[compiled.catalogue.placement(*item)]]
        )

    return cost


def _large_first(compiled: Geometry, name: str) -> tuple[int, int, str]:
    profile = compiled.catalogue.by_name[name]
    return -profile.memory_slices, -profile.compute_slices, name


@given(nodes, st.data(), policies)
def test_places_cost_the_least_there_is(node: Node, data: st.DataObject, by: Policy) -> None:
    """Several slices cost the least sum of the policy's losses over all legal placements, each as it is cut."""
    profiles = _wish(data, node, max_size=4)
    placed = fitting.place(_states(node), builders.packed(*profiles), by)
    cost = _cost(node, by)
    _, least = oracles.cheapest(_chips(node), profiles, cost)
    if placed is None:
        assert least == math.inf
        return
    assert sum(slice_.loss for slice_ in placed) == pytest.approx(least, abs=1e-9)
    present = [set(chosen) for _, chosen in _chips(node)]
    for slice_ in sorted(placed, key=lambda slice_: _large_first(node[slice_.gpu][0], slice_.placement.profile)):
        item = (slice_.placement.profile, slice_.placement.start)
        assert slice_.loss == pytest.approx(cost(slice_.gpu, frozenset(present[slice_.gpu]), item), abs=1e-9)
        present[slice_.gpu].add(item)


@given(nodes, st.data(), policies)
def test_slices_of_a_container_are_apart_first(node: Node, data: st.DataObject, by: Policy) -> None:
    """Over all legal placements a request gets the fewest surplus slices, and with these the least sum of losses."""
    profiles = _wish(data, node, max_size=4)
    request = data.draw(strategies.shared_out(profiles), label="request")
    placed = fitting.place(_states(node), request, by)
    containers = () if request.packed else tuple(slot.container for slot in request.slots)
    surplus, least = oracles.cheapest(_chips(node), profiles, _cost(node, by), containers)
    if placed is None:
        assert least == math.inf
        return
    assert [slice_.placement.profile for slice_ in placed] == list(profiles)
    where = [slice_.gpu for slice_ in placed]
    assert len(containers) - len(set(zip(where, containers, strict=False))) == surplus
    assert sum(slice_.loss for slice_ in placed) == pytest.approx(least, abs=1e-9)
    assert fitting.cost(request, placed) == pytest.approx(least + surplus * splits.SURPLUS, abs=1e-9)


@given(nodes, st.data(), policies, st.sets(st.integers(0, 2)))
def test_slices_go_where_their_container_has_none(node: Node, data: st.DataObject, by: Policy, used: set[int]) -> None:
    """Beside slices that a container has already, its other ones are on as many more GPUs as there can be."""
    profiles = _wish(data, node, max_size=3)
    beside = used & set(range(len(node)))
    request = Request(tuple(SliceRequest("main", name) for name in profiles))
    placed = fitting.place(_states(node), request, by, frozenset(beside))
    chips = _chips(node)
    ways = [
        where
        for where in itertools.product(range(len(node)), repeat=len(profiles))
        if all(
            oracles.packs((chips[gpu],), tuple(name for name, at in zip(profiles, where, strict=True) if at == gpu))
            for gpu in set(where)
        )
    ]
    if placed is None:
        assert not ways
        return
    assert len({slice_.gpu for slice_ in placed} - beside) == max(len(set(where) - beside) for where in ways)


@given(nodes, st.data())
def test_fit_does_not_depend_on_the_order_of_gpus(node: Node, data: st.DataObject) -> None:
    """Naming a node's GPUs in another order changes nothing about what fits."""
    profiles = Counter(_wish(data, node))
    shuffled = data.draw(st.permutations(_states(node)))
    assert fitting.fits(shuffled, profiles) == fitting.fits(_states(node), profiles)


@given(nodes, st.data(), policies)
def test_placing_twice_gives_the_same(node: Node, data: st.DataObject, by: Policy) -> None:
    """Placement is a function of the node, the request and the policy."""
    request = builders.request(*_wish(data, node))
    assert fitting.place(_states(node), request, by) == fitting.place(_states(node), request, by)


_SPLIT = (("4g.20gb@0", "1g.5gb@4"), ("1g.5gb+me@4",))


@pytest.mark.parametrize(
    ("taken", "profiles"),
    [
        (_SPLIT, "1g.10gb 2g.10gb 3g.20gb"),
        (_SPLIT, "1g.5gb 1g.5gb 2g.10gb 3g.20gb"),
        (_SPLIT, "1g.5gb 1g.10gb 2g.10gb 4g.20gb"),
        ((("1g.5gb@4",), ("1g.5gb@4",)), "1g.10gb 2g.10gb 3g.20gb 3g.20gb"),
        ((("1g.5gb@4",), ("1g.5gb@4",)), "1g.10gb 1g.10gb 3g.20gb 3g.20gb"),
        ((("4g.20gb@0",), ("1g.5gb@1",)), "2g.10gb 2g.10gb 2g.10gb 3g.20gb"),
        ((("4g.20gb@0", "2g.10gb@4"), ("4g.20gb@0", "2g.10gb@4")), "1g.5gb 1g.5gb 1g.10gb"),
        ((("4g.20gb@0", "2g.10gb@4"), ("4g.20gb@0", "2g.10gb@4")), "1g.5gb 1g.10gb"),
        (((), ("2g.10gb@0", "1g.5gb@3")), "2g.10gb 2g.10gb 3g.20gb 4g.20gb"),
        (((), ("2g.10gb@0", "1g.5gb@3")), "1g.5gb 2g.10gb 3g.20gb 4g.20gb"),
        (((), (), ("2g.10gb@0", "1g.5gb@3")), "2g.10gb 2g.10gb 3g.20gb 4g.20gb"),
    ],
)  # fmt: skip
def test_what_sums_leave_open_is_decided(taken: Sequence[Sequence[str]], profiles: str) -> None:
    """Where each profile has room by itself and memory suffices, the slices fit exactly if an arrangement is legal."""
    compiled = geometry.compiled(gpu_models.find("a100-40gb"))
    slices = [[(name, int(start)) for name, start in (text.split("@") for text in gpu)] for gpu in taken]
    node = [(compiled, compiled.state_of(compiled.catalogue.placement(*item) for item in gpu)) for gpu in slices]
    chips = tuple((_chip(compiled), frozenset(gpu)) for gpu in slices)
    assert fitting.fits(node, Counter(profiles.split())) == oracles.packs(chips, tuple(profiles.split()))


def _empty(*models: str) -> list[GpuState]:
    return [(geometry.compiled(gpu_models.find(model)), Geometry.EMPTY) for model in models]


def test_one_name_may_mean_two_sizes() -> None:
    """A 1g.10gb slice is one memory slice of an A100-80GB and two of an A100-40GB: each counts as what it is."""
    # Compiled apart, so that the two kinds lie in memory in both orders: no order may matter.
    pairs = [
        (
            builders.geometry_of_its_own(gpu_models.find("a100-40gb")),
            builders.geometry_of_its_own(gpu_models.find("a100-80gb")),
        )
        for _ in range(4)
    ]
    for (small, _), (_, large) in itertools.product(pairs, pairs):
        full = small.state_of([small.catalogue.placement("7g.40gb", 0)])
        for node in ([(small, full), (large, 0)], [(large, 0), (small, full)]):
            assert fitting.fits(node, {"1g.10gb": 5, "2g.20gb": 1})
            assert not fitting.fits(node, {"1g.10gb": 6, "2g.20gb": 1})


def test_nothing_asked_for_fits_anywhere() -> None:
    """An empty request fits even where there are no GPUs."""
    assert fitting.fits([], {})
    assert fitting.fits([], {"1g.5gb": 0})
    assert fitting.place([], builders.packed(), policy.DEFAULT) == ()


def test_something_fits_nowhere_without_gpus() -> None:
    """A node without GPUs holds no slice."""
    assert not fitting.fits([], {"1g.5gb": 1})
    assert fitting.place([], builders.packed("1g.5gb"), policy.DEFAULT) is None
    assert fitting.place([], builders.packed("1g.5gb", "2g.10gb"), policy.DEFAULT) is None


def test_a_large_slice_is_not_shut_out_by_a_small_one() -> None:
    """Slices are placed so that the rest still fits, in whatever order the pod names them."""
    profiles: Sequence[str] = ["1g.5gb", "1g.5gb", "1g.5gb", "4g.20gb"]
    placed = fitting.place(_empty("a100-40gb"), builders.packed(*profiles), policy.DEFAULT)
    assert placed is not None
    assert str(placed[3].placement) == "4g.20gb@0"
    assert {slice_.placement.start for slice_ in placed[:3]} == {4, 5, 6}


@pytest.mark.parametrize("by", policy.POLICIES.values(), ids=lambda by: by.name)
def test_every_policy_leaves_room_for_the_rest(by: Policy) -> None:
    """A 3g slice goes to 4 when a 4g slice comes along, whatever the policy would do with it alone."""
    placed = fitting.place(_empty("a100-40gb"), builders.packed("3g.20gb", "4g.20gb"), by)
    assert placed is not None
    assert [str(slice_.placement) for slice_ in placed] == ["3g.20gb@4", "4g.20gb@0"]


def test_the_least_sum_beats_the_least_step() -> None:
    """A slice forgoes its own best place where the others save more than that costs."""
    compiled = geometry.compiled(gpu_models.find("a100-40gb"))
    taken = [[("1g.5gb", 2), ("2g.10gb", 0)], [("1g.5gb+me", 4)]]
    node = [(compiled, compiled.state_of(compiled.catalogue.placement(*item) for item in gpu)) for gpu in taken]
    alone = fitting.place(node, builders.packed("2g.10gb"), policy.DEFAULT)
    both = fitting.place(node, builders.packed("2g.10gb", "2g.10gb"), policy.DEFAULT)
    assert alone is not None
    assert both is not None
    assert [(slice_.gpu, str(slice_.placement)) for slice_ in alone] == [(0, "2g.10gb@4")]
    assert {(slice_.gpu, str(slice_.placement)) for slice_ in both} == {(1, "2g.10gb@0"), (1, "2g.10gb@2")}


def test_the_first_gpus_take_most_where_it_costs_the_same() -> None:
    """Of equal sums that one is chosen in which the first GPU takes as much as it can, large slices before small."""
    placed = fitting.place(
        _empty("a100-40gb") * 2, builders.packed("1g.5gb", "4g.20gb", "3g.20gb"), policy.find("first-fit")
    )
    assert placed is not None
    assert [slice_.gpu for slice_ in placed] == [1, 0, 0]


MANY = {"1g.5gb": 5, "1g.5gb+me": 4, "1g.10gb": 4, "2g.10gb": 4, "3g.20gb": 4, "4g.20gb": 4, "7g.40gb": 4}


def test_what_is_beyond_is_said_not_guessed() -> None:
    """A request with more shares than are weighed is refused as too complex where plain sums leave its fit open."""
    profiles = [name for name, n in MANY.items() for _ in range(n)]
    with pytest.raises(fitting.TooComplexError, match="93750"):
        fitting.fits(_empty("a100-40gb") * 16, MANY)
    with pytest.raises(fitting.TooComplexError):
        fitting.place(_empty("a100-40gb") * 16, builders.packed(*profiles), policy.DEFAULT)
    assert not fitting.fits(_empty("a100-40gb") * 8, MANY)
    assert fitting.place(_empty("a100-40gb") * 8, builders.packed(*profiles), policy.DEFAULT) is None


def test_a_large_request_is_answered() -> None:
    """Eight slices each of four profiles are placed exactly on sixteen GPUs, and not on eight."""
    profiles = {"1g.5gb": 8, "1g.10gb": 8, "2g.10gb": 8, "3g.20gb": 8}
    assert not fitting.fits(_empty("a100-40gb") * 8, profiles)
    assert fitting.fits(_empty("a100-40gb") * 16, profiles)
    placed = fitting.place(
        _empty("a100-40gb") * 16,
        builders.packed(*[name for name, n in profiles.items() for _ in range(n)]),
        policy.DEFAULT,
    )
    assert Counter(slice_.placement.profile for slice_ in placed or ()) == Counter(profiles)
