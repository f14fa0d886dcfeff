"""The automaton of every known GPU model against NVML's rules, tried out by brute force (tests/oracles.py)."""

import itertools
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

from allocator.mig import catalogue, geometry, gpu_models
from allocator.mig.geometry import Geometry
from allocator.mig.profile import Placement
from tests import oracles

A100, A30, RTX = "a100-40gb", "a30-24gb", "rtx-pro-6000-blackwell-96gb"
SEVEN_SLICE = tuple(name for name in gpu_models.known() if name not in (A30, RTX))
# One model per distinct set of rules: engine totals of A100 and H100, none published, four slices, twelve units.
DISTINCT = (A30, A100, "h100-80gb", "b200-180gb", RTX)

BASE = {"1g.5gb", "2g.10gb", "3g.20gb", "4g.20gb", "7g.40gb"}
A30_BASE = {"1g.6gb", "2g.12gb", "4g.24gb"}
RTX_BASE = {"1g.24gb", "2g.48gb", "4g.96gb"}


def _placed(compiled: Geometry, chosen: Iterable[int]) -> oracles.Items:
    return frozenset((compiled.placements[i].profile, compiled.placements[i].start) for i in chosen)


def _placements(compiled: Geometry, items: Iterable[oracles.Item]) -> list[Placement]:
    return [compiled.catalogue.placement(name, start) for name, start in items]


def _known(model: str, names: Iterable[str] | None = None, *, engines: bool = True) -> catalogue.Catalogue:
    model_catalogue = gpu_models.find(model)
    if names is not None:
        model_catalogue = model_catalogue.restricted(frozenset(names))
    return model_catalogue if engines else replace(model_catalogue, engine_totals=None)


# Published counts: legal sets with the empty one, maximal sets, multisets, multisets of the maximal sets, masks.
@pytest.mark.parametrize(
    ("described", "expected"),
    [
        pytest.param(_known(A100, BASE), (298, 19, 38, 14, 144), id="seven-slice, five profiles"),
        pytest.param(_known(A100, BASE | {"1g.10gb"}), (723, 78, 78, 38, 192), id="seven-slice, with 1g-double"),
        pytest.param(_known(A100, BASE | {"1g.5gb+me"}), (1089, 67, 64, 24, 144), id="seven-slice, with +me"),
        *(pytest.param(_known(m), (2319, 239, 128, 64, 192), id=f"{m}, all seven") for m in SEVEN_SLICE),
        pytest.param(_known(A30, A30_BASE), (26, 5, 10, 4, 16), id="a30, three profiles"),
        pytest.param(_known(A30, engines=False), (84, 21, 22, 9, 16), id="a30, all five, no engine totals"),
        pytest.param(_known(A30), (76, 17, 20, 8, 16), id="a30, all five"),
        pytest.param(_known(RTX, RTX_BASE), (26, 5, 10, 4, 16), id="rtx-pro-6000, three profiles"),
        pytest.param(_known(RTX, engines=False), (1249, 606, 172, 104, 16), id="rtx-pro-6000, no engine totals"),
        pytest.param(_known(RTX), (717, 302, 115, 64, 16), id="rtx-pro-6000, all eleven"),
    ],
)
def test_published_counts_are_reproduced(described: catalogue.Catalogue, expected: tuple[int, ...]) -> None:
    """Our enumeration finds exactly the published numbers of legal sets, maximal sets, multisets and masks."""
    compiled = geometry.compiled(described)
    maximal = list(compiled.maximal_sets())
    assert (
        sum(1 for _ in compiled.legal_sets()),
        len(maximal),
        len(compiled.multisets()),
        len({compiled.multiset(chosen) for chosen in maximal}),
        len({int(m) for m in compiled.masks}),
    ) == expected


@pytest.mark.parametrize("model", gpu_models.known())
def test_legal_sets_are_those_of_the_rules(model: str) -> None:
    """The automaton accepts exactly the sets that NVML's four rules allow, each once."""
    compiled = geometry.compiled(gpu_models.find(model))
    legal = [_placed(compiled, chosen) for chosen in compiled.legal_sets()]
    assert len(set(legal)) == len(legal)
    assert set(legal) == oracles.legal_sets(oracles.published_chip(model))


@pytest.mark.parametrize("model", DISTINCT)
def test_maximal_sets_are_those_of_the_rules(model: str) -> None:
    """A set is called maximal exactly if the rules allow nothing more beside it."""
    compiled = geometry.compiled(gpu_models.find(model))
    maximal = {_placed(compiled, chosen) for chosen in compiled.maximal_sets()}
    assert maximal == oracles.maximal_sets(oracles.published_chip(model))


@pytest.mark.parametrize("model", DISTINCT)
def test_multisets_are_those_of_the_legal_sets(model: str) -> None:
    """The multisets are the legal sets with their positions forgotten."""
    compiled = geometry.compiled(gpu_models.find(model))
    counted = {
        tuple((name, n) for name, n in sorted(zip(compiled.profiles, counts, strict=True)) if n)
        for counts in compiled.multisets()
    }
    assert counted == {oracles.counts(chosen) for chosen in oracles.legal_sets(oracles.published_chip(model))}


