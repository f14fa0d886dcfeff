"""Kubernetes quantities as numbers."""

from decimal import Decimal

import pytest

from allocator import errors
from simulator.cluster import quantity


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", "0"),
        (3, "3"),
        ("500m", "0.5"),
        ("1.5", "1.5"),
        (".5", "0.5"),
        ("4Gi", str(4 * 2**30)),
        ("2k", "2000"),
        ("1e3", "1000"),
        ("1E3", "1000"),
        ("12E", str(12 * 10**18)),
        ("-2", "-2"),
        ("100n", "0.0000001"),
    ],
)
def test_quantities_are_numbers(text: object, number: str) -> None:
    """Every way to write a quantity that Kubernetes knows is exact."""
    assert quantity.parse(text, "cpu") == Decimal(number)


@pytest.mark.parametrize("text", ["", "four", "1 Gi", "1x", "1e", "--1", "1e999", True, None, "\u0661"])
def test_other_texts_are_refused_by_field(text: object) -> None:
    """What is no quantity names the field it stood in."""
    with pytest.raises(errors.InputError, match=r"^memory: "):
        quantity.parse(text, "memory")


@pytest.mark.parametrize(
    ("name", "extended"),
    [
        ("cpu", False),
        ("hugepages-2Mi", False),
        ("kubernetes.io/batch-cpu", False),
        ("nvidia.com/mig-1g.5gb", True),
        ("nvidia.com/", False),
    ],
)
def test_extended_resources_are_told_by_their_domain(name: str, extended: bool) -> None:
    """Only names of somebody else's domain are extended resources."""
    assert quantity.is_extended(name) is extended
