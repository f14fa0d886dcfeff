"""Document: a simulation asked for as a mapping, as POST /api/v1/simulate gets it; its keys are those of a `RunConfig`.

    {mix: skew-small, load: 1.0, gpus: 100, model: a100-40gb, policy: mfi, moves: 1, seeds: 4}

Files cannot be named, since whoever asks may not read them: a mix is one of the named ones or a mapping of profiles to
weights, and traces are for the command. All runs are computed where they are asked for. Explained in docs/planning.md.
"""

from collections.abc import Mapping
from typing import Any

from allocator.mig import gpu_models
from allocator.placement import policy
from allocator.planning import migration, reading
from replay import mix
from replay.config import MAX_GPUS, MAX_SEEDS, Discipline, RunConfig

_NUMBERS = (
    "load",
    "lifetime_s",
    "warmup",
    "horizon",
    "lifetime_error",
    "restart_s",
)  # RunConfig says which may be what
KEYS = ("mix", *_NUMBERS, "model", "gpus", "policy", "weights", "discipline", "moves", "seeds", "first_seed")
SEEDS = 4  # unless told otherwise: an answer while one waits


def parse(value: Any) -> RunConfig:
    """The simulation of a parsed document. Raises InputError for anything that cannot be meant."""
    top = reading.mapping(value, "", KEYS)
    given: dict[str, Any] = {
        name: float(reading.number(top[name], name, positive=False)) for name in _NUMBERS if name in top
    }
    if "mix" in top:
        given["mix"] = _mix(top["mix"])
    if "weights" in top:
        given["weights"] = _weights(top["weights"], "weights")
    if "model" in top:
        given["model"] = gpu_models.find(reading.text(top["model"], "model")).model
    if "policy" in top:
        given["policy"] = reading.choice(top["policy"], "policy", policy.POLICIES)
    if "discipline" in top:
        chosen = reading.choice(top["discipline"], "discipline", [one.value for one in Discipline])
        given["discipline"] = Discipline(chosen)
    for name, least, most in (
        ("gpus", 1, MAX_GPUS),
        ("moves", 0, migration.MAX_MOVES),
        ("first_seed", 0, 2**63 - MAX_SEEDS),
    ):
        if name in top:
            given[name] = reading.count(top[name], name, least, most)
    seeds = reading.count(top.get("seeds", SEEDS), "seeds", 1, MAX_SEEDS)
    return RunConfig(**given, seeds=seeds, workers=1)


def _mix(value: Any) -> str | dict[str, float]:
    return _weights(value, "mix") if isinstance(value, Mapping) else reading.choice(value, "mix", mix.NAMED)


def _weights(value: Any, where: str) -> dict[str, float]:
    return {
        name: float(reading.number(weight, f"{where}.{name}", positive=False))
        for name, weight in reading.named(value, where).items()
    }
