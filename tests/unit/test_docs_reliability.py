"""docs/reliability.md: every test that it names is there, and every selection selects some."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent
PAGE = (TESTS.parent / "docs" / "reliability.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"`pytest tests/(\S+?)(?: -k (\w+))?`", PAGE)
PROMISES = re.findall(r"`((?:contract|e2e|integration|property|unit)/[\w/.]+)`", PAGE)


@pytest.mark.parametrize("path", sorted({*PROMISES, *(path for path, _ in COMMANDS)}))
def test_a_named_test_exists(path: str) -> None:
    """A promise is tried by tests that are there."""
    assert (TESTS / path).exists()


@pytest.mark.parametrize(("path", "words"), [command for command in COMMANDS if command[1]])
def test_a_selection_selects_some_tests(path: str, words: str) -> None:
    """A command of the table runs at least one test."""
    names = re.findall(r"def (test_\w+)", (TESTS / path).read_text(encoding="utf-8"))
    assert any(words in name for name in names)


def test_the_page_has_a_table_of_found_issues() -> None:
    """Each found issue has its command."""
    assert len(COMMANDS) > 20
