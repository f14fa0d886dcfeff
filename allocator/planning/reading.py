"""Reading: taking a parsed document apart, with errors that name the field, the value and the fix.

What a person wrote as YAML or JSON arrives as plain mappings, lists, numbers and text. Every function takes the value
and where it stood (`fleet[0].count`) and returns it checked, or raises InputError. Called by the documents of plans,
capacity questions and repacks.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from allocator import errors

MAX_COUNT = 1_000_000  # GPUs, slices, replicas: past any fleet, and past it the answer would not be exact
MAX_ENTRIES = 100_000  # entries of one list
MAX_NUMBER = Decimal(10) ** 9
DECIMALS = 6  # digits after the point that count in rates and prices

_TOKENS = re.compile(r"(?P<digits>[1-9][0-9]{0,8})(?P<suffix>[kKmM]?)")


def mapping(value: Any, where: str, allowed: Collection[str], required: Collection[str] = ()) -> Mapping[str, Any]:
    """A mapping with only the allowed keys, and all the required ones."""
    if not isinstance(value, Mapping):
        raise errors.InputError(where or "document", value, "write a mapping with the keys " + ", ".join(allowed))
    for key in value:
        if key not in allowed:
            raise errors.InputError(at(where, key), value[key], "unknown key; use " + ", ".join(allowed))
    for key in required:
        if key not in value:
            raise errors.InputError(at(where, key), None, "is missing; add it")
    return value


def named(value: Any, where: str) -> Mapping[str, Any]:
    """A mapping whose keys are names of the writer's choice."""
    if not isinstance(value, Mapping):
        raise errors.InputError(where, value, "write a mapping")
    for key in value:
        if not isinstance(key, str) or not key:
            raise errors.InputError(where, key, "keys must be text")
    return value


def sequence(value: Any, where: str, most: int = MAX_ENTRIES) -> Sequence[Any]:
    """A list."""
    if not isinstance(value, list | tuple):
        raise errors.InputError(where, value, "write a list")
    if len(value) > most:
        raise errors.InputError(where, f"{len(value)} entries", f"write at most {most}")
    return value


def text(value: Any, where: str) -> str:
    """Text that says something, of a length fit to be shown."""
    if not isinstance(value, str) or not value.strip() or len(value) > 253:
        raise errors.InputError(where, value, "write text of 1…253 characters")
    return value


def flag(value: Any, where: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise errors.InputError(where, value, "write true or false")
    return value


def count(value: Any, where: str, low: int = 0, high: int = MAX_COUNT) -> int:
    """A whole number."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise errors.InputError(where, value, f"write a whole number of {low}…{high}")
    return value


def number(value: Any, where: str, *, positive: bool) -> Decimal:
    """A number of at least 0, or above it; digits past the sixth after the point are rounded away."""
    fix = f"write a number {'above' if positive else 'of at least'} 0, at most {MAX_NUMBER:,}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise errors.InputError(where, value, fix)
    try:
        exact = Decimal(str(value))
        if not exact.is_finite() or abs(exact) > MAX_NUMBER:
            raise errors.InputError(where, value, fix)
        exact = exact.quantize(Decimal(1).scaleb(-DECIMALS)).normalize()
    except InvalidOperation:
        raise errors.InputError(where, value, fix) from None
    if exact < 0 or (positive and exact == 0):
        raise errors.InputError(where, value, fix)
    return exact


def tokens(value: Any, where: str) -> int:
    """A number of tokens, plain or as `32k` (1k is 1,024)."""
    if isinstance(value, str):
        match = _TOKENS.fullmatch(value.strip())
        if match is not None:
            value = int(match["digits"]) * {"": 1, "k": 1 << 10, "m": 1 << 20}[match["suffix"].lower()]
    return count(value, where, 1, 1 << 30)


def choice(value: Any, where: str, among: Collection[str]) -> str:
    """One of a few words."""
    if not isinstance(value, str) or value not in among:
        raise errors.InputError(where, value, "use one of " + ", ".join(among))
    return value


def at(where: str, key: object) -> str:
    """The name of a field inside another."""
    return f"{where}.{key}" if where else str(key)
