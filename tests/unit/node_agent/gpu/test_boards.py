"""Which boards are not for computing, by what NVML says of them."""

import pytest

from node_agent.gpu import boards

TESLA, QUADRO, GEFORCE, NVIDIA_RTX = 2, 1, 5, 13


@pytest.mark.parametrize(
    ("product", "brand", "compute_mode"),
    [
        ("NVIDIA DGX Display", TESLA, 0),
        ("DGX Display", None, None),
        ("NVIDIA NVS 810", boards.NVS, 0),
        ("NVIDIA T400 4GB", NVIDIA_RTX, boards.PROHIBITED),
    ],
)
def test_boards_that_are_not_for_computing(product: str, brand: int | None, compute_mode: int | None) -> None:
    """NVIDIA's names of display adapters, the brand NVS and a prohibited compute mode each tell, and say so."""
    assert "offered" in boards.why_not_for_computing(product, brand, compute_mode)


@pytest.mark.parametrize(
    ("product", "brand", "compute_mode"),
    [
        ("NVIDIA A100-SXM4-80GB", TESLA, 0),
        ("NVIDIA L4", TESLA, 3),
        ("NVIDIA GeForce RTX 4090", GEFORCE, 0),
        ("Quadro P400", QUADRO, 1),
        ("NVIDIA H200", None, None),
    ],
)
def test_boards_for_computing(product: str, brand: int | None, compute_mode: int | None) -> None:
    """Any other board computes, exclusive compute modes and drivers that tell nothing included."""
    assert boards.why_not_for_computing(product, brand, compute_mode) == ""
