"""Ranges: the bounds that measurements must keep, and the verdict on each.

ranges.toml holds them, each with its reason and its source. Called by `suite`, which judges a run, by
`migsched bench`, whose exit code follows, and by the report, which shows each bound beside what was measured.
"""

import math
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from allocator import errors

FILE = Path(__file__).with_name("ranges.toml")
_LIMITS = ("least", "most", "near")
_NEEDED = {"measure", "field", "why", "source"}
_KEYS = {*_NEEDED, *_LIMITS, "where", "by", "slack", "runs", "rounded"}

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Range:
    """One bound: rows of a measure that match `where` must have `field` at least, at most or near a number.

    `slack` names the row's field that says how far beyond the number a value may lie: the half width of its interval.
    Where the number is itself a mean over `runs` runs, it has an interval too, and the slack is that of the difference
    of both, as for runs that vary alike. `rounded` is half of the number's last digit, where that is coarse. Exactly
    one of `least`, `most` and `near` is a number.
    """

    measure: str
    where: tuple[tuple[str, Any], ...]
    field: str
    why: str
    source: str
    least: float | None = None
    most: float | None = None
    near: float | None = None
    slack: str | None = None
    runs: int | None = None
    rounded: float = 0.0

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether the bound is about this row. Values are compared as they are written: 1.0 is not "1.0"."""
        return all(row.get(key) == value for key, value in self.where)

    @property
    def text(self) -> str:
        """The bound in a few characters."""
        sign, number = next((s, n) for s, n in (("≥", self.least), ("≤", self.most), ("≈", self.near)) if n is not None)
        return f"{sign} {number:,g}"

    def judges(self, row: Mapping[str, Any]) -> bool:
        """Whether the row says enough: it has the value, and the interval that the bound goes by."""
        return row.get(self.field) is not None and (self.slack is None or row.get(self.slack) is not None)

    def beyond(self, row: Mapping[str, Any]) -> float:
        """How far the value of a row that `judges` lies beyond the bound and its slack; 0 or less where it holds."""
        value = float(row[self.field])
        if self.least is not None:
            out = self.least - value
        elif self.most is not None:
            out = value - self.most
        else:
            out = abs(value - (self.near or 0.0))
        return out - self.allowed(row)

    def allowed(self, row: Mapping[str, Any]) -> float:
        """How far beyond the bound the value of a row that `judges` may lie."""
        if self.slack is None:
            return self.rounded
        both = 1.0 if self.runs is None else math.sqrt(1.0 + float(row["runs"]) / self.runs)
        return float(row[self.slack]) * both + self.rounded


@dataclass(frozen=True, slots=True)
class RangeVerdict:
    """What became of one bound; `row` is the worst row that it judges, None where there is none."""

    range: Range
    row: Mapping[str, Any] | None

    @property
    def value(self) -> float | None:
        """What was measured."""
        return None if self.row is None else float(self.row[self.range.field])

    @property
    def ok(self) -> bool | None:
        """Whether the bound holds; None where nothing could be judged."""
        return None if self.row is None else self.range.beyond(self.row) <= 0

    def document(self) -> dict[str, Any]:
        """For a results file."""
        return {
            "measure": self.range.measure,
            "where": dict(self.range.where),
            "field": self.range.field,
            "bound": self.range.text,
            "slack": None if self.row is None else self.range.allowed(self.row),
            "value": self.value,
            "ok": self.ok,
            "why": self.range.why,
            "source": self.range.source,
        }


def load(file: Path = FILE) -> Sequence[Range]:
    """The bounds. Raises SettingsError naming what is wrong with the file, and the fix."""
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise errors.SettingsError("bounds", str(file), f"give a readable TOML file ({error})") from error
    unknown = set(document) - {"range", "source"}
    if unknown:
        raise errors.SettingsError(f"{file.name}: {sorted(unknown)[0]}", "", "only [[range]] and [source] are read")
    sources = document.get("source", {})
    entries = document.get("range", [])
    ranges = [
        bound
        for number, entry in enumerate(entries, 1)
        for bound in _read(f"{file.name}: range {number}", entry, sources)
    ]
    unused = set(sources) - {entry["source"] for entry in entries}
    if unused:
        raise errors.SettingsError(f"{file.name}: source {sorted(unused)[0]}", "", "no range names it: remove it")
    return ranges


def _read(where: str, entry: Mapping[str, Any], sources: Mapping[str, str]) -> Iterator[Range]:
    """The ranges of one entry: one, or with `by` one per value of that field."""
    _check(where, entry, sources)
    (limit,) = (key for key in _LIMITS if key in entry)
    numbers: Mapping[Any, float] = entry[limit] if "by" in entry else {None: entry[limit]}
    for key, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
            raise errors.SettingsError(f"{where}: {limit}", number, "give a number")
        also = {entry["by"]: key} if "by" in entry else {}
        yield Range(
            measure=entry["measure"],
            where=tuple(sorted({**entry.get("where", {}), **also}.items())),
            field=entry["field"],
            why=entry["why"],
            source=sources[entry["source"]],
            least=number if limit == "least" else None,
            most=number if limit == "most" else None,
            near=number if limit == "near" else None,
            slack=entry.get("slack"),
            runs=entry.get("runs"),
            rounded=entry.get("rounded", 0.0),
        )


def _check(where: str, entry: Mapping[str, Any], sources: Mapping[str, str]) -> None:
    unknown, missing = set(entry) - _KEYS, sorted(_NEEDED - set(entry))
    if unknown:
        raise errors.SettingsError(f"{where}: {sorted(unknown)[0]}", dict(entry), "use " + ", ".join(sorted(_KEYS)))
    if missing:
        raise errors.SettingsError(f"{where}: {missing[0]}", dict(entry), "say it: a bound needs " + ", ".join(missing))
    if sum(key in entry for key in _LIMITS) != 1:
        raise errors.SettingsError(where, dict(entry), "give exactly one of " + ", ".join(_LIMITS))
    if entry["source"] not in sources:
        raise errors.SettingsError(f"{where}: source", entry["source"], "use one of " + ", ".join(sources))
    limit = next(key for key in _LIMITS if key in entry)
    if ("by" in entry) != isinstance(entry[limit], Mapping):
        raise errors.SettingsError(f"{where}: {limit}", entry[limit], "give a number, or with `by` a number per value")


def judge(ranges: Iterable[Range], measured: Mapping[str, Rows]) -> Sequence[RangeVerdict]:
    """A verdict per bound; of several matching rows the worst counts."""
    verdicts = []
    for bound in ranges:
        rows = [r for r in measured.get(bound.measure, ()) if bound.matches(r) and bound.judges(r)]
        verdicts.append(RangeVerdict(bound, max(rows, key=bound.beyond, default=None)))
    return verdicts
