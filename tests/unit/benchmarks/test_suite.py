"""A run of the benchmarks: saved after each part, judged, and honest about what failed or was left out."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from allocator import errors
from benchmarks import registry, results, suite
from benchmarks.benchmark import Benchmark, Progress, Rows
from benchmarks.ranges import Range
from benchmarks.results import Results

BOUNDS = (
    Range("good", (), "value", "why", "source", most=1.0),
    Range("bad", (), "value", "why", "source", most=1.0),
)


def benchmark_of(name: str, rows: Rows | None) -> Benchmark:
    """A part with these rows, or one that fails."""

    def measure(quick: bool, progress: Progress) -> Rows:
        progress(f"measuring {name}")
        if rows is None:
            raise RuntimeError("no such machine")
        return [*rows, {"value": 0.5, "quick": quick}]

    return Benchmark(name, f"The {name} part", "Is it so?", "By looking.", measure, "half of it", {"value": "a value"})


def test_parts_run_in_turn_and_are_saved_each() -> None:
    """After every part what was found so far is saved with its verdicts, and nothing of it is lost."""
    saved: list[Results] = []
    told: list[str] = []
    outcome = suite.run(
        [benchmark_of("good", []), benchmark_of("bad", [{"value": 2.0}])],
        BOUNDS,
        quick=False,
        progress=told.append,
        save=lambda so_far: saved.append(copy.deepcopy(so_far)),
    )
    assert [list(so_far.parts) for so_far in saved] == [["good"], ["good", "bad"]]
    assert [[verdict.ok for verdict in run.verdicts] for run in saved] == [[True, None], [True, False]]
    assert [verdict.value for verdict in outcome.verdicts] == [0.5, 2.0]
    assert [message for message in told if message.startswith("[")] == ["[1/2] The good part", "[2/2] The bad part"]


def test_a_part_that_fails_says_why_and_the_others_run() -> None:
    """A part that raises has no rows, a reason and no verdict; the next part runs all the same."""
    outcome = suite.run([benchmark_of("bad", None), benchmark_of("good", [])], BOUNDS, quick=False)
    assert outcome.parts["bad"].failed == "RuntimeError: no such machine"
    assert outcome.rows("bad") == []
    assert outcome.rows("good")
    assert [verdict.ok for verdict in outcome.verdicts] == [True, None]


def test_a_quick_run_says_what_it_leaves_out() -> None:
    """Quick runs are marked, part by part; full ones leave nothing out."""
    quick = suite.run([benchmark_of("good", [])], BOUNDS, quick=True)
    full = suite.run([benchmark_of("good", [])], BOUNDS, quick=False)
    assert (quick.quick, quick.parts["good"].left_out) == (True, "half of it")
    assert (full.quick, full.parts["good"].left_out) == (False, "")
    assert quick.rows("good")[0]["quick"] is True


def test_other_parts_are_kept_when_one_is_measured_again() -> None:
    """With known results the parts that are not run stay, and are judged along."""
    first = suite.run([benchmark_of("bad", [{"value": 3.0}])], BOUNDS, quick=False)
    both = suite.run([benchmark_of("good", [])], BOUNDS, quick=False, earlier=first)
    assert set(both.parts) == {"good", "bad"}
    assert [verdict.ok for verdict in both.verdicts] == [True, False]


def test_results_survive_the_file(tmp_path: Path) -> None:
    """What is written is what is read, and nothing but the file is left behind."""
    outcome = suite.run([benchmark_of("good", [{"value": 1.0, "series": [1, 2.5, None]}])], BOUNDS, quick=True)
    file = tmp_path / "deep" / "results.json"
    results.write(outcome, file)
    assert results.read(file) == outcome
    assert [entry.name for entry in file.parent.iterdir()] == ["results.json"]


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (None, "name a file"),
        ("", "not a results file"),
        ("[]", "not a results file"),
        ('{"version": 1}', "missing required field"),
        (
            '{"version": 2, "migsched": "9", "started": "", "quick": false, "machine": {"processor": "", "processors":'
            ' 1, "memory_gib": 1, "system": "", "python": ""}}',
            "reads version 1",
        ),
    ],
)
def test_files_that_are_no_results_are_refused(tmp_path: Path, content: str | None, named: str) -> None:
    """A missing file, another format and another version are refused with what is wrong."""
    file = tmp_path / "results.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(errors.InputError, match=named):
        results.read(file)


def test_parts_are_found_by_name() -> None:
    """Parts come in their order whatever the order of the names; no name means all; a stranger is refused."""
    assert [benchmark.name for benchmark in registry.find(["planning", "policies"])] == ["policies", "planning"]
    assert registry.find(()) == registry.BENCHMARKS
    with pytest.raises(errors.SettingsError, match="use one of policies"):
        registry.find(["polices"])


def _texts(benchmark: Benchmark) -> Mapping[str, Any]:
    return {
        "title": benchmark.title,
        "question": benchmark.question,
        "method": benchmark.method,
        "quick": benchmark.quick,
    }


@pytest.mark.parametrize("benchmark", registry.BENCHMARKS, ids=lambda benchmark: benchmark.name)
def test_every_benchmark_explains_itself(benchmark: Benchmark) -> None:
    """Each benchmark has a title, a question that ends as one, a method, what quick leaves out, and columns."""
    assert all(_texts(benchmark).values())
    assert benchmark.question.endswith("?")
    assert benchmark.columns
    assert all(benchmark.columns.values())
