"""Catalogue: what contradicts itself is refused, naming the field."""

from dataclasses import replace

import pytest

from allocator import errors
from allocator.mig import catalogue, geometry, gpu_models
from allocator.mig.catalogue import Catalogue
from allocator.mig.profile import Engines, Placement, Profile
from tests import builders

A100 = gpu_models.find("a100-40gb")
ONE = Profile("1g.5gb", 19, 0, 1, 1, 7, (0, 1))


def _with_profile(**changes: object) -> Catalogue:
    return replace(A100, profiles=(replace(ONE, **changes),))  # type: ignore[arg-type]


@pytest.mark.parametrize("slices", [-1, 0, 33, 10**9])
def test_memory_slices_must_be_a_machine_word(slices: int) -> None:
    """A GPU has 1 to 32 memory slices."""
    with pytest.raises(errors.CatalogueError, match=r"a100-40gb: memory slices: .*must be 1…32"):
        replace(A100, memory_slices=slices)


@pytest.mark.parametrize("slices", [-1, 0, 33])
def test_compute_slices_are_bounded(slices: int) -> None:
    """A GPU has 1 to 32 compute slices."""
    with pytest.raises(errors.CatalogueError, match=r"a100-40gb: compute slices: .*must be 1…32"):
        replace(A100, compute_slices=slices)


def test_a_catalogue_has_profiles() -> None:
    """A catalogue without profiles is refused."""
    with pytest.raises(errors.CatalogueError, match="number of profiles: 0"):
        replace(A100, profiles=())


def test_a_catalogue_has_not_too_many_profiles() -> None:
    """More profiles than any driver knows are refused before tables are built from them."""
    most = tuple(replace(ONE, name=f"1g.{i + 1}gb") for i in range(catalogue.MAX_PROFILES))
    assert len(replace(A100, profiles=most).profiles) == catalogue.MAX_PROFILES
    with pytest.raises(errors.CatalogueError, match="number of profiles: 65"):
        replace(A100, profiles=(*most, replace(ONE, name="2g.5gb")))


def test_profile_names_are_distinct() -> None:
    """Two profiles of one name are refused."""
    with pytest.raises(errors.CatalogueError, match=r"profile names: .*must be distinct"):
        replace(A100, profiles=(ONE, replace(ONE, profile_id=20)))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": "1g"}, "profile name"),
        ({"name": ""}, "profile name"),
        ({"name": "0g.5gb"}, "profile name"),
        ({"name": "1g.5gb+ME"}, "profile name"),
        ({"name": "1g.5gb\n"}, "profile name"),
        ({"name": "\uff11g.5gb"}, "profile name"),
        ({"memory_slices": 0}, "1g.5gb: memory slices"),
        ({"memory_slices": -1}, "1g.5gb: memory slices"),
        ({"memory_slices": 9}, "1g.5gb: memory slices"),
        ({"compute_slices": 0}, "1g.5gb: compute slices"),
        ({"compute_slices": 8}, "1g.5gb: compute slices"),
        ({"max_instances": 0}, "1g.5gb: instances"),
        ({"max_instances": -3}, "1g.5gb: instances"),
        ({"starts": ()}, "1g.5gb: starts"),
        ({"starts": (0, 0)}, "1g.5gb: starts"),
        ({"starts": (-1,)}, "1g.5gb: start"),
        ({"starts": (8,)}, "1g.5gb: start"),
        ({"memory_slices": 4, "starts": (0, 5)}, "1g.5gb: start"),
    ],
)
def test_a_profile_that_contradicts_its_gpu_is_refused(changes: dict[str, object], field: str) -> None:
    """Each impossible fact of a profile is refused by a CatalogueError that names the profile and the field."""
    with pytest.raises(errors.CatalogueError) as caught:
        _with_profile(**changes)
    assert caught.value.field == f"catalogue of a100-40gb: {field}"
    assert caught.value.fix


@pytest.mark.parametrize("changes", [{"memory_slices": 8, "starts": (0,)}, {"starts": (7,)}, {"compute_slices": 7}])
def test_the_largest_possible_profile_is_accepted(changes: dict[str, object]) -> None:
    """Facts at the edge of what the GPU has are no contradiction."""
    assert _with_profile(**changes).profiles[0].name == "1g.5gb"


