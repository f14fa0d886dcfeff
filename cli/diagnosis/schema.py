"""The fields that a CRD's schema has, so that an older CRD is told from the present one. Pure."""

from collections.abc import Iterator
from typing import Any

MAX_DEPTH = 24
MAX_FIELDS = 5_000


def fields(schema: object) -> frozenset[str]:
    """The paths of all fields in an openAPIV3Schema, such as `status.gpus.uuid`; of a huge one the first 5,000."""
    return frozenset(path for _, path in zip(range(MAX_FIELDS), _paths(schema, "", 0), strict=False))


def _paths(schema: object, above: str, depth: int) -> Iterator[str]:
    if depth > MAX_DEPTH or not isinstance(schema, dict):
        return
    of_items: Any = schema.get("items")
    yield from _paths(of_items, above, depth + 1)
    properties: Any = schema.get("properties")
    for name, inner in properties.items() if isinstance(properties, dict) else ():
        path = f"{above}.{name}" if above else str(name)
        yield path
        yield from _paths(inner, path, depth + 1)
