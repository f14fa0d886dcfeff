"""Bounds of benchmarks are read strictly and judged by the worst row."""

from pathlib import Path
from typing import Any

import pytest

from allocator import errors
from benchmarks import ranges, registry
from benchmarks.ranges import Range

BOUND = Range("extender", (("nodes", 5000),), "p50_ms", "why", "source", most=4.0)

GOOD = {"measure": '"m"', "field": '"f"', "why": '"w"', "source": '"promise"', "least": "1"}


def written(tmp_path: Path, entry: dict[str, str], head: str = '[source]\npromise = "p"\n') -> Path:
    """A file with one range of these keys."""
    file = tmp_path / "ranges.toml"
    file.write_text(head + "[[range]]\n" + "".join(f"{key} = {value}\n" for key, value in entry.items()))
    return file


def test_the_shipped_bounds_are_readable() -> None:
    """benchmarks/ranges.toml has bounds, each with a reason and a source, about parts that there are."""
    bounds = ranges.load()
    assert all(bound.why and bound.source for bound in bounds)
    assert {bound.measure for bound in bounds} <= {benchmark.name for benchmark in registry.BENCHMARKS}
    assert len(set(bounds)) == len(bounds) > 100


def test_the_shipped_bounds_are_about_fields_that_are_measured() -> None:
    """Each bound names columns that its part has, its slack too."""
    columns = {benchmark.name: benchmark.columns for benchmark in registry.BENCHMARKS}
    for bound in ranges.load():
        named = {bound.field, *(key for key, _ in bound.where), *([bound.slack] if bound.slack else [])}
        assert named <= set(columns[bound.measure]), bound


@pytest.mark.parametrize(
    ("rows", "ok", "value"),
    [
        ([{"nodes": 5000, "p50_ms": 3.9}], True, 3.9),
        ([{"nodes": 5000, "p50_ms": 3.9}, {"nodes": 5000, "p50_ms": 5.0}, {"nodes": 5000, "p50_ms": 4.1}], False, 5.0),
        ([{"nodes": 100, "p50_ms": 9.0}], None, None),
        ([{"nodes": 5000}], None, None),
        ([], None, None),
    ],
)
def test_the_worst_matching_row_decides(rows: list[dict[str, float]], ok: bool | None, value: float | None) -> None:
    """Rows that the bound is not about do not count; of the others the worst does; without any there is no verdict."""
    (verdict,) = ranges.judge([BOUND], {"extender": rows})
    assert (verdict.ok, verdict.value) == (ok, value)


@pytest.mark.parametrize(
    ("bound", "value", "ok"),
    [
        (Range("m", (), "f", "w", "s", least=1.0), 0.99, False),
        (Range("m", (), "f", "w", "s", least=1.0, slack="ci"), 0.91, True),
        (Range("m", (), "f", "w", "s", least=1.0, slack="ci"), 0.89, False),
        (Range("m", (), "f", "w", "s", near=1.0, slack="ci"), 1.09, True),
        (Range("m", (), "f", "w", "s", near=1.0, slack="ci"), 1.11, False),
        (Range("m", (), "f", "w", "s", near=1.0, slack="ci", runs=4), 1.19, True),  # 0.1 × √(1 + 12/4)
        (Range("m", (), "f", "w", "s", near=1.0, slack="ci", runs=4), 0.79, False),
        (Range("m", (), "f", "w", "s", near=1.0, rounded=0.05), 1.04, True),
        (Range("m", (), "f", "w", "s", near=1.0, rounded=0.05), 1.06, False),
        (Range("m", (), "f", "w", "s", near=1.0, slack="absent"), 9.0, None),
    ],
)
def test_slack_is_the_interval_of_the_difference(bound: Range, value: float, ok: bool | None) -> None:
    """A value may lie beyond by its interval, wider where the number has one too; without interval nobody judges."""
    (verdict,) = ranges.judge([bound], {"m": [{"f": value, "ci": 0.1, "absent": None, "runs": 12}]})
    assert verdict.ok is ok


def test_one_entry_may_hold_a_number_per_value(tmp_path: Path) -> None:
    """With `by` there is a range per value of that field."""
    entry: dict[str, Any] = GOOD | {"by": '"mix"', "least": "{ uniform = 0.5, bimodal = 0.25 }", "slack": '"ci"'}
    bounds = ranges.load(written(tmp_path, entry))
    assert [(bound.where, bound.least) for bound in bounds] == [
        ((("mix", "uniform"),), 0.5),
        ((("mix", "bimodal"),), 0.25),
    ]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"least": None}, "exactly one of"),
        ({"most": "2"}, "exactly one of"),
        ({"why": None}, "why"),
        ({"source": None}, "source"),
        ({"source": '"hearsay"'}, "use one of promise"),
        ({"must": "3"}, "must"),
        ({"least": '"1"'}, "give a number"),
        ({"least": "nan"}, "give a number"),
        ({"by": '"mix"'}, "a number per value"),
        ({"least": "{ uniform = 1 }"}, "a number per value"),
    ],
)
def test_a_bound_that_says_too_little_is_refused(tmp_path: Path, change: dict[str, str | None], named: str) -> None:
    """A bound needs one limit, a reason and a known source, and no key that nobody reads."""
    entry = {key: value for key, value in (GOOD | change).items() if value is not None}
    with pytest.raises(errors.SettingsError, match="range 1") as caught:
        ranges.load(written(tmp_path, entry))
    assert named in str(caught.value)


@pytest.mark.parametrize(
    ("head", "named"),
    [
        ('[source]\npromise = "p"\nunused = "u"\n', "unused"),
        ('[sauce]\npromise = "p"\n', "sauce"),
        ("[source\n", "TOML"),
    ],
)
def test_a_file_of_bounds_holds_nothing_else(tmp_path: Path, head: str, named: str) -> None:
    """Unknown tables, sources that no bound names, and what is no TOML are refused."""
    with pytest.raises(errors.SettingsError, match=named):
        ranges.load(written(tmp_path, GOOD, head))