def test_an_unknown_profile_is_answered_with_those_there_are() -> None:
    """Looking up a profile that the GPU does not offer names all that it offers."""
    with pytest.raises(errors.CatalogueError, match=r"profile on a100-40gb: '9g\.99gb': use one of 1g\.5gb, .*7g"):
        A100.profile("9g.99gb")


def test_an_unlisted_start_is_answered_with_those_there_are() -> None:
    """A start that the catalogue does not list is refused with those that it lists."""
    with pytest.raises(errors.CatalogueError, match=r"start of 3g\.20gb on a100-40gb: 2: use one of 0, 4"):
        A100.placement("3g.20gb", 2)


def test_placements_come_in_catalogue_order() -> None:
    """All placements are listed profile by profile, starts as the catalogue has them."""
    small = A100.restricted(frozenset({"2g.10gb", "3g.20gb"}))
    assert [str(p) for p in small.placements()] == ["2g.10gb@0", "2g.10gb@2", "2g.10gb@4", "3g.20gb@0", "3g.20gb@4"]


def test_a_restricted_catalogue_keeps_the_board() -> None:
    """Restricting keeps the GPU's own facts and the order of its profiles."""
    small = A100.restricted(frozenset({"7g.40gb", "1g.5gb"}))
    assert [p.name for p in small.profiles] == ["1g.5gb", "7g.40gb"]
    assert replace(small, profiles=A100.profiles) == A100
    assert (small.pci_ids, small.toggle_needs_reset) == (A100.pci_ids, A100.toggle_needs_reset)


def test_restricting_to_an_unknown_profile_is_refused() -> None:
    """A study over a profile that the GPU has not is a mistake, not an empty result."""
    with pytest.raises(errors.CatalogueError, match=r"1g\.10gb\+me"):
        A100.restricted(frozenset({"1g.5gb", "1g.10gb+me"}))


def test_equal_catalogues_share_one_geometry() -> None:
    """Facts that say nothing about what can be cut make no second geometry."""
    other_board = replace(A100, pci_ids=("0x00000000",), toggle_needs_reset=False)
    assert other_board == A100
    assert hash(other_board) == hash(A100)
    assert geometry.compiled(other_board) is geometry.compiled(A100)


@pytest.mark.parametrize(
    "other",
    [
        replace(A100, model="a100"),
        replace(A100, memory_slices=9),
        replace(A100, compute_slices=6, profiles=A100.profiles[:-1]),
        replace(A100, profiles=A100.profiles[:-1]),
        replace(A100, engine_totals=Engines(1, 0, 0, 0)),
    ],
)
def test_catalogues_that_differ_in_what_can_be_cut_are_different(other: Catalogue) -> None:
    """Every fact that decides what can be cut takes part in equality."""
    assert other != A100


def test_an_endless_geometry_is_refused() -> None:
    """A catalogue with more states than any GPU has is refused instead of searched for ever."""
    wide = builders.catalogue(32, 32)
    for size in range(1, 5):
        wide = wide.profile(f"{size}g.{size}gb", range(33 - size), memory=size)
    with pytest.raises(errors.CatalogueError, match=r"more than .* steps between states; this is not a GPU"):
        geometry.compiled(wide.build())


def test_a_slice_where_none_can_be_is_named() -> None:
    """Building a state names the first slice that cannot stand there, and why."""
    compiled = geometry.compiled(A100)
    with pytest.raises(errors.GeometryError, match=r"a100-40gb: 3g\.20gb@2 is not a legal placement"):
        compiled.state_of([Placement("3g.20gb", 2, 4)])
    with pytest.raises(errors.GeometryError, match=r"a100-40gb: 1g\.5gb@3 does not fit beside the others"):
        compiled.state_of([A100.placement("3g.20gb", 0), A100.placement("1g.5gb", 3)])


def test_a_slice_of_the_wrong_size_is_no_legal_placement() -> None:
    """A reported slice whose size is not its profile's is refused, even where its start is legal."""
    with pytest.raises(errors.GeometryError, match="is not a legal placement"):
        geometry.compiled(A100).state_of([Placement("3g.20gb", 0, 3)])


def test_tables_cannot_be_written() -> None:
    """Geometries are shared, so their tables refuse to be changed."""
    compiled = geometry.compiled(A100)
    for table in (compiled.step, compiled.masks, compiled.room):
        with pytest.raises(ValueError, match="read-only"):
            table[0] = 0
