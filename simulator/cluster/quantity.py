"""Kubernetes quantities ("250m", "4Gi", "1e3") as exact numbers.

Used by the in-memory API server, which refuses bad ones, and by the scheduler stand-in, which adds them up. The core
reads quantities of its own resources more narrowly (`allocator.request`): a whole number of slices and nothing with a
fraction or a suffix of bytes. So these are two rules and not two copies of one.
"""

import re
from decimal import Decimal

from allocator import errors

_QUANTITY = re.compile(r"(?P<number>[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))(?P<suffix>[a-zA-Z]*|[eE][+-]?[0-9]{1,2})")
_SUFFIXES = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
    "E": Decimal(10**18),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
    "Pi": Decimal(2**50),
    "Ei": Decimal(2**60),
}


def parse(quantity: object, field: str) -> Decimal:
    """The number that a quantity means. Raises InputError naming `field` for anything else."""
    match = _QUANTITY.fullmatch(str(quantity))
    if match is None or isinstance(quantity, bool):
        raise errors.InputError(field, quantity, "write a quantity such as 2, 500m or 4Gi")
    suffix = match["suffix"]
    if suffix in _SUFFIXES:
        return Decimal(match["number"]) * _SUFFIXES[suffix]
    if suffix[0] in "eE" and suffix[1:]:
        return Decimal(match["number"]) * Decimal(10) ** int(suffix[1:])
    raise errors.InputError(field, quantity, f"unknown suffix {suffix!r}; use m, k, M, G, Ki, Mi, Gi, …")


def is_extended(resource: str) -> bool:
    """Whether a resource name is an extended one, counted in whole units: not Kubernetes' own."""
    domain, _, name = resource.rpartition("/")
    return bool(domain) and bool(name) and not domain.endswith("kubernetes.io")
