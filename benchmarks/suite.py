"""Suite: a run of several parts, saved after each and judged as a whole. Called by `migsched bench all`."""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib import metadata

from benchmarks import ranges, results
from benchmarks.ranges import Range
from benchmarks.registry import Part, Progress
from benchmarks.results import Machine, PartResult, Results

Saver = Callable[[Results], None]


def run(
    parts: Sequence[Part],
    bounds: Sequence[Range],
    *,
    quick: bool,
    progress: Progress = lambda _: None,
    save: Saver = lambda _: None,
    earlier: Results | None = None,
) -> Results:
    """Run the parts in turn. `save` gets the results so far after each; `known` are results whose other parts are kept.

    A part that raises has no rows and says why; the others run all the same.
    """
    outcome = Results(
        version=results.VERSION,
        migsched=metadata.version("migsched"),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        quick=quick,
        machine=Machine.this(),
        parts={} if earlier is None else dict(earlier.parts),
    )
    for number, part in enumerate(parts, 1):
        progress(f"[{number}/{len(parts)}] {part.title}" + (f" (quick: {part.quick})" if quick else ""))
        outcome.parts[part.name] = _run(part, quick, progress)
        judge(outcome, bounds)
        save(outcome)
    return outcome


def judge(outcome: Results, bounds: Sequence[Range]) -> None:
    """Set the verdicts of results, for what they hold."""
    measured = {name: part.rows for name, part in outcome.parts.items()}
    outcome.verdicts = [results.RecordedVerdict(**verdict.document()) for verdict in ranges.judge(bounds, measured)]


def _run(part: Part, quick: bool, progress: Progress) -> PartResult:
    began = time.perf_counter()
    result = PartResult(
        title=part.title,
        question=part.question,
        method=part.method,
        columns=dict(part.columns),
        left_out=part.quick if quick else "",
    )
    try:
        result.rows = [dict(row) for row in part.measure(quick, progress)]
    except Exception as error:
        result.failed = f"{type(error).__name__}: {error}"
        progress(f"{part.name} failed: {result.failed}")
    result.seconds = round(time.perf_counter() - began, 1)
    return result
