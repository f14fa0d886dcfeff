"""Trace: a recorded workload, a CSV file with one job per row.

Columns, in any order, named by the first row: `id`, `arrival_s`, `profile`, `duration_s`; and, where wanted,
`priority` (a whole number, higher leaves the queue earlier, default 0), `movable` (true or false, default false, as
for pods), `alternatives` (profiles that would do as well, separated by `|`) and `expected_s` (the duration known
beforehand, default the true one). Rows are in order of arrival. The file is read twice, row by row: `survey` checks
all of it before anything is simulated, `Trace.jobs` replays it; only the ids are kept. Chosen by `sweep`.
"""

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from allocator import errors
from allocator.mig.catalogue import Catalogue
from allocator.mig.geometry import Geometry
from replay.job import Job

REQUIRED = ("id", "arrival_s", "profile", "duration_s")
OPTIONAL = ("priority", "movable", "alternatives", "expected_s")
MAX_SECONDS = 1e12  # some 30,000 years, in tenths of milliseconds: past it sums lose what the file says
_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False, "": False}


@dataclass(frozen=True)
class Trace:
    """A trace that `survey` found good. Counts everything that happens, from the first arrival to the last end."""

    path: str
    profiles: frozenset[str]
    rows: int
    first_arrival_s: float
    last_arrival_s: float
    movable: bool

    @property
    def window_s(self) -> tuple[float, float]:
        """All the time from the first arrival on."""
        return self.first_arrival_s, math.inf

    @property
    def seeded(self) -> bool:
        """A trace is as it is."""
        return False

    def jobs(self, geometry: Geometry, gpus: int, seed: int) -> Iterator[Job]:  # noqa: ARG002 the port's signature
        """The jobs. Raises InputError if the file is no longer what was surveyed."""
        for _, job in _read(self.path, geometry.profile_index, geometry.catalogue.model):
            yield job


def survey(path: str, catalogue: Catalogue) -> Trace:
    """Read a whole trace and check it. Raises InputError naming row, column and fix."""
    index = {name: i for i, name in enumerate(catalogue.by_name)}
    seen: set[str] = set()
    used: set[int] = set()
    first = last = 0.0
    movable = False
    for (row, name), job in _read(path, index, catalogue.model):
        if name in seen:
            raise _bad_cell(path, row, "id", name, "used before; give every job an id of its own")
        if not seen:
            first = job.arrival_s
        elif job.arrival_s < last:
            raise _bad_cell(
                path, row, "arrival_s", job.arrival_s, f"sort the rows by arrival; the row before has {last:g}"
            )
        seen.add(name)
        used.update(job.profiles)
        last = job.arrival_s
        movable = movable or job.movable
    if not seen:
        raise errors.InputError(f"{path}: rows", 0, "give at least one job below the header")
    names = tuple(index)
    return Trace(path, frozenset(names[i] for i in used), len(seen), first, last, movable)


def _read(path: str, index: Mapping[str, int], model: str) -> Iterator[tuple[tuple[int, str], Job]]:
    """Every job with its row (the line in the file, 1 is the header) and id."""
    fix = "give a CSV file with the columns " + ",".join(REQUIRED)
    row = 1
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            parser = _Parser(path, header, index, model)
            for cells in reader:
                row = reader.line_num
                if cells:
                    yield parser.job(row, cells)
    except OSError as error:
        raise errors.InputError("trace", path, f"{fix} ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise errors.InputError(f"{path}: row {_undecodable(path)}", str(error), f"save it as UTF-8; {fix}") from error
    except csv.Error as error:
        raise errors.InputError(f"{path}: after row {row}", str(error), fix) from error


def _undecodable(path: str) -> int:
    """The first line that is not UTF-8: text is decoded in blocks, well before its rows are read."""
    row = 1
    with Path(path).open("rb") as file:
        for row, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return row
    return row


class _Parser:
    """Makes jobs of rows. Every error names the row, the column and the fix."""

    def __init__(self, path: str, header: Sequence[str], index: Mapping[str, int], model: str) -> None:
        self._path = path
        self._width = len(header)
        self._index = index
        self._model = model
        self._profiles: dict[tuple[str, str], tuple[int, ...]] = {}
        self._at = {name.strip(): i for i, name in enumerate(header)}
        for name in REQUIRED:
            if name not in self._at:
                raise self._bad(1, name, ",".join(header), "the column is missing; the header is " + ",".join(REQUIRED))
        for name in self._at:
            if name not in REQUIRED + OPTIONAL:
                raise self._bad(1, name, name, "not a column of a trace; leave it out or use " + ", ".join(OPTIONAL))
        if len(self._at) != self._width:
            raise self._bad(1, "header", ",".join(header), "every column once")

    def job(self, row: int, cells: Sequence[str]) -> tuple[tuple[int, str], Job]:
        """Row number, id and job."""
        if len(cells) != self._width:
            raise self._bad(row, "all", ",".join(cells), f"write {self._width} cells, as in the header")
        name = cells[self._at["id"]]
        if not name:
            raise self._bad(row, "id", name, "give every job an id of its own")
        duration_s = self._seconds(row, "duration_s", cells)
        expected_s = self._seconds(row, "expected_s", cells) if self._cell("expected_s", cells) else duration_s
        return (row, name), Job(
            arrival_s=self._seconds(row, "arrival_s", cells),
            duration_s=duration_s,
            profiles=self._wanted(row, cells),
            expected_s=expected_s,
            priority=self._priority(row, cells),
            movable=self._movable(row, cells),
        )

    def _cell(self, column: str, cells: Sequence[str]) -> str:
        at = self._at.get(column)
        return "" if at is None else cells[at].strip()

    def _seconds(self, row: int, column: str, cells: Sequence[str]) -> float:
        text = self._cell(column, cells)
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0.0 <= value <= MAX_SECONDS:
            raise self._bad(row, column, text, f"write seconds, 0 or more, at most {MAX_SECONDS:g}")
        return value

    def _wanted(self, row: int, cells: Sequence[str]) -> tuple[int, ...]:
        key = self._cell("profile", cells), self._cell("alternatives", cells)
        if key not in self._profiles:
            names = [key[0], *(alternative.strip() for alternative in key[1].split("|") if alternative.strip())]
            for column, name in zip(("profile", *["alternatives"] * len(names)), names, strict=False):
                if name not in self._index:
                    raise self._bad(row, column, name, f"{self._model} offers " + ", ".join(self._index))
            self._profiles[key] = tuple(dict.fromkeys(self._index[name] for name in names))
        return self._profiles[key]

    def _priority(self, row: int, cells: Sequence[str]) -> int:
        text = self._cell("priority", cells)
        try:
            return int(text) if text else 0
        except ValueError:
            raise self._bad(row, "priority", text, "write a whole number") from None

    def _movable(self, row: int, cells: Sequence[str]) -> bool:
        text = self._cell("movable", cells)
        try:
            return _BOOLEANS[text.lower()]
        except KeyError:
            raise self._bad(row, "movable", text, "write true or false") from None

    def _bad(self, row: int, column: str, value: object, fix: str) -> errors.InputError:
        return _bad_cell(self._path, row, column, value, fix)


def _bad_cell(path: str, row: int, column: str, value: object, fix: str) -> errors.InputError:
    """The error of one cell."""
    return errors.InputError(f"{path}: row {row}, column {column}", value, fix)
