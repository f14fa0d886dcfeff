"""The automaton of made-up GPUs, on which every one of NVML's rules may bind, against brute force."""

from hypothesis import assume, example, given

from allocator.mig import geometry
from allocator.mig.catalogue import Catalogue
from tests import builders, oracles, strategies

# The third slice of a kind is one too many: what was used makes itself felt only two steps later.
LATE = builders.catalogue(5, 5).profile("1g.1gb", range(5), instances=3).profile("2g.1gb", range(5)).build()


def _state(compiled: geometry.Geometry, chosen: oracles.Items) -> int:
    return compiled.state_of(compiled.catalogue.placement(name, start) for name, start in chosen)


@given(strategies.made_up_catalogues())
@example(LATE)
def test_legal_sets_of_any_gpu_are_those_of_the_rules(described: Catalogue) -> None:
    """Whatever limits a GPU has, the automaton accepts exactly the sets that the rules allow, each once."""
    compiled = geometry.compiled(described)
    legal = [
        frozenset((compiled.placements[i].profile, compiled.placements[i].start) for i in chosen)
        for chosen in compiled.legal_sets()
    ]
    assert len(set(legal)) == len(legal)
    assert set(legal) == oracles.legal_sets(oracles.chip_of(described))


@given(strategies.made_up_catalogues())
@example(LATE)
def test_states_of_any_gpu_are_exactly_the_different_futures(described: Catalogue) -> None:
    """Merging states never confuses different futures and never keeps equal ones apart."""
    compiled, chip = geometry.compiled(described), oracles.chip_of(described)
    pairs = {(_state(compiled, chosen), future) for chosen, future in oracles.futures(chip).items()}
    assert len({state for state, _ in pairs}) == len({future for _, future in pairs}) == len(pairs) == compiled.states


@given(strategies.made_up_catalogues())
@example(LATE)
def test_room_and_masks_of_any_gpu(described: Catalogue) -> None:
    """Masks are the union of the slices, and room is the most that can be added, whatever limits bind."""
    compiled, chip = geometry.compiled(described), oracles.chip_of(described)
    legal = oracles.legal_sets(chip)
    assume(len(legal) < 2_000)
    for chosen in legal:
        state = _state(compiled, chosen)
        assert int(compiled.masks[state]) == chip.mask(chosen)
        assert compiled.room[state].tolist() == [oracles.room(chip, chosen, name) for name in compiled.profiles]
