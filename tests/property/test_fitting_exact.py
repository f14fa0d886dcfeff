"""Joint placement of several slices on the GPUs of one node, against trying everything."""

import itertools
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator import fitting, geometry, gpu_models, policy
from allocator.fitting import GpuState
from allocator.geometry import Geometry
from allocator.policy import Policy
from allocator.profile import Placement
from tests import oracles, strategies

policies = st.sampled_from(list(policy.POLICIES.values()))
nodes = st.lists(strategies.sliced(), min_size=1, max_size=3)
Node = list[tuple[Geometry, tuple[Placement, ...]]]


def _states(node: Node) -> list[GpuState]:
    return [(known, known.state_of(chosen)) for known, chosen in node]


def _chips(node: Node) -> tuple[tuple[oracles.Chip, oracles.Items], ...]:
    return tuple(
        (oracles.published_chip(known.catalogue.model), frozenset((p.profile, p.start) for p in chosen))
        for known, chosen in node
    )


def _wish(data: st.DataObject, node: Node, max_size: int = 5) -> tuple[str, ...]:
    offered = strategies.offered_by(_states(node))
    return data.draw(strategies.wishes([*offered, "9g.99gb"], max_size), label="profiles asked for")


@given(nodes, st.data())
def test_fits_agrees_with_trying_everything(node: Node, data: st.DataObject) -> None:
    """Slices are said to fit together exactly if some arrangement of them on the node's GPUs is legal."""
    wanted = _wish(data, node)
    assert fitting.fits(_states(node), Counter(wanted)) == oracles.packs(_chips(node), wanted)


@given(nodes, st.data(), policies)
def test_place_finds_a_legal_place_for_all_or_none(node: Node, data: st.DataObject, by: Policy) -> None:
    """Whatever fits is placed: each slice by its profile, legal beside the present ones, overlapping nowhere."""
    wanted = _wish(data, node)
    placed = fitting.place(_states(node), wanted, by)
    assert (placed is not None) == oracles.packs(_chips(node), wanted)
    if placed is None:
        return
    assert [one.placement.profile for one in placed] == list(wanted)
    for index, (chip, present) in enumerate(_chips(node)):
        added = [(one.placement.profile, one.placement.start) for one in placed if one.gpu == index]
        assert chip.legal([*present, *added])
        assert all(one.placement.size == chip.shape(one.placement.profile).size for one in placed if one.gpu == index)


@given(nodes, st.data(), policies)
def test_one_slice_goes_where_the_table_says(node: Node, data: st.DataObject, by: Policy) -> None:
    """A single slice takes the table's choice on the first GPU of least loss."""
    (wanted,) = _wish(data, node, max_size=1)
    offers = [
        (float(tables.loss[state, known.profile_index[wanted]]), index)
        for index, (known, state) in enumerate(_states(node))
        if wanted in known.profile_index and (tables := policy.tables(by, known))
    ]
    least, gpu = min(offers, default=(float("inf"), -1))
    placed = fitting.place(_states(node), [wanted], by)
    if least == float("inf"):
        assert placed is None
        return
    known, state = _states(node)[gpu]
    choice = int(policy.tables(by, known).choice[state, known.profile_index[wanted]])
    assert placed == (fitting.Placed(gpu, known.placements[choice], least),)


@given(nodes, st.data(), policies)
def test_each_slice_takes_the_least_loss_that_leaves_room(node: Node, data: st.DataObject, by: Policy) -> None:
    """From the largest slice to the smallest, each takes the cheapest step after which the rest still fits."""
    wanted = _wish(data, node)
    placed = fitting.place(_states(node), wanted, by)
    states = _states(node)
    size = {name: min(k.catalogue.by_name[name].memory_slices for k, _ in states if name in k.catalogue.by_name)
            for name in strategies.offered_by(states)}  # fmt: skip
    rest = Counter(wanted)
    for one in sorted(placed or (), key=lambda one: (-size[one.placement.profile], one.placement.profile)):
        rest[one.placement.profile] -= 1
        possible = {
            float(policy.tables(by, known).step_loss[state, i])
            for gpu, (known, state) in enumerate(states)
            for i, placement in enumerate(known.placements)
            if placement.profile == one.placement.profile and known.step[state, i] >= 0
            if fitting.fits([*states[:gpu], (known, int(known.step[state, i])), *states[gpu + 1 :]], rest)
        }
        known, state = states[one.gpu]
        index = known.placement_index[one.placement]
        assert one.loss == policy.tables(by, known).step_loss[state, index] == min(possible)
        states[one.gpu] = (known, int(known.step[state, index]))


