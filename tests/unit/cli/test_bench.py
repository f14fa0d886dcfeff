"""`migsched bench`: how results are judged, and bad input."""

import json
from pathlib import Path

import pytest
import typer

from benchmarks import registry, results
from benchmarks.benchmark import Benchmark, Progress, Rows
from cli import bench
from cli.output import Format
from tests.unit.benchmarks import small_results
from tests.unit.cli.command_line import CommandLine


@pytest.mark.parametrize(("acceptance", "code"), [(0.92, 0), (0.5, 1)])
def test_broken_bounds_are_exit_code_1(migsched: CommandLine, tmp_path: Path, acceptance: float, code: int) -> None:
    """Recorded results are judged by the bounds as they are, and a broken one is shown."""
    found = small_results.results_of("policies", "decisions")
    row = {"profiles": 5, "contender": "mfi, 2 moves", "mix": "uniform", "load": 1.0, "runs": 12, "gpc_ci95": 0.01}
    found.parts["policies"].rows = [row | {"gpc_acceptance": acceptance}]
    file = tmp_path / "results.json"
    results.write(found, file)
    judged = migsched.run("bench", "judge", str(file))
    assert judged.code == code
    assert ("2 moves" in judged.out) == (code == 1)
    document = json.loads(migsched.run("bench", "judge", str(file), "-o", "json").out)
    about = [one for one in document["verdicts"] if one["where"].get("contender") == "mfi, 2 moves" and one["value"]]
    assert {one["ok"] for one in about} == {code == 0}
    assert results.read(file) == found
    migsched.run("bench", "judge", str(file), "--save")
    kept = [one for one in results.read(file).verdicts if one.measure in found.parts]
    assert [one.ok for one in kept] == [one["ok"] for one in document["verdicts"]]


def test_a_part_that_fails_is_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where a part cannot be measured the command says why and fails, and the file says it too."""

    def measure(quick: bool, progress: Progress) -> Rows:
        raise OSError("no such machine")

    broken = Benchmark("broken", "Broken", "Is it?", "So.", measure, "all")
    file = tmp_path / "results.json"
    with pytest.raises(typer.Exit) as ended:
        bench.measure_and_judge((broken,), quick=False, update=False, file=file, form=Format.TABLE)
    assert ended.value.exit_code == 1
    assert "migsched: broken failed: OSError: no such machine" in capsys.readouterr().err
    assert json.loads(file.read_bytes())["parts"]["broken"]["failed"] == "OSError: no such machine"


def test_quick_and_full_results_are_not_mixed(migsched: CommandLine, tmp_path: Path) -> None:
    """A quick run is not added to full results, and nothing is measured before that is said."""
    file = tmp_path / "results.json"
    results.write(small_results.results_of(), file)
    ran = migsched.run("bench", "all", "--quick", "--only", "policies", "--update", "--results", str(file))
    assert ran.code == 2
    assert "quick results and full ones do not go into one file" in ran.err
    assert "[1/1]" not in ran.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("all", "--only", "everything"), "use one of policies"),
        (("judge", "/nonexistent/results.json"), "name a file of `migsched bench all`"),
        (("report", "/nonexistent/results.json"), "name a file of `migsched bench all`"),
    ],
)
def test_bad_input_is_exit_code_2(migsched: CommandLine, arguments: tuple[str, ...], said: str) -> None:
    """Unknown parts and files that are not there are one line with the fix."""
    ran = migsched.run("bench", *arguments)
    assert ran.code == 2
    assert said in ran.err


def test_each_benchmark_has_a_command_of_its_name() -> None:
    """What `bench all` runs can be run alone with sizes of one's own; the docs name it by `migsched bench NAME`."""
    commands = {command.name or getattr(command.callback, "__name__", "") for command in bench.app.registered_commands}
    assert {benchmark.name for benchmark in registry.BENCHMARKS} <= commands
