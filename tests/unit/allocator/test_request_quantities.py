"""Quantities and names in a pod's limits, one by one."""

import pytest

from allocator import errors, request
from allocator.request import ContainerRequest, Request, SliceRequest
from tests import builders

WHERE = "container main: nvidia.com/mig-1g.5gb"


def _of(quantity: object) -> Request:
    return request.of_containers([ContainerRequest("main", {"nvidia.com/mig-1g.5gb": quantity})])  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("quantity", "number"),
    [(0, 0), (1, 1), (128, 128), ("0", 0), ("1", 1), ("+2", 2), ("007", 7), ("1e2", 100), ("1E1", 10), ("2e+1", 20)],
)
def test_whole_numbers_in_every_spelling(quantity: str | int, number: int) -> None:
    """Whole numbers are read as Kubernetes reads them, signs, zeros and exponents included."""
    assert _of(quantity).slots == (SliceRequest("main", "1g.5gb"),) * number


_SLIPS = ["", " ", "-1", "--1", "+-1", "1 1", "1.5", "0.5", "1m", "1Ki", "1_0", "1e", "e1", "1e-1", "NaN", "inf", "one"]
_STRANGE = ["0x1", "\u0661", "\uff11", "\u00b2", -1, 1.5, None, True, [], {}]


@pytest.mark.parametrize("quantity", [*_SLIPS, *_STRANGE])
def test_what_is_no_whole_number_is_refused(quantity: object) -> None:
    """A quantity that is no whole number of at least 0 is refused, naming container, resource and fix."""
    with pytest.raises(errors.RequestError) as caught:
        _of(quantity)
    assert (caught.value.field, caught.value.fix) == (WHERE, "ask for a whole number of slices, 0 to 128")


@pytest.mark.parametrize(
    "quantity", ["129", 129, "1k", "2k", "1M", "1e3", "9" * 18, "9" * 400, 10**30, "1" + "0" * 5_000]
)
def test_huge_quantities_are_refused(quantity: str | int) -> None:
    """No pod asks for more slices than sixteen GPUs have, however the number is written."""
    with pytest.raises(errors.RequestError, match=r"container main: nvidia\.com/mig-1g\.5gb: .*ask for"):
        _of(quantity)


def test_a_well_formed_profile_is_asked_for_though_no_gpu_offers_it() -> None:
    """Whether `9g.99gb` exists is for the nodes to say, not for the form of the request."""
    asked = request.of_containers([ContainerRequest("main", {"nvidia.com/mig-9g.99gb": 1})])
    assert asked.counts == (("9g.99gb", 1),)


def test_a_malformed_profile_is_refused() -> None:
    """A limit that spells no profile is refused with the form it should have."""
    with pytest.raises(errors.RequestError, match=r"resource name: 'nvidia\.com/mig-foo'"):
        request.of_containers([ContainerRequest("main", {"nvidia.com/mig-foo": 1})])


def test_other_resources_are_not_ours() -> None:
    """A pod without our resources asks for nothing, whatever else it asks."""
    asked = request.of_containers(
        [ContainerRequest("main", {"cpu": "2", "nvidia.com/gpu": 1, "example.com/mig-1g.5gb": 1})]
    )
    assert not asked
    assert asked == Request()
    assert str(asked) == "nothing"


def test_a_request_reads_well() -> None:
    """A request in words counts its profiles in name order."""
    assert str(builders.request("3g.20gb", "1g.5gb", "1g.5gb")) == "2 × 1g.5gb + 3g.20gb"
    assert str(builders.request("3g.20gb")) == "3g.20gb"


def test_builders_spell_containers_as_pods_do() -> None:
    """The tests' own container builder makes the limits that a pod would have."""
    asked = builders.containers_request(
        [builders.container("main", _1g_5gb=2)], [builders.container("pull", _3g_20gb="1")]
    )
    assert asked.slots == (
        SliceRequest("main", "1g.5gb"),
        SliceRequest("main", "1g.5gb"),
        SliceRequest("pull", "3g.20gb"),
    )
