"""Profile names, resource names and placements."""

import pytest

from allocator import errors
from allocator.mig import gpu_models, profile
from allocator.mig.profile import Placement

ALL_NAMES = sorted({p.name for model in gpu_models.known() for p in gpu_models.find(model).profiles})


@pytest.mark.parametrize("name", ALL_NAMES)
def test_resource_names_and_profile_names_translate_both_ways(name: str) -> None:
    """Every known profile's resource name leads back to the profile."""
    resource = profile.resource_name(name)
    assert resource == "nvidia.com/mig-" + name.replace("+", ".")
    assert profile.profile_name(resource) == name
    assert profile.is_mig_resource(resource)


@pytest.mark.parametrize(
    ("resource", "name"),
    [
        ("nvidia.com/mig-9g.99gb", "9g.99gb"),
        ("nvidia.com/mig-1g.5gb.me", "1g.5gb+me"),
        ("nvidia.com/mig-1g.24gb.me.all", "1g.24gb+me.all"),
        ("nvidia.com/mig-2g.48gb-me", "2g.48gb-me"),
    ],
)
def test_a_well_formed_resource_names_a_profile_offered_or_not(resource: str, name: str) -> None:
    """A resource is judged by its form alone: whether any GPU offers it is found out per node."""
    assert profile.profile_name(resource) == name


@pytest.mark.parametrize(
    "resource",
    [
        "nvidia.com/mig-",
        "nvidia.com/mig-foo",
        "nvidia.com/mig-1g",
        "nvidia.com/mig-1g.5",
        "nvidia.com/mig-0g.5gb",
        "nvidia.com/mig-1g.5gb+me",
        "nvidia.com/mig-1g.5gb.",
        "nvidia.com/mig-1g.5gb..me",
        "nvidia.com/mig-1g.5gb\n",
        "nvidia.com/mig-\uff11g.5gb",
        "nvidia.com/mig-1g.99999gb",
        "nvidia.com/gpu",
        "1g.5gb",
    ],
)
def test_a_malformed_resource_is_refused(resource: str) -> None:
    """A name that spells no profile is refused with the form it should have."""
    with pytest.raises(errors.RequestError, match=r"resource name: .*nvidia\.com/mig-1g\.5gb"):
        profile.profile_name(resource)


@pytest.mark.parametrize(
    ("resource", "ours"), [("nvidia.com/mig-foo", True), ("nvidia.com/gpu", False), ("cpu", False)]
)
def test_whose_resource_it_is(resource: str, ours: bool) -> None:
    """Everything under `nvidia.com/mig-` is ours to judge, and nothing else."""
    assert profile.is_mig_resource(resource) is ours


@pytest.mark.parametrize(
    ("name", "plain"),
    [("1g.5gb", True), ("1g.5gb+me", False), ("1g.24gb-me", False), ("1g.24gb+me.all", False), ("2g.48gb+gfx", False)],
)
def test_plain_profiles_have_no_attribute(name: str, plain: bool) -> None:
    """A profile with a suffix is not a plain one."""
    published = next(p for m in gpu_models.known() for p in gpu_models.find(m).profiles if p.name == name)
    assert published.plain is plain
    assert published.resource == profile.resource_name(name)


def test_a_placement_covers_its_slices() -> None:
    """A placement's mask has a bit per memory slice that it covers, and overlap is a common bit."""
    three_slices, two, three = Placement("3g.20gb", 4, 4), Placement("1g.5gb", 4, 1), Placement("1g.5gb", 3, 1)
    assert three_slices.mask == 0b1111_0000
    assert three_slices.overlaps(two)
    assert two.overlaps(three_slices)
    assert not three_slices.overlaps(three)
    assert str(three_slices) == "3g.20gb@4"


def test_a_long_bad_value_is_not_repeated_in_full() -> None:
    """An error repeats at most 120 characters of the value it refuses."""
    error = errors.RequestError("field", "x" * 10_000, "write less")
    assert str(error) == "field: '" + "x" * 119 + "…: write less"
    assert (error.field, error.value, error.fix) == ("field", "x" * 10_000, "write less")
