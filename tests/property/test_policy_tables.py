"""Every policy's tables against its steps, and the default policy's score against its definition."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given

from allocator import errors
from allocator.mig import geometry, gpu_models
from allocator.mig.catalogue import Catalogue
from allocator.mig.geometry import Geometry
from allocator.placement import policy
from allocator.placement.policy import Policy
from tests import builders, oracles, strategies

UNSORTED = builders.catalogue(6, 6).profile("1g.1gb", [4, 0, 5, 2]).profile("2g.2gb", [4, 0, 2], memory=2, compute=2)
MODELS = [pytest.param(geometry.compiled(gpu_models.find(model)), id=model) for model in strategies.MODELS]
ALL = [pytest.param(named, id=named.name) for named in policy.POLICIES.values()]
LOWEST = [pytest.param(policy.POLICIES[name], id=name) for name in ("first-fit", "best-fit", "worst-fit")]


def _check(by: Policy, compiled: Geometry) -> None:
    tables = policy.tables(by, compiled)
    legal = compiled.step >= 0
    assert np.isfinite(tables.step_loss[legal]).all()
    assert np.isposinf(tables.step_loss[~legal]).all()
    for state in range(compiled.states):
        for index, name in enumerate(compiled.profiles):
            choice = int(tables.choice[state, index])
            if not compiled.room[state, index]:
                assert choice == -1
                assert np.isposinf(tables.loss[state, index])
                continue
            assert choice in compiled.placements_of(name)
            assert legal[state, choice]
            steps = tables.step_loss[state, list(compiled.placements_of(name))]
            assert tables.loss[state, index] == tables.step_loss[state, choice] == steps.min()


@pytest.mark.parametrize("compiled", MODELS)
@pytest.mark.parametrize("by", ALL)
def test_tables_agree_with_their_steps(by: Policy, compiled: Geometry) -> None:
    """In each state a policy chooses a legal placement of least loss if there is room, and none if there is not."""
    _check(by, compiled)


@given(strategies.made_up_catalogues())
def test_tables_of_any_gpu_agree_with_their_steps(described: Catalogue) -> None:
    """The same holds on any GPU, one without plain profiles included."""
    for by in policy.POLICIES.values():
        _check(by, geometry.compiled(described))


@pytest.mark.parametrize("by", ALL)
def test_tables_are_a_function_of_the_catalogue(by: Policy) -> None:
    """Compiled twice, the same GPU gets the same choices: no tie is left to chance."""
    for model in strategies.MODELS:
        first, other = (policy.tables(by, builders.geometry_of_its_own(gpu_models.find(model))) for _ in range(2))
        assert np.array_equal(first.choice, other.choice)
        assert np.array_equal(first.loss, other.loss)


@pytest.mark.parametrize("compiled", [*MODELS, pytest.param(geometry.compiled(UNSORTED.build()), id="starts unsorted")])
@pytest.mark.parametrize("by", LOWEST)
def test_the_fit_policies_take_the_lowest_start(by: Policy, compiled: Geometry) -> None:
    """On one GPU first, best and worst fit take a profile's lowest legal start."""
    tables = policy.tables(by, compiled)
    for state, index in np.argwhere(compiled.room > 0):
        legal = [i for i in compiled.placements_of(compiled.profiles[index]) if compiled.step[state, i] >= 0]
        lowest = min(compiled.placements[i].start for i in legal)
        assert compiled.placements[tables.choice[state, index]].start == lowest


@pytest.mark.parametrize("compiled", MODELS)
def test_best_and_worst_fit_order_states_by_free_memory(compiled: Geometry) -> None:
    """Where a profile fits, best fit prefers the state that is left with less free memory, worst fit with more."""
    best, worst = (policy.tables(policy.POLICIES[name], compiled) for name in ("best-fit", "worst-fit"))
    for index in range(len(compiled.profiles)):
        fitting = [s for s in range(compiled.states) if compiled.room[s, index]]
        free = np.array([compiled.free_slices(s) for s in fitting])
        for tables, sign in ((best, 1), (worst, -1)):
            losses = tables.loss[fitting, index]
            fuller = free[:, None] * sign < free[None, :] * sign
            assert (losses[:, None] < losses[None, :])[fuller].all()


@cache
def _lost(chip: oracles.Chip, chosen: oracles.Items) -> float:
    """The share of all plain placements, each weighing its memory slices, that cannot be made beside what is there."""
    open_ = oracles.additions(chip, chosen)
    plain = [item for item in chip.items if "+" not in item[0] and "-me" not in item[0]]
    total = sum(len(chip.slots(item)) for item in plain)
    return sum(len(chip.slots(item)) for item in plain if item not in open_) / total


@pytest.mark.parametrize("compiled", MODELS)
def test_fragmentation_is_the_share_of_lost_placements(compiled: Geometry) -> None:
    """A state's fragmentation is the memory-weighted share of plain placements that can no longer be made."""
    chip = oracles.published_chip(compiled.catalogue.model)
    fragmentation = policy.fragmentation(compiled)
    for chosen in oracles.legal_sets(chip):
        state = compiled.state_of(compiled.catalogue.placement(name, start) for name, start in chosen)
        assert fragmentation[state] == pytest.approx(_lost(chip, chosen), abs=1e-12)
    assert fragmentation[Geometry.EMPTY] == 0.0
    full = compiled.masks == (1 << chip.memory_slices) - 1
    assert full.any()
    assert (fragmentation[full] == 1.0).all()


def test_media_engines_block_too() -> None:
    """Beside a slice with all media engines no plain slice can be cut: the GPU has lost all it could do."""
    known = geometry.compiled(gpu_models.find("rtx-pro-6000-blackwell-96gb"))
    state = known.state_of([known.catalogue.placement("1g.24gb+me.all", 0)])
    assert policy.fragmentation(known)[state] == 1.0
    assert known.room_for(state, "1g.24gb") == 0


@pytest.mark.parametrize("compiled", MODELS)
def test_the_default_policy_loses_the_fewest_placements(compiled: Geometry) -> None:
    """In every legal set the default policy takes the placement whose fragmentation grows least."""
    chip = oracles.published_chip(compiled.catalogue.model)
    tables = policy.tables(policy.DEFAULT, compiled)
    for chosen in oracles.legal_sets(chip):
        state = compiled.state_of(compiled.catalogue.placement(name, start) for name, start in chosen)
        growth = {item: _lost(chip, chosen | {item}) for item in oracles.additions(chip, chosen)}
        for index, name in enumerate(compiled.profiles):
            least = min((lost for item, lost in growth.items() if item[0] == name), default=None)
            choice = int(tables.choice[state, index])
            if least is not None:
                taken = compiled.placements[choice]
                assert growth[taken.profile, taken.start] == pytest.approx(least, abs=1e-12)


def test_policies_are_found_by_name() -> None:
    """Each policy is found by its name, and the default is the fragmentation policy."""
    for name, named in policy.POLICIES.items():
        assert policy.find(name) is named
        assert named.name == name
        assert named.summary
    assert policy.find("mfi") is policy.DEFAULT


@pytest.mark.parametrize("name", ["", "MFI", "best_fit", "random"])
def test_an_unknown_policy_is_answered_with_those_there_are(name: str) -> None:
    """An unknown policy is refused with the names of all there are."""
    with pytest.raises(errors.SettingsError) as caught:
        policy.find(name)
    assert caught.value.fix == "use one of " + ", ".join(policy.POLICIES)
