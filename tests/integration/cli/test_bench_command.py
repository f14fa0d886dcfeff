"""`migsched bench` measures: a quick run from end to end, its report, and rows with their bounds."""

import json
from pathlib import Path

from tests.unit.cli.command_line import CommandLine


def test_a_quick_run_is_measured_saved_and_reported(migsched: CommandLine, tmp_path: Path) -> None:
    """One part runs quickly, says on standard error what it left out, and its file makes a report."""
    file = tmp_path / "results.json"
    ran = migsched.run("bench", "all", "--quick", "--only", "fragmentation", "--results", str(file), "-o", "json")
    assert ran.code == 0
    assert json.loads(ran.out) == {"verdicts": [], "failed": {}}
    assert "[1/1] Fragmentation over time" in ran.err
    assert "fragmentation: one mix instead of four, 2 runs instead of 20." in ran.err
    assert "Not run: policies" in ran.err
    assert len(json.loads(file.read_bytes())["parts"]["fragmentation"]["rows"]) == 5
    made = migsched.run("bench", "report", str(file), "--out", str(tmp_path / "report"))
    assert made.code == 0
    assert "Fragmentation over time" in (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert (tmp_path / "report" / "fragmentation.png").exists()
    refused = migsched.run("bench", "report", str(file), "--out", str(file / "report"))
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "--out: " in refused.err


def test_rows_are_shown_with_their_bounds(migsched: CommandLine) -> None:
    """A single benchmark shows with each row the bounds that are about it."""
    ran = migsched.run("bench", "decisions", "--model", "a100-40gb", "--runs", "1", "-o", "json")
    assert ran.code == 0
    shown = {row["contender"]: row["bounds"] for row in json.loads(ran.out)["rows"]}
    assert shown["mfi"][0].startswith("placements_per_s ≥ 20,000")
    assert shown["first-fit"] == []
