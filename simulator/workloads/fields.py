"""Typed access to a manifest's fields; errors name file, document and field. Used by all translators."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from allocator import errors


class ManifestError(errors.InputError):
    """A manifest that cannot be used."""


@dataclass(frozen=True, slots=True)
class FieldPlace:
    """Where a value stands: file and document, and the path of fields inside it."""

    document: str
    path: str = ""

    def __truediv__(self, field: str | int) -> "FieldPlace":
        step = f"[{field}]" if isinstance(field, int) else f".{field}" if self.path else field
        return FieldPlace(self.document, self.path + step)

    def __str__(self) -> str:
        return f"{self.document}: {self.path}" if self.path else self.document

    def error(self, value: object, fix: str) -> ManifestError:
        """The error that says what is wrong with the value here."""
        return ManifestError(str(self), value, fix)


def mapping(parent: Mapping[str, Any], field: str, at: FieldPlace, *, required: bool = False) -> dict[str, Any]:
    """A mapping; empty where it is absent and not required. Raises ManifestError."""
    value = parent.get(field)
    if value is None and not required:
        return {}
    if not isinstance(value, dict):
        raise (at / field).error(value, "must be a mapping")
    return value


def sequence(
    parent: Mapping[str, Any], field: str, at: FieldPlace, *, required: bool = False
) -> Sequence[dict[str, Any]]:
    """A list of mappings; empty where it is absent and not required. Raises ManifestError."""
    value = parent.get(field)
    if value is None and not required:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise (at / field).error(value, "must be a list of mappings")
    if required and not value:
        raise (at / field).error(value, "must not be empty")
    return value


def text(parent: Mapping[str, Any], field: str, at: FieldPlace) -> str:
    """A text that is not empty. Raises ManifestError."""
    value = parent.get(field)
    if not isinstance(value, str) or not value:
        raise (at / field).error(value, "must be a text")
    return value


def flag(parent: Mapping[str, Any], field: str, at: FieldPlace) -> bool:
    """True or false; false where it is absent. Raises ManifestError."""
    value = parent.get(field)
    if value is not None and not isinstance(value, bool):
        raise (at / field).error(value, "must be true or false")
    return bool(value)


def count(parent: Mapping[str, Any], field: str, at: FieldPlace, *, default: int, most: int, least: int = 0) -> int:
    """A whole number from `least` to `most`. Raises ManifestError."""
    value = parent.get(field)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise (at / field).error(value, f"must be a whole number, {least}…{most}")
    return value
