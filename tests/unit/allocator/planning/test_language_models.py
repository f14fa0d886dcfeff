"""How much memory a served language model needs, and on which slice that lands."""

from fractions import Fraction

import pytest

from allocator.mig import gpu_models
from allocator.planning.plan import language_models

GIB = 1024

# model → GiB needed in bf16 with 4k tokens, in bf16, fp8 and int4 with 32k tokens, reckoned by hand
NEEDS = {
    "qwen3-0.6b": (2.8, 6.2, 5.6, 5.4),
    "llama-3.2-1b": (3.8, 4.8, 3.5, 2.9),
    "qwen2.5-1.5b": (4.4, 5.3, 3.7, 3.0),
    "llama-3.2-3b": (8.2, 11.6, 8.3, 6.9),
    "qwen3-4b": (10.1, 14.4, 10.3, 8.4),
    "mistral-7b": (17.2, 21.1, 13.6, 10.3),
    "llama-3.1-8b": (18.8, 22.7, 14.4, 10.8),
    "qwen3-14b": (33.0, 37.9, 22.5, 15.8),
    "qwen3-32b": (71.8, 79.5, 45.6, 30.8),
    "llama-3.1-70b": (150.3, 160.0, 86.9, 54.9),
}


@pytest.mark.parametrize("name", NEEDS)
def test_needs_agree_with_those_reckoned_by_hand(name: str) -> None:
    """Weights, KV cache, overhead and utilisation add up to the memory reckoned by hand."""
    model = language_models.find(name, "name")
    asked = (("bf16", 4096), ("bf16", 32768), ("fp8", 32768), ("int4", 32768))
    found = [language_models.memory_mib(model, precision, tokens) / GIB for precision, tokens in asked]
    assert found == pytest.approx(NEEDS[name], abs=0.1)


def test_every_known_model_is_reckoned() -> None:
    """The table of needs covers every known model."""
    assert set(NEEDS) == set(language_models.KNOWN)


@pytest.mark.parametrize(
    ("gpu", "smallest"), [("a100-40gb", "3g.20gb"), ("a100-80gb", "2g.20gb"), ("h200-141gb", "1g.35gb")]
)
def test_the_smallest_slice_is_judged_by_real_memory(gpu: str, smallest: str) -> None:
    """Llama-3.1-8B in bf16 with 4k tokens needs 18.8 GiB, which a slice called 18gb does not have."""
    need = language_models.memory_mib(language_models.find("Llama-3.1-8B", "name"), "bf16", 4096)
    holding = [p for p in gpu_models.find(gpu).profiles if p.plain and p.memory_mib and p.memory_mib >= need]
    assert min(p.memory_mib or 0 for p in holding) == gpu_models.find(gpu).profile(smallest).memory_mib


def test_an_eight_bit_cache_halves_its_part() -> None:
    """A KV cache in fp8 takes half of what it takes in bf16."""
    model = language_models.find("llama-3.1-8b", "name")
    wide = language_models.memory_mib(model, "fp8", 1 << 20, "bf16", Fraction(1))
    narrow = language_models.memory_mib(model, "fp8", 1 << 20, "fp8", Fraction(1))
    assert wide - narrow == (1 << 20) * model.kv_elements // (1 << 20)
