"""Lines of documentation end at 100 columns, so that they can be read in an editor and compared in a diff."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *(ROOT / "benchmarks" / "README.md", ROOT / "deploy" / "examples" / "README.md"),
]
COLUMNS = 100
TARGET = re.compile(r"\]\([^)]*\)")  # of a link: it cannot be broken


def prose(text: str) -> Iterator[tuple[int, str]]:
    """The lines that can be wrapped, with their numbers: no tables, headings, comments or code; no targets of links."""
    fenced = in_list = False
    for number, line in enumerate(text.splitlines(), 1):
        words = line.strip()
        if words.startswith("```"):
            fenced = not fenced
        elif not fenced and words and not words.startswith(("|", "#", "<!--")):
            indented_code = line.startswith("    ") and not in_list
            if not indented_code:
                yield number, TARGET.sub("]", line)
            if not line.startswith(" "):
                in_list = words[:2] in ("- ", "* ") or words.split(".")[0].isdigit()


def test_no_line_of_the_docs_is_longer_than_100_columns() -> None:
    """No line of prose in these pages has more than 100 characters."""
    long = [
        f"{page.relative_to(ROOT)}:{number}: {len(line)}"
        for page in PAGES
        for number, line in prose(page.read_text(encoding="utf-8"))
        if len(line) > COLUMNS
    ]
    assert long == []


def test_what_follows_a_table_is_no_row_of_it() -> None:
    """An empty line or a comment ends a table: what follows without one is shown as one more row."""
    pages = {page.relative_to(ROOT): page.read_text(encoding="utf-8") for page in PAGES}
    assert [str(page) for page, text in pages.items() if re.search(r"(?m)^\|.*\n(?!\||\n|<!--|$)", text)] == []


def test_the_target_of_a_link_is_not_counted() -> None:
    """A link cannot be broken, so only its text counts."""
    assert [line for _, line in prose("see [a](https://example.com/a-long-path), b\n")] == ["see [a], b"]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("a\n\n| b |\n# c\n<!-- d -->\n", [1]),
        ("a\n```\nb\n```\nc\n", [1, 5]),
        ("a\n\n    b\n\n- c\n\n    d\n", [1, 5, 7]),
        ("1. a\n   b\n", [1, 2]),
    ],
    ids=["what has a line of its own", "a fence", "indented code, but not a list's text", "a numbered list"],
)
def test_what_cannot_be_wrapped_is_not_counted(text: str, numbers: list[int]) -> None:
    """Only prose counts: what has to stay on one line may be as long as it is."""
    assert [number for number, _ in prose(text)] == numbers
