"""Results: what a run of the benchmarks measured, as one JSON file that says what it means.

Written by `suite`, read by `migsched bench report` and `migsched bench judge`. The file is an object:

    version    1; a reader refuses any other
    migsched   version of the product
    started    when, UTC, ISO 8601
    quick      whether small sizes were measured
    machine    processor, processors, memory_gib, system, python
    parts      by name: what one benchmark found
      title, question, method    for people
      columns    field of a row → what it means, with its unit
      left_out   what a quick run did not measure, empty otherwise
      seconds    how long it took
      failed     why there are no rows, empty otherwise
      rows       objects with the fields of `columns`
    verdicts   one per bound of ranges.toml
      measure, where, field      which rows of which part the bound is about
      bound      "≥ 0.8", "≤ 4" or "≈ 0.892"
      slack      how far beyond it the value may lie, null where nothing was measured
      value      the worst of these rows, null where nothing was measured
      ok         whether the bound holds, null where nothing was measured
      why        why the bound matters
      source     where its number comes from

A new field does not change the version; a changed meaning does.
"""

import os
import platform
import re
from pathlib import Path
from typing import Any

import msgspec

from allocator import errors

VERSION = 1

_LINE = "<line>"  # stands for a line while the rest is laid out


class Machine(msgspec.Struct, frozen=True):
    """What it was measured on."""

    processor: str
    processors: int
    memory_gib: float
    system: str
    python: str

    @staticmethod
    def this() -> "Machine":
        """The machine we run on."""
        page, pages = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_PHYS_PAGES")
        return Machine(
            processor=_processor(),
            processors=os.cpu_count() or 1,
            memory_gib=round(page * pages / 2**30, 1),
            system=f"{platform.system()} {platform.release()}",
            python=platform.python_version(),
        )


class BenchmarkResult(msgspec.Struct):
    """What one benchmark found."""

    title: str
    question: str
    method: str
    columns: dict[str, str]
    left_out: str = ""
    seconds: float = 0.0
    failed: str = ""
    rows: list[dict[str, Any]] = []


class RecordedVerdict(msgspec.Struct):
    """What became of one bound; see `ranges.RangeVerdict`."""

    measure: str
    where: dict[str, Any]
    field: str
    bound: str
    why: str
    source: str
    slack: float | None = None
    value: float | None = None
    ok: bool | None = None


class Results(msgspec.Struct):
    """One run."""

    version: int
    migsched: str
    started: str
    quick: bool
    machine: Machine
    parts: dict[str, BenchmarkResult] = {}
    verdicts: list[RecordedVerdict] = []

    def rows(self, part: str) -> list[dict[str, Any]]:
        """The rows of a part; none if it was not run."""
        return self.parts[part].rows if part in self.parts else []


def read(file: Path) -> Results:
    """The results in a file. Raises InputError if it cannot be read, naming the field, or has another version."""
    try:
        recorded = msgspec.json.decode(file.read_bytes(), type=Results)
    except OSError as error:
        raise errors.InputError(
            "results",
            str(file),
            f"name a file of `migsched bench all`, such as benchmarks/results/full.json ({error.strerror})",
        ) from error
    except msgspec.DecodeError as error:  # a ValidationError names the field
        raise errors.InputError("results", str(file), f"not a results file: {error}") from error
    if recorded.version != VERSION:
        raise errors.InputError("results: version", recorded.version, f"this migsched reads version {VERSION}")
    return recorded


def write(results: Results, file: Path) -> None:
    """Write a file, whole or not at all; a row or a verdict is a line."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.part")
    temporary.write_text(_text(results), encoding="utf-8")
    temporary.replace(file)


def _text(results: Results) -> str:
    """The file's text. Rows and verdicts are set in as lines once the rest is laid out."""
    lines: list[str] = []

    def line(value: Any) -> str:
        lines.append(msgspec.json.encode(value).decode())
        return f"{_LINE}{len(lines) - 1}"

    document = msgspec.to_builtins(results)
    for part in document["parts"].values():
        part["rows"] = [line(row) for row in part["rows"]]
    document["verdicts"] = [line(verdict) for verdict in document["verdicts"]]
    laid_out = msgspec.json.format(msgspec.json.encode(document), indent=1).decode() + "\n"
    return re.sub(f'"{_LINE}(\\d+)"', lambda match: lines[int(match[1])], laid_out)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
