"""Language models: how much GPU memory a served one needs, from its public architecture.

    need = (weights + KV cache + overhead) / utilisation
    weights = parameters × bytes per parameter;  KV cache = tokens × 2 × layers × KV heads × head size × bytes

The architectures are those that the models' authors publish (`config.json` and model card of each). Bytes, overhead
and utilisation are planner defaults, stated in docs/planning.md; a measurement on the target engine beats them all.
Called by the planner's document.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from allocator import errors

_MIB = 1024 * 1024


class WeightPrecision(enum.StrEnum):
    """How exactly a parameter is kept."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"
    FP8 = "fp8"
    INT8 = "int8"
    INT4 = "int4"


class KvPrecision(enum.StrEnum):
    """How exactly a number of the KV cache is kept."""

    BF16 = "bf16"
    FP16 = "fp16"
    FP8 = "fp8"
    INT8 = "int8"


# Bytes per parameter. int4 carries its scales and zero points: 0.5 bytes and an eighth more.
BYTES_PER_WEIGHT: Mapping[str, Fraction] = {
    WeightPrecision.FP32: Fraction(4),
    WeightPrecision.BF16: Fraction(2),
    WeightPrecision.FP16: Fraction(2),
    WeightPrecision.FP8: Fraction(1),
    WeightPrecision.INT8: Fraction(1),
    WeightPrecision.INT4: Fraction(9, 16),
}
BYTES_PER_KV: Mapping[str, int] = {
    KvPrecision.BF16: 2,
    KvPrecision.FP16: 2,
    KvPrecision.FP8: 1,
    KvPrecision.INT8: 1,
}
UTILISATION = Fraction(9, 10)  # of a slice's memory; vLLM's own default of --gpu-memory-utilization


@dataclass(frozen=True, slots=True)
class Architecture:
    """What decides a model's memory: parameters (in millions), layers, key-value heads and size of a head."""

    parameters_m: int
    layers: int
    kv_heads: int
    head_dim: int

    @property
    def kv_elements(self) -> int:
        """Numbers that the KV cache keeps per token."""
        return 2 * self.layers * self.kv_heads * self.head_dim


KNOWN: Mapping[str, Architecture] = {
    "qwen3-0.6b": Architecture(600, 28, 8, 128),
    "llama-3.2-1b": Architecture(1_240, 16, 8, 64),
    "qwen2.5-1.5b": Architecture(1_540, 28, 2, 128),
    "llama-3.2-3b": Architecture(3_210, 28, 8, 128),
    "qwen3-4b": Architecture(4_020, 36, 8, 128),
    "mistral-7b": Architecture(7_250, 32, 8, 128),
    "llama-3.1-8b": Architecture(8_030, 32, 8, 128),
    "qwen3-14b": Architecture(14_800, 40, 8, 128),
    "qwen3-32b": Architecture(32_800, 64, 8, 128),
    "llama-3.1-70b": Architecture(70_600, 80, 8, 128),
}

INLINE = ("parameters_b", "layers", "kv_heads", "head_dim")


def find(name: str, where: str) -> Architecture:
    """The architecture of a known model (any case). Raises InputError listing those there are and the way out."""
    try:
        return KNOWN[name.strip().lower()]
    except KeyError:
        raise errors.InputError(
            where,
            name,
            f"not a known model; use one of {', '.join(KNOWN)}, or give its numbers beside it: {', '.join(INLINE)}",
        ) from None


def memory_mib(
    model: Architecture, precision: str, context: int, kv_precision: str = "bf16", utilisation: Fraction = UTILISATION
) -> int:
    """The memory one replica needs, in MiB, rounded up. `context`: tokens kept at once, over all sequences."""
    weights = model.parameters_m * 10**6 * BYTES_PER_WEIGHT[precision]
    cache = context * model.kv_elements * BYTES_PER_KV[kv_precision]
    need = (weights + cache + _overhead_mib(model) * _MIB) / utilisation / _MIB
    return -(-need.numerator // need.denominator)


def _overhead_mib(model: Architecture) -> int:
    """CUDA context, activations and graphs: a planner default by size, to be calibrated on the engine in use."""
    if model.parameters_m < 5_000:
        return 1024
    return 1536 if model.parameters_m <= 20_000 else 2560