@given(nodes, st.data())
def test_fit_does_not_depend_on_the_order_of_gpus(node: Node, data: st.DataObject) -> None:
    """Naming a node's GPUs in another order changes nothing about what fits."""
    wanted = Counter(_wish(data, node))
    shuffled = data.draw(st.permutations(_states(node)))
    assert fitting.fits(shuffled, wanted) == fitting.fits(_states(node), wanted)


@given(nodes, st.data(), policies)
def test_placing_twice_gives_the_same(node: Node, data: st.DataObject, by: Policy) -> None:
    """Placement is a function of the node, the request and the policy."""
    wanted = _wish(data, node)
    assert fitting.place(_states(node), wanted, by) == fitting.place(_states(node), wanted, by)


def _empty(*models: str) -> list[GpuState]:
    return [(geometry.compiled(gpu_models.find(model)), Geometry.EMPTY) for model in models]


def test_one_name_may_mean_two_sizes() -> None:
    """A 1g.10gb slice is one memory slice of an A100-80GB and two of an A100-40GB: each counts as what it is."""
    # Compiled apart, so that the two kinds lie in memory in both orders: no order may matter.
    pairs = [(Geometry(gpu_models.find("a100-40gb")), Geometry(gpu_models.find("a100-80gb"))) for _ in range(4)]
    for (small, _), (_, large) in itertools.product(pairs, pairs):
        full = small.state_of([small.catalogue.placement("7g.40gb", 0)])
        for node in ([(small, full), (large, 0)], [(large, 0), (small, full)]):
            assert fitting.fits(node, {"1g.10gb": 5, "2g.20gb": 1})
            assert not fitting.fits(node, {"1g.10gb": 6, "2g.20gb": 1})


def test_nothing_asked_for_fits_anywhere() -> None:
    """An empty request fits even where there are no GPUs."""
    assert fitting.fits([], {})
    assert fitting.fits([], {"1g.5gb": 0})
    assert fitting.place([], [], policy.DEFAULT) == ()


def test_something_fits_nowhere_without_gpus() -> None:
    """A node without GPUs holds no slice."""
    assert not fitting.fits([], {"1g.5gb": 1})
    assert fitting.place([], ["1g.5gb"], policy.DEFAULT) is None
    assert fitting.place([], ["1g.5gb", "2g.10gb"], policy.DEFAULT) is None


def test_a_large_slice_is_not_shut_out_by_a_small_one() -> None:
    """Slices are placed so that the rest still fits, in whatever order the pod names them."""
    wanted: Sequence[str] = ["1g.5gb", "1g.5gb", "1g.5gb", "4g.20gb"]
    placed = fitting.place(_empty("a100-40gb"), wanted, policy.DEFAULT)
    assert placed is not None
    assert str(placed[3].placement) == "4g.20gb@0"
    assert {one.placement.start for one in placed[:3]} == {4, 5, 6}


@pytest.mark.parametrize("by", policy.POLICIES.values(), ids=lambda by: by.name)
def test_every_policy_leaves_room_for_the_rest(by: Policy) -> None:
    """A 3g slice goes to 4 when a 4g slice comes along, whatever the policy would do with it alone."""
    placed = fitting.place(_empty("a100-40gb"), ["3g.20gb", "4g.20gb"], by)
    assert placed is not None
    assert [str(one.placement) for one in placed] == ["3g.20gb@4", "4g.20gb@0"]
