"""Lines of the log: one per event, whatever is in it, for machines and for people."""

import json
from collections.abc import Iterator

import pytest
import structlog

from config import logs


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """Other tests find the logging as it was."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def written(capfd: pytest.CaptureFixture[str]) -> list[str]:
    """Lines on standard error."""
    return capfd.readouterr().err.splitlines()


def test_each_event_is_a_line_of_json(capfd: pytest.CaptureFixture[str]) -> None:
    """A line has event, level, time and fields; what JSON does not know is shown as Python would."""
    logs.configure("json", "info")
    structlog.get_logger("x").info("bound", pod="a/b", slices=["g:1g.5gb@0"], name="nöde", odd=ValueError("x"))
    (line,) = [json.loads(one) for one in written(capfd)]
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "bound",
        "level": "info",
        "pod": "a/b",
        "slices": ["g:1g.5gb@0"],
        "name": "nöde",
        "odd": "ValueError('x')",
    }


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_name_that_is_no_text_does_not_stop_the_log(form: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A file name of any bytes, as Python shows it, is logged like any other."""
    logs.configure(form, "info")
    structlog.get_logger("x").warning("odd", file="a\udc80b")
    (line,) = written(capfd)
    assert "a\\udc80b" in line


def test_below_the_level_nothing_is_written(capfd: pytest.CaptureFixture[str]) -> None:
    """The level is the lowest that is written."""
    logs.configure("json", "warning")
    logger = structlog.get_logger("x")
    logger.info("quiet")
    logger.warning("loud")
    assert [json.loads(one)["event"] for one in written(capfd)] == ["loud"]


@pytest.mark.parametrize("form", ["json", "console"])
def test_an_exception_comes_with_its_traceback_and_no_variables(form: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A defect is logged with where it happened; the values of variables, which may be secrets, are not."""
    logs.configure(form, "info")
    token = "secret-token"
    try:
        int(token[:0])
    except ValueError:
        structlog.get_logger("x").exception("verb failed")
    text = "\n".join(written(capfd))
    assert "ValueError: invalid literal" in text
    assert "test_logs.py" in text
    assert token not in text


def test_lines_for_people_are_plain_where_nobody_sees_colours(capfd: pytest.CaptureFixture[str]) -> None:
    """Into a pipe or a file no escape sequences are written."""
    logs.configure("console", "info")
    structlog.get_logger("x").info("listening", url="http://x")
    (line,) = written(capfd)
    assert "listening" in line
    assert "\x1b" not in line
