"""Mix: which share of a generated workload asks for which profile.

Four named mixes are given by compute slices, so that they mean the same on every GPU model; any other is a file.
Used by `sources` for generated workloads.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from allocator import errors
from allocator.mig.catalogue import Catalogue
from config import document_text
from replay.types import NamedMix

# Shares by compute slices. On a GPU without a profile of some size the others keep their proportions.
NAMED: Mapping[str, Mapping[int, float]] = {
    NamedMix.UNIFORM: {1: 0.20, 2: 0.20, 3: 0.20, 4: 0.20, 7: 0.20},
    NamedMix.SKEW_SMALL: {1: 0.40, 2: 0.25, 3: 0.20, 4: 0.10, 7: 0.05},
    NamedMix.SKEW_BIG: {1: 0.05, 2: 0.10, 3: 0.20, 4: 0.25, 7: 0.40},
    NamedMix.BIMODAL: {1: 0.35, 2: 0.10, 3: 0.10, 4: 0.10, 7: 0.35},
}

_MOST = 10**9  # the largest weight


def shares(mix: str | Mapping[str, float], catalogue: Catalogue) -> dict[str, float]:
    """Profile → share (they sum to 1) of a named mix, a file or a mapping of profiles to weights.

    A named mix takes, of the plain profiles of one compute size, the one with the least memory. A file is YAML or
    JSON: `{1g.5gb: 3, 7g.40gb: 1}`. Raises SettingsError naming the mix or the profile, and the fix.
    """
    if isinstance(mix, str):
        if mix in NAMED:
            return _named(NAMED[mix], catalogue)
        return _checked(_read(mix), f"mix {mix}", catalogue)
    return _checked(mix, "mix", catalogue)


def _named(by_size: Mapping[int, float], catalogue: Catalogue) -> dict[str, float]:
    smallest: dict[int, str] = {}
    for profile in sorted(catalogue.profiles, key=lambda p: -p.memory_slices):
        if profile.plain:
            smallest[profile.compute_slices] = profile.name
    weights = {smallest[size]: share for size, share in by_size.items() if size in smallest}
    return _checked(weights, "mix", catalogue)


def _read(path: str) -> Any:
    fix = "use one of " + ", ".join(NAMED) + ", or a YAML or JSON file of profile: weight"
    try:
        return document_text.load(Path(path).read_text(encoding="utf-8"), f"mix {path}")
    except OSError as error:
        raise errors.SettingsError("mix", path, f"{fix} ({error.strerror})") from error
    except errors.InputError as error:
        raise errors.SettingsError(error.field, error.value, error.fix) from error
    except UnicodeDecodeError as error:
        raise errors.SettingsError("mix", path, f"not readable as text; {fix}") from error


def _checked(weights: Any, where: str, catalogue: Catalogue) -> dict[str, float]:
    if not isinstance(weights, Mapping) or not weights:
        raise errors.SettingsError(where, weights, "write profile: weight, such as {1g.5gb: 3, 7g.40gb: 1}")
    for name, weight in weights.items():
        if name not in catalogue.by_name:
            raise errors.SettingsError(
                f"{where}: profile", name, f"{catalogue.model} offers " + ", ".join(catalogue.by_name)
            )
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= _MOST:
            fix = f"must be a number, 0 or more, at most {_MOST:,}"
            raise errors.SettingsError(f"{where}: weight of {name}", weight, fix)
    total = math.fsum(weights.values())
    if not total:
        raise errors.SettingsError(where, dict(weights), "give at least one profile a weight above 0")
    return {name: weight / total for name, weight in weights.items() if weight > 0}
