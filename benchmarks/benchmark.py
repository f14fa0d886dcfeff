"""Benchmark: what `migsched bench all` runs and a report explains. Listed in `registry`, run by `suite`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Progress = Callable[[str], None]  # gets a line for people
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Benchmark:
    """One benchmark. `measure(quick, progress)` gives its rows.

    `question` and `method` are for readers who do not know the code; `columns` says what the fields of a row mean,
    with their units. `quick` says what a quick run leaves out.
    """

    name: str
    title: str
    question: str
    method: str
    measure: Callable[[bool, Progress], Rows]
    quick: str
    columns: Mapping[str, str] = field(default_factory=dict)
