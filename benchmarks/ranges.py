"""Judges what was measured by the bounds in ranges.toml. Called by `migsched bench`, whose exit code follows."""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from allocator import errors

FILE = Path(__file__).with_name("ranges.toml")
_KEYS = {"measure", "where", "field", "least", "most", "why"}


@dataclass(frozen=True, slots=True)
class Range:
    """One bound: rows of a measure that match `where` must have `field` between `least` and `most`."""

    measure: str
    where: tuple[tuple[str, Any], ...]
    field: str
    least: float | None
    most: float | None
    why: str

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether the bound is about this row."""
        return all(row.get(key) == value for key, value in self.where)

    def holds(self, value: float) -> bool:
        """Whether a value is within the bound."""
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one bound; `value` is None where nothing was measured for it."""

    range: Range
    value: float | None

    @property
    def ok(self) -> bool:
        """Whether it holds; what was not measured does not fail."""
        return self.value is None or self.range.holds(self.value)


def load(file: Path = FILE) -> Sequence[Range]:
    """The bounds. Raises SettingsError naming what is wrong with the file."""
    document = tomllib.loads(file.read_text(encoding="utf-8"))
    found = []
    for number, entry in enumerate(document.get("range", ()), start=1):
        unknown = set(entry) - _KEYS
        if unknown or not {"measure", "field", "why"} <= set(entry) or not {"least", "most"} & set(entry):
            raise errors.SettingsError(
                f"{file.name}: range {number}", entry, "needs measure, field, why, and least or most; nothing else"
            )
        found.append(
            Range(
                measure=entry["measure"],
                where=tuple(sorted(entry.get("where", {}).items())),
                field=entry["field"],
                least=entry.get("least"),
                most=entry.get("most"),
                why=entry["why"],
            )
        )
    return found


def judge(ranges: Iterable[Range], measured: Mapping[str, Sequence[Mapping[str, Any]]]) -> Sequence[Verdict]:
    """A verdict per bound; of several matching rows the worst counts."""
    verdicts = []
    for one in ranges:
        values = [
            float(row[one.field]) for row in measured.get(one.measure, ()) if one.matches(row) and one.field in row
        ]
        failing = [value for value in values if not one.holds(value)]
        verdicts.append(Verdict(one, failing[0] if failing else (values[0] if values else None)))
    return verdicts
