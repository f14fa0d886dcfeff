"""Suite: a run of several benchmarks, saved after each and judged as a whole. Called by `migsched bench all`."""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib import metadata

from benchmarks import ranges, results
from benchmarks.benchmark import Benchmark, Progress
from benchmarks.ranges import Range
from benchmarks.results import BenchmarkResult, Machine, Results

Saver = Callable[[Results], None]


def run(
    benchmarks: Sequence[Benchmark],
    bounds: Sequence[Range],
    *,
    quick: bool,
    progress: Progress = lambda _: None,
    save: Saver = lambda _: None,
    earlier: Results | None = None,
) -> Results:
    """Run the benchmarks in turn. `save` gets the results so far after each; of `earlier` results the others are kept.

    A benchmark that raises has no rows and says why; the others run all the same.
    """
    outcome = Results(
        version=results.VERSION,
        migsched=metadata.version("migsched"),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        quick=quick,
        machine=Machine.this(),
        parts={} if earlier is None else dict(earlier.parts),
    )
    for number, benchmark in enumerate(benchmarks, 1):
        progress(f"[{number}/{len(benchmarks)}] {benchmark.title}" + (f" (quick: {benchmark.quick})" if quick else ""))
        outcome.parts[benchmark.name] = _run(benchmark, quick, progress)
        judge(outcome, bounds)
        save(outcome)
    return outcome


def judge(outcome: Results, bounds: Sequence[Range]) -> None:
    """Set the verdicts of results, for what they hold."""
    measured = {name: part.rows for name, part in outcome.parts.items()}
    outcome.verdicts = [results.RecordedVerdict(**verdict.document()) for verdict in ranges.judge(bounds, measured)]


def _run(benchmark: Benchmark, quick: bool, progress: Progress) -> BenchmarkResult:
    began = time.perf_counter()
    result = BenchmarkResult(
        title=benchmark.title,
        question=benchmark.question,
        method=benchmark.method,
        columns=dict(benchmark.columns),
        left_out=benchmark.quick if quick else "",
    )
    try:
        result.rows = [dict(row) for row in benchmark.measure(quick, progress)]
    except Exception as error:
        result.failed = f"{type(error).__name__}: {error}"
        progress(f"{benchmark.name} failed: {result.failed}")
    result.seconds = round(time.perf_counter() - began, 1)
    return result
