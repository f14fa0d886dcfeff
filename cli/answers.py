"""How plan, capacity and repack answer people: forms, exit codes, and the words that their tables share.

A slice is a GPU instance; a share of a GPU's memory is called a memory slice, here as everywhere.
"""

import csv
import enum
import io
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from allocator.claims.snapshot import GpuView, Occupant
from allocator.mig import gpu_models
from allocator.mig.profile import Placement
from cli import output, slot_map
from cli.output import Format

NO, UNDECIDED = 1, 3  # exit codes; 2 is for input that cannot be used


class RowsFormat(enum.StrEnum):
    """What `-o` takes where the answer has a main table."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    CSV = "csv"


class PlanFormat(enum.StrEnum):
    """What `-o` takes of `plan`: also the file for NVIDIA's MIG manager."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    CSV = "csv"
    MIG_PARTED = "mig-parted"


def show(
    form: RowsFormat | PlanFormat,
    answer: Any,
    table: Callable[[], RenderableType],
    rows: Callable[[], Sequence[Mapping[str, object]]],
) -> None:
    """Print an answer as the table for people, its rows as CSV, or all of it as JSON or YAML."""
    if form.value == RowsFormat.CSV.value:
        sys.stdout.write(csv_text(rows()))
        sys.stdout.flush()
    elif form is PlanFormat.MIG_PARTED:
        sys.stdout.write(answer.mig_parted)
        sys.stdout.flush()
    else:
        output.show(Format(form.value), lambda: answer, table)


def csv_text(rows: Sequence[Mapping[str, object]]) -> str:
    """Rows as CSV with a header; nothing at all without rows."""
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue()


def exit_code(verdict: bool | None) -> int:
    """0 for yes, 1 for no, 3 for undecided."""
    if verdict is None:
        return UNDECIDED
    return 0 if verdict else NO


def refusal(verdict: bool | None, reason: str) -> Text:
    """A no as a no, and what is open as undecided, with the reason."""
    word = "undecided" if verdict is None else "no"
    return Text(f"{word}: {reason}", style="bold yellow" if verdict is None else "bold red")


def table(*columns: str, numbers: Sequence[str] = ()) -> Table:
    """A table without lines; columns of numbers to the right."""
    drawn = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        drawn.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    return drawn


def picture(model: str, slices: Sequence[tuple[str, int, bool]]) -> Text:
    """A GPU's memory slices with its slices (profile, start, whether it is there already, which is grey)."""
    catalogue = gpu_models.find(model)
    occupants = []
    for profile, start, pinned in slices:
        placement = catalogue.placement(profile, start)
        occupants.append(Occupant(placement, "foreign" if pinned else "ready", "", profile, "", profile))
    gpu = GpuView(
        node="",
        uuid="",
        index=0,
        product=model,
        model=model,
        memory_slices=catalogue.memory_slices,
        mask=0,
        occupants=tuple(occupants),
        catalogue=catalogue,
    )
    return slot_map.bar(gpu, slot_map.colours(profile for profile, _, pinned in slices if not pinned))


def gpus(counts: Mapping[str, int]) -> str:
    """`9 × a100-40gb, 2 × h100-80gb`; models of which there are none are left out."""
    return ", ".join(f"{number} × {model}" for model, number in counts.items() if number) or "no GPU"


def amount(value: float) -> str:
    """A cost as people write it."""
    return f"{value:,.6f}".rstrip("0").rstrip(".")


def slices(profiles: Mapping[str, int]) -> str:
    """`3g.20gb + 2 × 1g.5gb`."""
    return " + ".join(name if number == 1 else f"{number} × {name}" for name, number in profiles.items())


def place(gpu: str, profile: str, start: int) -> str:
    """Where a slice is, the GPU by the beginning of its UUID."""
    short = gpu if len(gpu) <= 16 else f"{gpu[:12]}…"
    return f"{Placement(profile, start, 1)} on {short}"