@pytest.mark.parametrize("model", DISTINCT)
def test_every_step_of_every_legal_set_is_right(model: str) -> None:
    """From each legal set the step exists exactly for the placements the rules allow, and leads to their union."""
    compiled, chip = geometry.compiled(gpu_models.find(model)), oracles.published_chip(model)
    for chosen in oracles.legal_sets(chip):
        state = compiled.state_of(_placements(compiled, chosen))
        assert int(compiled.masks[state]) == chip.mask(chosen)
        assert compiled.free_slices(state) == chip.memory_slices - len({s for i in chosen for s in chip.slots(i)})
        allowed = oracles.additions(chip, chosen)
        for index, placement in enumerate(compiled.placements):
            after = int(compiled.step[state, index])
            item = (placement.profile, placement.start)
            assert (after >= 0) == (item in allowed), (chosen, item)
            if after >= 0:
                assert after == compiled.state_of(_placements(compiled, chosen | {item}))


@pytest.mark.parametrize("model", DISTINCT)
def test_room_is_the_most_that_can_be_added(model: str) -> None:
    """`room` is the largest number of slices of one profile that the rules allow beside a legal set."""
    compiled, chip = geometry.compiled(gpu_models.find(model)), oracles.published_chip(model)
    for chosen in oracles.legal_sets(chip):
        state = compiled.state_of(_placements(compiled, chosen))
        expected = [oracles.room(chip, chosen, name) for name in compiled.profiles]
        assert compiled.room[state].tolist() == expected, chosen


@pytest.mark.parametrize("model", DISTINCT)
def test_states_are_exactly_the_different_futures(model: str) -> None:
    """Two legal sets share a state if and only if they cover the same slices and have the same future."""
    compiled, chip = geometry.compiled(gpu_models.find(model)), oracles.published_chip(model)
    futures_of_state = defaultdict(set)
    states_of_future = defaultdict(set)
    for chosen, future in oracles.futures(chip).items():
        state = compiled.state_of(_placements(compiled, chosen))
        futures_of_state[state].add(future)
        states_of_future[future].add(state)
    assert all(len(futures) == 1 for futures in futures_of_state.values()), "a state merges different futures"
    assert all(len(states) == 1 for states in states_of_future.values()), "one future has several states"
    assert set(futures_of_state) == set(range(compiled.states)), "a state that no legal set reaches"


@pytest.mark.parametrize("model", DISTINCT)
def test_the_order_of_cutting_does_not_matter(model: str) -> None:
    """A legal set leads to the same state in whatever order its slices are added."""
    compiled = geometry.compiled(gpu_models.find(model))
    for chosen in compiled.legal_sets():
        if 2 <= len(chosen) <= 4:
            orders = itertools.permutations([compiled.placements[i] for i in chosen])
            assert len({compiled.state_of(order) for order in orders}) == 1


@pytest.mark.parametrize("model", SEVEN_SLICE)
def test_the_seven_slice_family_has_one_geometry(model: str) -> None:
    """All models with seven compute slices share one automaton: engines and memory sizes bind nothing there."""
    compiled, a100 = geometry.compiled(gpu_models.find(model)), geometry.compiled(gpu_models.find(A100))
    assert np.array_equal(compiled.step, a100.step)
    assert np.array_equal(compiled.masks, a100.masks)
    assert np.array_equal(compiled.room, a100.room)


@pytest.mark.parametrize("model", DISTINCT)
def test_placement_alone_keeps_the_compute_limit(model: str) -> None:
    """On every known model disjoint placements never ask for more compute slices than there are."""
    model_catalogue = gpu_models.find(model)
    without = geometry.compiled(replace(model_catalogue, compute_slices=catalogue.MAX_MEMORY_SLICES))
    assert sum(1 for _ in without.legal_sets()) == sum(1 for _ in geometry.compiled(model_catalogue).legal_sets())


def test_nvidias_nineteen_configurations() -> None:
    """The nineteen configurations of NVIDIA's guide are six left halves times three right halves, and the whole."""
    left_halves = ["4g@0", "3g@0", "2g@0 2g@2", "2g@0 1g@2 1g@3", "1g@0 1g@1 2g@2", "1g@0 1g@1 1g@2 1g@3"]
    right = ["3g@4", "2g@4 1g@6", "1g@4 1g@5 1g@6"]
    guide = {" ".join(sorted(f"{left} {other}".split())) for left in left_halves for other in right} | {"7g@0"}
    compiled = geometry.compiled(_known(A100, BASE))
    maximal = {
        " ".join(sorted(f"{name.split('.')[0]}@{start}" for name, start in _placed(compiled, chosen)))
        for chosen in compiled.maximal_sets()
    }
    assert maximal == guide


def test_an_a30_has_one_jpeg_engine_for_both_me_profiles() -> None:
    """On an A30 1g+me and 2g+me exclude each other, although each alone may have one instance."""
    a30 = geometry.compiled(gpu_models.find(A30))
    state = a30.state_of([a30.catalogue.placement("1g.6gb+me", 0)])
    assert [int(a30.room[state, a30.profile_index[name]]) for name in ("2g.12gb", "2g.12gb+me")] == [1, 0]


def test_all_media_leaves_room_only_for_profiles_without_media() -> None:
    """On an RTX PRO 6000 a +me.all slice takes every media engine, so only -me profiles fit beside it."""
    rtx = geometry.compiled(gpu_models.find(RTX))
    state = rtx.state_of([rtx.catalogue.placement("1g.24gb+me.all", 0)])
    beside = {name for name in rtx.profiles if rtx.room[state, rtx.profile_index[name]]}
    assert beside == {"1g.24gb-me", "2g.48gb-me"}
