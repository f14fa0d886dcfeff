"""Bounds of benchmarks are read strictly and judged by the worst row."""

from pathlib import Path

import pytest

from allocator import errors
from benchmarks import ranges

BOUND = ranges.Range("extender", (("nodes", 5000),), "p50_ms", None, 4.0, "why")


def test_the_shipped_bounds_are_readable() -> None:
    """benchmarks/ranges.toml has bounds, each with a reason."""
    assert all(one.why for one in ranges.load())
    assert len(ranges.load()) >= 5


@pytest.mark.parametrize(
    ("rows", "ok", "value"),
    [
        ([{"nodes": 5000, "p50_ms": 3.9}], True, 3.9),
        ([{"nodes": 5000, "p50_ms": 3.9}, {"nodes": 5000, "p50_ms": 4.1}], False, 4.1),
        ([{"nodes": 100, "p50_ms": 9.0}], True, None),
        ([], True, None),
    ],
)
def test_the_worst_matching_row_decides(rows: list[dict[str, float]], ok: bool, value: float | None) -> None:
    """Rows that the bound is not about do not count; of the others one failure is enough."""
    (verdict,) = ranges.judge([BOUND], {"extender": rows})
    assert (verdict.ok, verdict.value) == (ok, value)


@pytest.mark.parametrize(
    "text",
    [
        '[[range]]\nmeasure = "m"\nfield = "f"\nwhy = "w"\n',
        '[[range]]\nmeasure = "m"\nfield = "f"\nleast = 1\n',
        '[[range]]\nmeasure = "m"\nfield = "f"\nleast = 1\nwhy = "w"\nmust = 3\n',
    ],
)
def test_a_bound_without_limit_or_reason_is_refused(tmp_path: Path, text: str) -> None:
    """A bound needs a limit and a reason, and no key that nobody reads."""
    file = tmp_path / "ranges.toml"
    file.write_text(text)
    with pytest.raises(errors.SettingsError, match="range 1"):
        ranges.load(file)
